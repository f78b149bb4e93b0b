"""Officials (Articles 8.2, 16.4): scored under pseudonyms, where one role reads them and nobody else; no C tells few ratings."""

from __future__ import annotations

import hmac
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from hailong.errors import PermanentError, UsageError
from hailong.extract.run import ingest
from hailong.publish import officials
from hailong.publish.report import words
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.oracle import beyond, feeds, rules
from tests.oracle.beyond import Event, Row
from tests.oracle.book import Book
from tests.privacy import search_tables

pytestmark = pytest.mark.slow

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
SINCE, NEW_YEAR, UNTIL = date(2025, 12, 15), date(2026, 1, 1), date(2026, 12, 20)
KEY = bytes(range(32))  # that of tests/conftest.py, the same for every year
LEAST = int(rules.policies()[0].parameters["c_min_ratings"])
PSEUDONYM = re.compile(r"\d{4}:[0-9a-f]{64}")
READER = "hailong_official_reader"
UNITS = ("SN01", "SN02", "SN03", "SN04", "SN05", "SN06")


def pseudonym(name: str, day: date) -> str:
    """Worked out without the package: the key of the calendar year in which the record was read."""
    year = 2025 if day < NEW_YEAR else 2026
    return f"{year}:{hmac.new(KEY, name.casefold().encode(), 'sha256').hexdigest()}"


@dataclass
class Office:
    """What was written: records in the order of their reading, and of each dossier who was in charge and when it was read."""

    book: Book
    dossiers: list[tuple[date, dict[str, Any]]]
    ratings: list[tuple[date, dict[str, Any]]]
    in_charge: dict[str, str]


def office() -> Office:
    """Six units with up to five officials, and numbers of ratings about the limit, in each quarter of 2026 and at New Year."""
    rng, book = random.Random(104), Book()
    codes = {name: book.unit(name) for name in UNITS}
    made = Office(book, [], [], {})
    starts = [date(2025, 12, 15), date(2026, 1, 2), date(2026, 3, 15), date(2026, 6, 15), date(2026, 9, 15)]
    for name, code in codes.items():
        for number, start in enumerate(starts):
            for person in range(rng.randint(1, 5)):
                official = f"Cán Bộ {person}"  # of one name in every unit
                for _ in range(rng.randint(1, 4)):
                    _one(made, rng, code, official, start + timedelta(days=rng.randint(0, 14)), number)
            for _ in range(rng.choice([0, 0, 0, 1, 3, 6])):  # at a kiosk, of no dossier
                _rate(made, rng, code, None, start + timedelta(days=3))
            _one(made, rng, code, None, start + timedelta(days=2), number)  # nobody named
            other = codes[rng.choice([unit for unit in UNITS if unit != name])]
            dossier = _one(made, rng, code, "Cán Bộ 0", start + timedelta(days=2), number)
            _rate(made, rng, other, dossier, start + timedelta(days=3))  # another unit was rated
    return made


def _one(made: Office, rng: random.Random, code: str, official: str | None, day: date, number: int) -> Any:
    due, asked = rng.choice([day, day - timedelta(days=1)]), rng.choice([0, 0, 1, 2])
    supplements = tuple(made.book.supplement(f"{day - timedelta(days=1):%Y%m%d}080000") for _ in range(asked))
    received, result = f"{day - timedelta(days=2):%Y%m%d}080000", f"{day:%Y%m%d}150000"
    dossier = made.book.dossier(code, received, f"{due:%Y%m%d}", result, supplements=supplements)
    made.dossiers.append((day, feeds.dossier(dossier, f"{day:%Y%m%d}160000") | {"NguoiXuLyChinh": official}))
    if official:
        made.in_charge[dossier.dossier_code] = pseudonym(official, day)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        _rate(made, rng, code, dossier, day + timedelta(days=rng.randint(0, 2)))
    return dossier


def _rate(made: Office, rng: random.Random, code: str, dossier: Any, day: date) -> None:
    level = rng.choice(["HÀI LÒNG", "RẤT HÀI LÒNG", "KHÔNG HÀI LÒNG"])
    rating = made.book.rating(code, f"{day:%Y%m%d}170000", level, dossier=dossier)
    made.ratings.append((day, feeds.rating(rating, f"{day:%Y%m%d}180000")))


def sheets(names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "ma_phieu": f"NB-{n}", "ma_don_vi": f"BD-{UNITS[n % 2]}", "ten_bo_phan": "Một cửa", "ten_can_bo": name,
            "ky_danh_gia": "2026-Q3", "xep_loai": "TOT", "diem": 50 + n, "diem_toi_da": 100, "ngay_danh_gia": "20/09/2026",
            "cap_nhat": "20260920080000",
        }
        for n, name in enumerate(names)
    ]  # fmt: skip


@dataclass(frozen=True)
class Read:
    settings: Settings
    office: Office


@pytest.fixture(scope="module")
def read(new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Read once before New Year and once after the end of the year, by the keys of two years; built twice."""
    settings, made, folder = new_warehouse(), office(), tmp_path_factory.mktemp("officials")
    codes = made.book.world.codes
    codes += [type(codes[0])("institutional", "unit", f"BD-{name}", f"HCM.{name}", "good") for name in UNITS[:2]]
    codes.append(type(codes[0])("institutional", "grade", "TOT", "good", "good"))
    for feed, path in feeds.write_registers(made.book.world, folder).items():
        ingest(settings, feed, file=path)
    for number, (since, until) in enumerate(((SINCE, NEW_YEAR), (NEW_YEAR, UNTIL))):
        bounds = {
            "since": datetime.combine(since, datetime.min.time(), ZONE),
            "until": datetime.combine(until, datetime.min.time(), ZONE),
        }
        at_the_end = bounds["until"] - timedelta(seconds=1)  # of 31 December: still the old year
        for feed, records in (("dossier", made.dossiers), ("rating", made.ratings)):
            chosen = [record for day, record in records if since <= _read_on(record) < until]
            path = lines(folder / f"{feed}.{number}.jsonl", chosen)
            now = at_the_end if number == 0 else bounds["until"]
            result = ingest(settings, feed, file=path, since=bounds["since"], until=min(bounds["until"], now), now=now)
            assert (result.loaded, result.quarantined) == (len(chosen), 0) and chosen, feed
    path = lines(folder / "sheets.jsonl", sheets(["Cán Bộ 0", "Cán Bộ 1", "cán  bộ 0"]))
    ingest(settings, "internal_evaluation", file=path, now=datetime(2026, 9, 21, tzinfo=ZONE))
    build(settings)
    build(settings, officials=True)
    return Read(settings, made)


def _read_on(record: dict[str, Any]) -> date:
    return datetime.strptime(record.get("NgayCapNhat") or record["capNhat"], "%Y%m%d%H%M%S").date()


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def rows(settings: Settings, table: str, role: str | None = None) -> list[Row]:
    with connect(settings, role=role) as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]
        return list(connection.execute(f"select * from {table}"))  # type: ignore[arg-type]


def events(read: Read) -> list[Event]:
    """Points of the facts, with the pseudonym that was worked out here; what counts for another unit is no official's."""
    resolving = {r["dossier_code"]: r["resolving_unit_code"] for r in rows(read.settings, "core.core_dossier")}
    found = []
    tables = (
        ("A", "fct_a_timeliness", "result_on"),
        ("B", "fct_b_guidance", "result_on"),
        ("C", "fct_c_attitude", "rated_on"),
    )
    for index, table, day in tables:
        for row in rows(read.settings, f"facts.{table}"):
            if row["point"] is not None and row["unit_code"]:
                code = row["dossier_code"]
                official = read.office.in_charge.get(code) if resolving.get(code) == row["unit_code"] else None
                found.append(Event(row["unit_code"], official, index, row[day], Fraction(row["point"])))
    return found


@pytest.fixture(scope="module")
def expected(read: Read) -> dict[beyond.Key, Row]:
    windows, periods = rows(read.settings, "core.core_unit_window"), rows(read.settings, "core.dim_period")
    return beyond.officials(events(read), windows, periods, UNTIL, LEAST)


def test_scores_of_officials_equal_the_oracle(read: Read, expected: dict[beyond.Key, Row]) -> None:
    found = beyond.by(rows(read.settings, "officials.official_score"), "period_code", "unit_code", "official")
    assert beyond.same(expected, found) == []
    assert {code for code, _, _ in expected} == {"2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4", "2026"}
    reasons = Counter(row["c_withheld_because"] for row in expected.values())
    assert set(reasons) == {None, "few_ratings", "few_of_others", "few_in_quarters"}, reasons
    assert sum(row["c"] is not None for row in expected.values()) > 10


def test_new_year_splits_an_official_in_two_and_the_result_says_so(read: Read) -> None:
    scores = rows(read.settings, "officials.official_score")
    for code in ("2026-Q1", "2026"):
        assert {row["key_id"] for row in scores if row["period_code"] == code} == {"2025", "2026"}
        assert all(row["is_split_by_key"] for row in scores if row["period_code"] == code)
    assert not any(row["is_split_by_key"] for row in scores if row["period_code"] in ("2026-Q2", "2026-Q3"))
    coverage = beyond.by(rows(read.settings, "officials.official_coverage"), "period_code", "unit_code")
    assert len(coverage) == 5 * len(UNITS)
    for (code, unit), row in coverage.items():
        own = [score for score in scores if (score["period_code"], score["unit_code"]) == (code, unit)]
        assert row["officials"] == len(own) and row["a_dossiers_named"] == sum(score["a_dossiers"] for score in own)
        assert row["a_dossiers_named"] < row["a_dossiers"]  # in every unit and quarter one dossier names nobody
        assert row["key_ids"] == ("2025,2026" if code in ("2026-Q1", "2026") else "2026")


def test_nothing_told_leaves_few_ratings_when_it_is_subtracted(read: Read) -> None:
    """A reader who knows the unit's own C takes away what is told of its officials, and of a year its quarters."""
    told: dict[beyond.Key, int] = {}
    for row in rows(read.settings, "officials.official_score"):
        if row["c_ratings"]:
            told[row["period_code"], row["unit_code"], row["official"]] = row["c_ratings"]
    units = {
        (row["period_code"], row["unit_code"]): int(row["denominator"])
        for row in rows(read.settings, "marts.index_score")
        if row["index_code"] == "C" and row["denominator"]
    }
    assert len(told) > 10 and min(told.values()) >= LEAST
    for key, total in units.items():
        shown = sum(n for (*place, _), n in told.items() if tuple(place) == key)
        if shown:
            assert total - shown == 0 or total - shown >= LEAST, key
    years = [(unit, official, n) for (code, unit, official), n in told.items() if code == "2026"]
    for unit, official, n in years:
        left = n - sum(told.get((f"2026-Q{q}", unit, official), 0) for q in range(1, 5))
        assert left == 0 or left >= LEAST
    assert years


def test_how_heads_judged_their_officials_stands_here_only(read: Read) -> None:
    found = beyond.by(rows(read.settings, "officials.official_evaluation"), "sheet_id")
    people = {pseudonym(name, date(2026, 9, 21)) for name in ("Cán Bộ 0", "Cán Bộ 1")}
    assert {row["official"] for row in found.values()} == people  # spaces and capitals make no other person
    assert [(found[f"NB-{n}",]["score"], found[f"NB-{n}",]["grade_code"]) for n in range(3)] == [
        (50, "good"), (51, "good"), (52, "good"),
    ]  # fmt: skip
    assert all(row["has_window"] for row in found.values())


# -- who reads it ------------------------------------------------------------------------------------------------------------


def test_the_reader_of_officials_reads_them_and_nothing_else_of_dbt(read: Read) -> None:
    assert len(rows(read.settings, "officials.official_score", READER)) > 50
    for table in ("marts.k_score", "core.core_dossier", "raw.dossier", "staging.stg_tthc__dossier_official"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(read.settings, table, READER)
    with (
        connect(read.settings, role=READER) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("delete from officials.official_score")


@pytest.mark.parametrize("code", ["2026-Q3", "2026-Q1", "2026"])
def test_the_file_of_a_head_holds_the_scores_of_this_unit_and_nothing_withheld(
    read: Read, tmp_path: Path, code: str
) -> None:
    scores = [row for row in rows(read.settings, "officials.official_score") if row["period_code"] == code]
    seen: set[str | None] = set()
    for unit in {row["unit_code"] for row in scores}:
        own = {row["official"]: row for row in scores if row["unit_code"] == unit}
        path = officials.build(read.settings, code, unit, tmp_path)
        assert path.name == f"can-bo_{code}_{unit}.xlsx" and path.stat().st_mode & 0o077 == 0
        book = openpyxl.load_workbook(path)
        shown = {row[0]: row[1:] for row in book["Cán bộ"].iter_rows(min_row=4, values_only=True)}
        assert set(shown) == set(own)
        for official, row in own.items():
            figures = [row[name] for name in ("a_dossiers", "a", "b_dossiers", "b", "c_ratings", "c")]
            because = row["c_withheld_because"]
            assert list(shown[official]) == [
                row["key_id"], *("—" if value is None else float(value) for value in figures),
                words.WITHHELD[because] if because else "—",
            ]  # fmt: skip
            assert because is None or shown[official][5:7] == ("—", "—")
            seen.add(because)
        basis = "\n".join(str(cell) for line in book["Căn cứ"].iter_rows(values_only=True) for cell in line)
        as_of = next(iter(own.values()))["as_of_batch"]
        assert f"đến đợt nạp số {as_of}" in basis and ("một người có thể đứng ở hai dòng" in basis) == (
            code != "2026-Q3"
        )
        judged = [
            row
            for row in book["Đánh giá nội bộ"].iter_rows(min_row=4, values_only=True)
            if "không" not in row[0].lower()
        ]
        assert len(judged) == sum(
            row["unit_code"] == unit and row["period_code"] == code
            for row in rows(read.settings, "officials.official_evaluation")
        )
        again = officials.build(read.settings, code, unit, tmp_path / "again")
        assert again.read_bytes() == path.read_bytes()
        assert not list(tmp_path.glob("*.new"))
    assert {None, "few_ratings"} <= seen


def test_a_file_of_officials_is_refused_for_what_was_not_scored(
    read: Read, new_warehouse: Callable[..., Settings], tmp_path: Path
) -> None:
    with pytest.raises(PermanentError, match=r"not scored for 2025-Q3.*hailong build --officials"):
        officials.build(read.settings, "2025-Q3", "HCM.SN01", tmp_path)
    with pytest.raises(PermanentError, match=r"no official of 'HCM\.SN99' has a score in 2026-Q3"):
        officials.build(read.settings, "2026-Q3", "HCM.SN99", tmp_path)
    with pytest.raises(UsageError, match="by quarter and year"):
        officials.build(read.settings, "2026-09", "HCM.SN01", tmp_path)
    with pytest.raises(PermanentError, match="not scored for 2026-Q3"):  # no build was ever there
        officials.build(new_warehouse(), "2026-Q3", "HCM.SN01", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_other_role_reads_officials_or_the_views_that_name_them(read: Read) -> None:
    with connect(read.settings) as connection:
        roles = [row[0] for row in connection.execute("select rolname from pg_roles where rolname like 'hailong\\_%'")]
        holders = [
            row[0]
            for row in connection.execute(
                "select n.nspname || '.' || c.relname from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace "
                "where c.relkind in ('r', 'v') "
                "and (n.nspname = 'officials' or (n.nspname = 'staging' and c.relname like '%official%'))"
            )
        ]
        assert len(holders) == 5 and {"hailong_reader", "hailong_gate", "hailong_publisher", READER} <= set(roles)
        allowed = {
            (role, holder)
            for role in roles
            for holder in holders
            if connection.execute(
                "select has_schema_privilege(%s, %s, 'usage') and has_any_column_privilege(%s, %s, 'select')",
                (role, holder.partition(".")[0], role, holder),
            ).fetchone()
            == (True,)
        }
        inherited = connection.execute(
            "select m.rolname from pg_auth_members as a inner join pg_roles as r on r.oid = a.roleid "
            "inner join pg_roles as m on m.oid = a.member where r.rolname = %s and not m.rolsuper",
            (READER,),
        ).fetchall()
    owner = "hailong_transformer"
    assert {pair for pair in allowed if pair[0] != owner} == {
        (READER, h) for h in holders if h.startswith("officials.")
    }
    assert inherited == []
    for role in ("hailong_reader", "hailong_gate", "hailong_publisher", "hailong_loader", "hailong_open_reader"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(read.settings, "officials.official_score", role)


def test_no_pseudonym_stands_outside_raw_officials_and_staging(read: Read) -> None:
    first = min(row["batch_id"] for row in rows(read.settings, "ops.batch") if row["feed"] == "rating")
    scratch = build(read.settings, as_of=first)  # a past state is built without officials
    assert scratch.schema_prefix
    with connect(read.settings) as connection:
        held = {table for table, match, _ in search_tables(connection, PSEUDONYM) if match}
        schemas = {table.partition(".")[0] for table in held}
        assert connection.execute(
            "select count(*) from pg_namespace where nspname like 'asof%officials'"
        ).fetchone() == (0,)
    assert schemas == {"raw", "officials", "staging", f"{scratch.schema_prefix}staging"}, held
    assert {"officials.official_score", "staging.stg_tthc__dossier_official"} <= held
    assert {table for table in held if "staging" in table} == {
        f"{prefix}staging.{view}"
        for prefix in ("", scratch.schema_prefix)
        for view in ("stg_tthc__dossier_official", "stg_institutional__official_evaluation")
        if not (prefix and "institutional" in view)  # read after that batch
    }


def test_a_full_build_makes_the_same_scores_again(read: Read) -> None:
    before = [rows(read.settings, f"officials.{table}") for table in ("official_score", "official_coverage")]
    assert build(read.settings, full=True).full_refresh
    after = [rows(read.settings, f"officials.{table}") for table in ("official_score", "official_coverage")]
    for old, new in zip(before, after, strict=True):
        assert sorted(map(repr, old)) == sorted(map(repr, new)) and old
    assert len(rows(read.settings, "officials.official_score", READER)) == len(before[0])


def test_officials_are_scored_again_only_when_asked_for(read: Read) -> None:
    def scored(build_id: int) -> bool:
        results = rows(read.settings, "ops.dbt_result")
        return any(row["build_id"] == build_id and ".official_" in row["node_id"] for row in results)

    night, asked = build(read.settings), build(read.settings, officials=True)
    assert (scored(night.build_id), scored(asked.build_id)) == (False, True)
    assert {row["as_of_batch"] for row in rows(read.settings, "officials.official_score")} == {asked.as_of_batch}


def test_an_official_who_is_a_name_is_refused_by_the_table(read: Read) -> None:
    with (
        connect(read.settings, role="hailong_transformer") as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="official_is_pseudonym"),
    ):
        connection.execute(
            sql.SQL("update officials.official_score set official = {}").format(sql.Literal("2026:Nguyễn Văn A"))
        )
