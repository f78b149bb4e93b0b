"""Law: an incremental build and a full one give the same rows, after any sequence of batches, killed builds included.

Records live hard here: dossiers move between units, due dates and days, get and lose results, are deleted and come back;
supplements, ratings and steps of participating units arrive alone; the portal's copies, petitions and scores follow their
own course.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from hailong.errors import PermanentError
from hailong.settings import PROJECT, Settings
from hailong.warehouse import build as building
from hailong.warehouse import increments
from hailong.warehouse.build import BuildResult, build
from hailong.warehouse.connect import connect
from tests.integration.marts import built_beside
from tests.integration.test_build import SCHEMAS, code, dump, query, unit

pytestmark = pytest.mark.slow

Record = dict[str, Any]
UNITS = [f"U{number}" for number in range(6)]
FIRST, LAST = date(2026, 7, 20), date(2026, 10, 20)
SEEDS = (1,)  # a second course of nights costs four minutes of two cores: take another seed when increments change
CODES = [
    *(code("unit", f"S{number}", name) for number, name in enumerate(UNITS)), code("unit", "S9", "nobody"),
    *(code("dossier_status", str(status), str(status)) for status in range(1, 11)),
    *(code("supplement_status", status, status) for status in ("asked", "received_in_full", "fee", "cancelled")),
    *(code("channel", channel, "desk") for channel in "12"), code("participant_role", "CT", "in_charge"),
    *(code("unit", f"S{number}", name, "rating") for number, name in enumerate(UNITS)),
    *(code("rating_level", level, level, "rating") for level in ("very_satisfied", "satisfied", "dissatisfied")),
    *(code("rating_channel", channel, channel, "rating") for channel in ("desk", "city_system")),
    *(code("rating_question", question, question, "rating") for question in ("attitude", "overall")),
    code("device", "D1", "U1", "rating"),
    *(code("unit", f"P{number}", name, "portal") for number, name in enumerate(UNITS)),
    *(code("unit", f"S{number}", name, "portal") for number, name in enumerate(UNITS)),
    *(code("dossier_status", str(status), str(status), "portal") for status in range(1, 11)),
    *(code("timeliness", word, word, "portal") for word in ("on_time", "late")),
    code("petition_subject", "TTHC", "procedure", "portal"), code("petition_status", "MOI", "new", "portal"),
    *(code("unit", name, name, "inspection") for name in UNITS),
    *(code("posting_place", place, place, "inspection") for place in ("desk", "website")),
    *(code("posting_result", result, result, "inspection") for result in ("pass", "fail")),
    code("checker_kind", "VP", "authority", "inspection"),
]  # fmt: skip


@dataclass
class City:
    """Records as the sources have them, and what changed since they were last asked."""

    chance: random.Random
    held: dict[str, dict[str, Record]] = field(default_factory=dict)
    changed: dict[str, dict[str, Record | None]] = field(default_factory=dict)
    made: int = 0

    def put(self, feed: str, key: str, record: Record | None) -> None:
        self.changed.setdefault(feed, {})[key] = record
        if record is None:
            self.held[feed].pop(key, None)
        else:
            self.held.setdefault(feed, {})[key] = record

    def some(self, feed: str, share: float) -> list[str]:
        return [key for key in sorted(self.held.get(feed, {})) if self.chance.random() < share]

    def moment(self, day: date | None = None) -> str:
        """A time of day where rules meet, on a day of the span."""
        day = day or FIRST + timedelta(days=self.chance.randrange((LAST - FIRST).days))
        return f"{day} {self.chance.choice(['00:00', '09:00', '14:59', '15:00', '17:00', '23:59:59'])}+07"

    def after(self, moment: str, days: int) -> str:
        return self.moment(datetime.fromisoformat(moment).date() + timedelta(days=self.chance.randint(-1, days)))

    def source(self) -> str:
        return f"S{self.chance.choice([0, 1, 2, 3, 4, 5, 5, 9])}"

    # -- lives

    def dossier(self) -> Record:
        received = self.moment()
        unit_code = self.source()
        return {
            "procedure_code": self.chance.choice(["1.000001", "1.000002", "1.000003", "9.999999"]), "status_code": "4",
            "channel_code": self.chance.choice("12"), "received_at": received if self.chance.random() < 0.97 else None,
            "received_at_is_date": self.chance.random() < 0.1, "resolving_unit_source_code": unit_code,
            "due_at": self.after(received, 15) if self.chance.random() < 0.9 else None, "due_at_is_date": False,
            "receiving_unit_source_code": unit_code if self.chance.random() < 0.7 else self.source(),
            "is_test_record": self.chance.random() < 0.03, "is_interlinked": False, "supplements": [], "steps": [],
            "participants": [], "updated_at": self.moment(LAST),
        }  # fmt: skip

    def live(self, record: Record) -> Record:
        """One turn of fate."""
        record = {**record, "updated_at": self.moment(LAST)}
        start = record["received_at"] or self.moment()
        match self.chance.randrange(12):
            case 0 | 1:
                record |= {"status_code": self.chance.choice(["9", "10", "8"]), "finished_at": self.after(start, 25)}
            case 2:
                record |= {"status_code": "4", "finished_at": None, "returned_at": None}
            case 3:
                record["due_at"] = self.after(start, 20) if self.chance.random() < 0.8 else None
            case 4:
                record["resolving_unit_source_code"] = self.source()
            case 5:
                record["receiving_unit_source_code"] = self.source()
            case 6:
                record["status_code"] = self.chance.choice(["3", "7", "5", "6", "9"])
            case 7:
                asked = self.after(start, 5)
                record["supplements"] = [
                    *record["supplements"],
                    {
                        "supplement_id": str(len(record["supplements"])), "requested_at": _iso(asked),
                        "status_code": self.chance.choice(["asked", "received_in_full", "fee", "cancelled"]),
                        "received_at": _iso(self.after(asked, 5)), "due_before_at": _iso(self.after(asked, 9)),
                        "due_after_at": _iso(self.after(asked, 15)),
                    },
                ]  # fmt: skip
            case 8:
                record |= {"is_test_record": not record["is_test_record"], "received_at": self.moment()}
            case 9:
                record["steps"] = [{"step_id": "1", "status_code": self.chance.choice(["4", "9"])}]
            case 10 | 11:
                record |= {"is_interlinked": self.chance.random() < 0.9, "participants": self.steps(record, start)}
        return record

    def steps(self, record: Record, start: str) -> list[Record]:
        """What the units that take part did: often one step of it changes, sometimes the whole list."""
        held = [dict(step) for step in record["participants"]]
        if held and self.chance.random() < 0.6:
            changed = self.chance.choice(held)
            match self.chance.randrange(5):
                case 0:
                    changed["unit_source_code"] = self.chance.choice(
                        [self.source(), record["resolving_unit_source_code"]]
                    )
                case 1:
                    changed["due_at"] = self.chance.choice([None, _iso(self.after(start, 15))])
                case 2 | 3:
                    changed["finished_at"] = self.chance.choice([None, _iso(self.after(start, 25))])
                case 4:
                    held.remove(changed)
            return held
        return [
            {
                "participant_id": self.chance.choice(["1", str(number)]), "role_code": "CT",
                "unit_source_code": self.chance.choice([self.source(), record["resolving_unit_source_code"]]),
                "received_at": _iso(self.after(start, 3)), "due_at": _iso(self.after(start, 15)),
                "finished_at": _iso(self.after(start, 25)) if self.chance.random() < 0.8 else None,
            }
            for number in range(self.chance.choice([0, 1, 2, 2, 3]))
        ]  # fmt: skip

    def night(self, new: int) -> None:
        """What changes between two readings."""
        for key in self.some("dossier", 0.3):
            self.put("dossier", key, None if self.chance.random() < 0.06 else self.live(self.held["dossier"][key]))
        for key in list(self.changed.get("dossier", {})):
            if self.changed["dossier"][key] is None and self.chance.random() < 0.3:
                self.put("dossier", f"{key}", self.dossier())  # deleted by one reading, back in the next
        for _ in range(new):
            self.made += 1
            record = self.dossier()
            for _ in range(self.chance.randrange(4)):
                record = self.live(record)
            self.put("dossier", f"H{self.made:05d}", record)
        self.ratings(new // 2)
        self.portal()

    def ratings(self, new: int) -> None:
        dossiers = sorted(self.held["dossier"])
        for key in self.some("rating", 0.15):
            record = dict(self.held["rating"][key])
            match self.chance.randrange(5):
                case 0:
                    self.put("rating", key, None)
                    continue
                case 1:
                    record["dossier_code"] = self.chance.choice([None, "H99999", self.chance.choice(dossiers)])
                case 2:
                    record["level_code"] = self.chance.choice(["very_satisfied", "satisfied", "dissatisfied"])
                case 3:
                    record["rated_at"] = self.moment()
                case 4:
                    record["unit_source_code"] = self.chance.choice([None, "S0", "S3"])
            self.put("rating", key, record)
        for _ in range(new):
            self.made += 1
            dossier = self.chance.choice([None, self.chance.choice(dossiers), self.chance.choice(dossiers[:20])])
            self.put("rating", f"R{self.made:05d}", {
                "dossier_code": dossier, "channel_code": self.chance.choice(["desk", "city_system"]),
                "question_code": self.chance.choice([None, "attitude", "attitude", "overall"]),
                "level_code": self.chance.choice(["very_satisfied", "satisfied", "dissatisfied"]),
                "rated_at": self.moment(date(2026, 9, self.chance.randint(10, 20))),
                "unit_source_code": self.chance.choice([None, "S1", "S2"]),
                "device_code": self.chance.choice([None, "D1"]),
            })  # fmt: skip

    def portal(self) -> None:
        for key, record in self.changed.get("dossier", {}).items():
            if self.chance.random() < 0.1:
                continue  # it lags
            if record is None:
                if key in self.held.get("dossier_sync", {}):
                    self.put("dossier_sync", key, None)
                continue
            copied = {name: record.get(name) for name in (
                "procedure_code", "status_code", "received_at", "due_at", "finished_at", "resolving_unit_source_code",
                "receiving_unit_source_code", "updated_at",
            )}  # fmt: skip
            if self.chance.random() < 0.1:
                copied |= {"status_code": "9", "resolving_unit_source_code": self.source()}
            code_ = key if self.chance.random() < 0.97 else f"X{key}"
            self.put("dossier_sync", code_, copied | {"timeliness_code": self.chance.choice(["on_time", "late"])})
        for number in range(6):
            key = f"PAKN{self.made + number}"
            received = self.moment()
            self.put("petition", key, {
                "petition_id": key, "unit_source_code": f"P{number}", "subject_code": "TTHC", "status_code": "MOI",
                "received_at": received, "due_at": self.after(received, 20),
                "answered_at": self.after(received, 25) if self.chance.random() < 0.7 else None,
                "is_satisfied": self.chance.random() < 0.6, "resent_count": self.chance.choice([0, 0, 1, 3]),
            })  # fmt: skip
        for place in ("desk", "website"):
            self.made += 1
            self.put("posting_check", f"K{self.made}", {
                "unit_source_code": self.chance.choice(UNITS), "place_source_code": place, "checker_kind_source_code": "VP",
                "checked_on": str(FIRST + timedelta(days=self.chance.randrange(92))),
                "result_source_code": self.chance.choice(["pass", "pass", "fail"]),
            })  # fmt: skip
        for number in range(len(UNITS)):
            if self.chance.random() < 0.5:
                self.evaluate(number)

    def evaluate(self, number: int) -> None:
        for window in (("2026-08-15", "2026-09-14"), ("2026-09-15", "2026-10-14")):
            all_ = self.chance.choice([0, 3, 5])
            good = self.chance.randint(0, all_)
            score = 6.0 * good / all_ if all_ else 6.0
            metrics = [
                {"code": name, "numerator": good, "denominator": all_, "score": score, "max_score": 6}
                for name in ("PETITION_PROCESSING_ON_TIME", "PETITION_HANDLING_SATISFACTION")
            ]
            metrics.append({"code": "DOSSIER_RECEIVING_SATISFACTION", "numerator": 9, "denominator": 10, "score": 6})
            self.put("portal_evaluation", f"handling-satisfaction|{window[0]}|P{number}", {
                "group_code": "handling-satisfaction", "window_from": window[0], "window_to": window[1],
                "department_id": f"P{number}", "is_overview": False, "total_score": 6 + 2 * score, "total_max_score": 18,
                "total_petitions": all_, "total_dossiers": 10, "metric_version": "2026", "metrics": metrics,
                "retrieved_at": self.moment(LAST),
            })  # fmt: skip

    def taken(self) -> Iterator[tuple[str, dict[str, Record | None]]]:
        """Feeds in the order of a night, with what changed; then nothing has."""
        for feed in ("dossier", "rating", "portal_evaluation", "posting_check", "dossier_sync", "petition"):
            yield feed, self.changed.pop(feed, {})


def _iso(moment: str) -> str:
    return datetime.fromisoformat(moment).isoformat()


KEYS = {"dossier": "dossier_code", "dossier_sync": "dossier_code", "rating": "rating_id", "posting_check": "check_id"}


def load(settings: Settings, feed: str, rows: dict[str, Record | None], unreadable: tuple[str, ...] = ()) -> int:
    """A batch: versions, deletions, and keys whose new version could not be read; its number."""
    window = ("2026-07-19 00:00+07", "2026-10-21 00:00+07")
    with connect(settings) as connection, connection.transaction():
        row = connection.execute(
            "insert into ops.batch (feed, window_start, window_end, landing_uri, landing_sha256, received_rows, loaded_rows,"
            " unchanged_rows, duplicate_rows, quarantined_rows, started_at, contract_version, code_version) values (%s, %s,"
            " %s, 'test', encode(sha256(gen_random_uuid()::text::bytea), 'hex'), %s, %s, 0, 0, %s, now(), '1', '1')"
            " returning batch_id",
            (feed, *window, len(rows) + len(unreadable), len(rows), len(unreadable)),
        ).fetchone()
        assert row is not None
        batch_id = int(row[0])
        connection.execute("select raw.ensure_partition(%s, %s)", (feed, batch_id))
        for key, record in rows.items():
            values: Record = {"record_key": key, "op": "delete" if record is None else "upsert", "batch_id": batch_id}
            values |= {"version_hash": "x"} | ({KEYS[feed]: key} if feed in KEYS else {}) | (record or {})
            connection.execute(
                sql.SQL("insert into raw.{} ({}) values ({})").format(
                    sql.Identifier(feed),
                    sql.SQL(", ").join(map(sql.Identifier, values)),
                    sql.SQL(", ").join(sql.Placeholder() * len(values)),
                ),
                [Jsonb(value) if isinstance(value, list) else value for value in values.values()],
            )
        for key in unreadable:
            connection.execute(
                "insert into ops.quarantine (batch_id, feed, record_key, rule, detail) values (%s, %s, %s, 'x', 'x')",
                (batch_id, feed, key),
            )
    return batch_id


def registers(settings: Settings) -> None:
    units = [unit(name) for name in UNITS]
    for number, (_, columns) in enumerate(units):
        columns |= {"peer_group": f"g{number % 2}", "posting_places": "desk;website"}
    units[4][1]["valid_from"] = "2026-09-01"
    units[5][1].update(valid_to="2026-10-01", parent_unit_code="U0")
    load(settings, "unit_register", dict(units))
    load(settings, "code_map", dict(CODES))
    procedures = {
        "1.000001": {"is_at_once": True}, "1.000002": {"limit_working_days": 3}, "1.000003": {"permitted_supplements": 2},
    }  # fmt: skip
    load(settings, "procedure_register", {
        key: {"procedure_code": key, "procedure_name": key, "field_code": "F", "field_name": "F", **columns}
        for key, columns in procedures.items()
    })  # fmt: skip


@dataclass(frozen=True)
class Grown:
    """A warehouse that grew by increments, and its tables after each."""

    settings: Settings
    builds: list[BuildResult]
    dumps: list[dict[str, list[str]]]


@pytest.fixture(scope="module", params=SEEDS)
def grown(request: pytest.FixtureRequest, new_warehouse: Callable[..., Settings]) -> Iterator[Grown]:
    settings, city = new_warehouse(), City(random.Random(request.param))
    registers(settings)
    builds, dumps = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(increments, "FULL_FROM_SHARE", 1e9)  # so few dossiers that every night brings more than a fifth
        for turn, new in enumerate((300, 80, 60, 60)):
            city.night(new)
            for feed, rows in city.taken():
                doubtful = tuple(city.some(feed, 0.02)) if feed in ("dossier", "rating", "dossier_sync") else ()
                load(settings, feed, rows, tuple(key for key in doubtful if key not in rows))
            if turn == 2:
                _break_off(settings, patch)
            builds.append(build(settings))
            dumps.append(dump(settings))
    yield Grown(settings, builds, dumps)


def _break_off(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    """A build that dies when records are replaced and sums are not: the next one must find what it had touched."""
    real = building.dbt.run

    def part(settings: Settings, args: list[str], *rest: Any, **more: Any) -> Any:
        real(
            settings,
            [*args, "--exclude", "fct_unit_day+", "fct_unit_day_flow+", "fct_unit_day_a_case+", "fct_unit_day_c_case+"],
            *rest,
            **more,
        )
        raise PermanentError("killed")

    with patch.context() as inner:
        inner.setattr(building.dbt, "run", part)
        with pytest.raises(PermanentError, match="killed"):
            build(settings)


def test_only_the_first_build_looked_at_everything(grown: Grown) -> None:
    assert [result.full_refresh for result in grown.builds] == [True, False, False, False]
    assert [result.since_batch for result in grown.builds[1:]] == [result.as_of_batch for result in grown.builds[:-1]]


def limited() -> set[str]:
    """The tables of models that say their scope."""
    found = set()
    for path in (PROJECT / "dbt_project" / "models").rglob("*.sql"):
        text = path.read_text(encoding="utf-8")
        if "scope=" in text:
            alias = re.search(r"alias='(\w+)'", text)
            found.add(f"{path.parent.name}.{alias[1] if alias else path.stem}")
    return found


def test_the_cases_are_hard_enough(grown: Grown) -> None:
    """Every table that looks again at a part only has rows, and nights change it: one that stays empty proves nothing."""
    empty = {name for name, rows in grown.dumps[-1].items() if not rows}
    assert {name for name in empty if name in limited()} <= {"core.core_lost_record", "marts.incremental_drift"}
    for name in ("core.core_dossier", "facts.fct_dossier", "facts.fct_a_reading", "facts.fct_a_participant",
                 "facts.fct_unit_day", "facts.fct_unit_day_a_case", "marts.index_reading", "marts.k_score",
                 "marts.reconciliation", "marts.sync_difference", "marts.late_data", "marts.dossier_flow"):  # fmt: skip
        for before, after in zip(grown.dumps, grown.dumps[1:], strict=False):
            assert before[name] != after[name], name


def test_increments_equal_full_builds(grown: Grown) -> None:
    """The newest state in place, every earlier one in scratch schemas."""
    for result, held in zip(grown.builds[:-1], grown.dumps[:-1], strict=True):
        with built_beside(grown.settings, result.as_of_batch) as schema:
            assert _differences(dump(grown.settings, schema.removesuffix("marts")), held) == {}
    assert build(grown.settings, full=True).full_refresh
    assert _differences(dump(grown.settings), grown.dumps[-1]) == {}


def _differences(full: dict[str, list[str]], grown: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    assert full.keys() == grown.keys()
    return {
        name: (sorted(set(full[name]) - set(grown[name]))[:3], sorted(set(grown[name]) - set(full[name]))[:3])
        for name in full
        if full[name] != grown[name]
    }


def test_the_comparison_sees_one_changed_row(grown: Grown) -> None:
    changed = {name: list(rows) for name, rows in grown.dumps[-1].items()}
    changed["facts.fct_unit_day"][0] += " "
    assert list(_differences(changed, grown.dumps[-1])) == ["facts.fct_unit_day"]


# -- what keeps the law in production -------------------------------------------------------------------------------------


def test_a_sum_that_drifted_stops_the_build_and_a_full_one_mends_it(
    grown: Grown, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    settings = grown.settings
    before = dump(settings)
    with connect(settings, "hailong_transformer", autocommit=True) as connection:
        connection.execute("update facts.fct_unit_day set a_dossiers = a_dossiers + 1 where unit_code = 'U1'")
    real = building.dbt.run

    def every_day(*arguments: Any, **more: Any) -> Any:
        return real(*arguments, **more, variables={"drift_days": 100_000})

    monkeypatch.setattr(building.dbt, "run", every_day)
    with pytest.raises(PermanentError, match="dq_incremental_drift"):
        build(settings)
    found = query(settings, "select distinct unit_code, measure, held_value - found_value from marts.incremental_drift")
    assert [(unit_code, measure, int(by)) for unit_code, measure, by in found] == [("U1", "a_dossiers", 1)]
    build(settings, full=True)
    assert {name: rows for name, rows in dump(settings).items() if rows != before[name]} == {}


def test_every_day_with_sums_has_its_turn_and_a_night_looks_at_so_many(grown: Grown) -> None:
    settings = grown.settings
    assert not build(settings).full_refresh
    compiled = next((settings.home / "dbt" / "target" / "compiled").rglob("dq_incremental_drift.sql")).read_text(
        "utf-8"
    )
    looked_at = compiled.partition("with looked_at as (")[2].partition("unit_days as (")[0].rstrip().removesuffix("),")
    counted = "(select count(*) from ops.build where schema_prefix = '')"
    assert counted in looked_at
    sums = "select event_on from facts.fct_unit_day union select event_on from facts.fct_unit_day_flow"
    days = {day for (day,) in query(settings, sums)}
    nights = [
        [day for (day,) in query(settings, looked_at.replace(counted, str(number)))] for number in range(1, len(days))
    ]
    assert {len(night) for night in nights} == {8}
    seen = [day for night in nights[: len(days) // 8] for day in night]
    assert len(seen) == len(set(seen)), "a day had two turns before others had theirs"
    assert days <= {day for night in nights for day in night}


def test_a_stretch_that_is_held_with_other_borders_is_summed_again(grown: Grown) -> None:
    """A new period, or a policy's end, moves the borders between which days are summed."""
    settings = grown.settings
    build(settings)
    before = dump(settings)
    with connect(settings, "hailong_transformer", autocommit=True) as connection:
        # One that ended elsewhere, and one that began where none begins now.
        connection.execute(
            "update facts.fct_unit_stretch_reading set stretch_end = stretch_end + 1, denominator = denominator + 7"
            " where stretch_start = (select min(stretch_start) from facts.fct_unit_stretch_reading)"
        )
        moved = connection.execute(
            "update facts.fct_unit_stretch_reading set stretch_start = stretch_start + 1"
            " where stretch_start = (select max(stretch_start) from facts.fct_unit_stretch_reading)"
        )
        assert moved.rowcount > 0
    assert dump(settings) != before
    assert not build(settings).full_refresh
    assert {name: rows for name, rows in dump(settings).items() if rows != before[name]} == {}


def test_what_makes_a_build_look_at_everything_is_said(grown: Grown, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, told = grown.settings, []
    build(settings)
    load(settings, "unit_register", dict([unit("U1")]))
    assert build(settings, progress=told.append).full_refresh
    assert any("full refresh: unit_register changed" in line for line in told)
    load(settings, "survey_result", {})
    assert build(settings, progress=told.append).full_refresh
    assert any("survey_result was read for the first time" in line for line in told)
    load(settings, "dossier", {f"Z{number}": City(random.Random(number)).dossier() for number in range(200)})
    assert build(settings, progress=told.append).full_refresh
    assert any("200 versions of dossiers came, against" in line for line in told)
    assert not build(settings, progress=told.append).full_refresh
    assert SCHEMAS == ("core", "facts", "marts")
