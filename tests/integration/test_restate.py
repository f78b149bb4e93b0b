"""A published period said anew: what changed by which cause, the way to the next edition, and the one before as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hailong.errors import PermanentError, UsageError
from hailong.publish import annexes, candidate, edition
from hailong.publish.approval import approve
from hailong.publish.changelog import corrections
from hailong.publish.restate import Restatement, restate
from hailong.publish.verify import verify
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.integration.test_build import dossier, query, unit
from tests.integration.test_increments import CODES, load
from tests.integration.test_publish import gate_says

pytestmark = pytest.mark.slow

PERIOD = "2026-10"
ON_TIME, LATE = "2026-10-08 10:00+07", "2026-10-12 10:00+07"
REASON = "Đơn vị nộp bù hồ sơ"


@dataclass
class Road:
    settings: Settings
    first: edition.Edition
    files: dict[str, str]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def say(settings: Settings, candidate_id: str) -> edition.Edition:
    gate_says(settings, candidate_id, "pass")
    approve(settings, candidate_id, "signer")
    return edition.publish(settings, PERIOD, "engineer")


@pytest.fixture(scope="module")
def road(new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Road:
    """October is published; then, for U0, two dossiers come late, one is deleted and one corrected; then a rule changes, and a
    model."""
    settings = new_warehouse(HAILONG_SIGNERS="signer")
    units = dict(unit(name) for name in ("U0", "U1", "U2"))
    units["U2"]["parent_unit_code"] = "U0"
    load(settings, "unit_register", units)
    load(settings, "code_map", dict(CODES))
    for name in ("S0", "S1"):
        results = [ON_TIME] * 8 + [LATE] * 2
        load(settings, "dossier", dict(dossier(f"{name}-{n}", name, result) for n, result in enumerate(results)))
    load(settings, "dossier", dict(dossier(f"S2-{n}", "S2", ON_TIME) for n in range(3)))
    load(settings, "rating", {})
    load(settings, "portal_evaluation", {})
    build(settings)
    first = say(settings, candidate.create(settings, PERIOD, "engineer").candidate_id)
    files = digests(first.folder)
    load(settings, "dossier", dict(dossier(f"S0-late-{n}", "S0", LATE) for n in range(2)))
    load(settings, "dossier", {"S0-0": None})
    load(settings, "dossier", dict([dossier("S0-9", "S0", ON_TIME)]))
    folder = tmp_path_factory.mktemp("rules") / "rules"
    shutil.copytree(settings.rules, folder, ignore=shutil.ignore_patterns("target", "logs"))
    parameters = folder / "seeds" / "scoring_policy_parameter.csv"
    told = parameters.read_text(encoding="utf-8")
    parameters.write_text(told.replace(",a_point_within_grace,0,", ",a_point_within_grace,0.5,", 1), encoding="utf-8")
    model = folder / "macros" / "timeliness.sql"
    told, point = model.read_text(encoding="utf-8"), "{{ rules }}.a_point_within_grace"
    assert told.count(point) == 1
    model.write_text(told.replace(point, f"least(1, 2 * {point})"), encoding="utf-8")
    settings = replace(settings, rules=folder)
    build(settings)
    return Road(settings, first, files)


@pytest.fixture(scope="module")
def restated(road: Road) -> Restatement:
    """One that was killed while it built a state between leaves nothing that the next one would count."""
    killed = subprocess.Popen(
        [sys.executable, "-m", "hailong.cli", "restate", "--period", PERIOD, "--reason", REASON, "--by", "engineer"],
        env={**os.environ, **road.settings.env, "HAILONG_RULES": str(road.settings.rules)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    half_built = "select count(*) > 0 from pg_tables where schemaname = 'beside_facts'"
    while query(road.settings, half_built) == [(False,)]:
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert query(road.settings, "select count(*) > 0 from ops.restated_record") == [(True,)]
    return restate(road.settings, PERIOD, REASON, "engineer")


def test_a_correction_without_a_restatement_is_refused(road: Road) -> None:
    other = candidate.create(road.settings, PERIOD, "engineer")
    gate_says(road.settings, other.candidate_id, "pass")
    approve(road.settings, other.candidate_id, "signer")
    with pytest.raises(PermanentError, match=r"not overwritten: .*`hailong restate --period 2026-10"):
        edition.publish(road.settings, PERIOD, "engineer")
    with pytest.raises(UsageError, match="needs a reason"):
        restate(road.settings, PERIOD, " ", "engineer")
    with pytest.raises(UsageError, match="names a dossier"):
        restate(road.settings, PERIOD, "Sửa hồ sơ “S0-1”.", "engineer")
    with pytest.raises(PermanentError, match=r"2026-08 .*has no edition"):
        restate(road.settings, "2026-08", REASON, "engineer")
    assert query(road.settings, "select count(*) from publish.edition") == [(1,)]


def test_each_cause_changes_what_it_alone_changes_and_they_add_up(road: Road, restated: Restatement) -> None:
    values = [
        Decimal(n).quantize(Decimal("1e-15"))
        for n in (Decimal(8) / 10, Decimal(8) / 12, Decimal(7) / 11, Decimal(8) / 11, Decimal("9.5") / 11, 1)
    ]
    causes = ("late", "deleted", "corrected", "rule", "code")
    expected = {
        ("U0", "A", cause): after - before for cause, before, after in zip(causes, values, values[1:], strict=False)
    } | {("U1", "A", "rule"): Decimal("0.1"), ("U1", "A", "code"): Decimal("0.1")}
    found = {(d.unit_code, d.index_code, d.cause): d.contribution for d in restated.differences}
    assert found == expected
    assert sum(value for (name, _, _), value in found.items() if name == "U0" and value) == Decimal("0.2")
    assert {(d.status_before, d.status_after) for d in restated.differences} == {("scored", "scored")}
    left = "select count(*) from ops.restated_record union all select count(*) from pg_namespace where nspname like 'beside%'"
    assert query(road.settings, left) == [(0,), (0,)]


def test_the_next_candidate_holds_what_came_later_against_what_was_published(road: Road) -> None:
    """By now October would be said otherwise: two dossiers came late, one was corrected, one is gone, and a rule changed."""
    made = candidate.create(road.settings, "2026-09", "engineer")

    def annex(name: str) -> list[dict[str, Any]]:
        with connect(road.settings) as connection:
            return annexes.of_candidate(connection, made.candidate_id, name)

    [(as_of,)] = query(road.settings, "select as_of_batch from publish.edition where edition_id = '2026-10.e1'")
    periods = {row["period_code"]: row for row in annex("later_period")}
    assert periods[PERIOD] == {
        "edition_id": "2026-10.e1", "period_code": PERIOD, "as_of_batch": as_of, "built_to": made.as_of_batch,
        "is_by_same_rules": False, "is_built": True, "units": 2, "units_other_k": 0, "units_other_verdict": 0,
    }  # fmt: skip
    own = periods.pop("2026-09")
    assert (own["edition_id"], own["units"], own["is_by_same_rules"]) == (None, 0, True)  # the copy is of tonight
    assert set(periods) == {PERIOD} and as_of < made.as_of_batch
    effects = {row["unit_code"]: row for row in annex("later_effect")}
    assert {name: row["indices"] for name, row in effects.items()} == {"U0": "A,B", "U1": "A"}
    assert {(row["k_was"], row["k_now"], row["status_was"], row["status_now"]) for row in effects.values()} == {
        (None, None, "incomplete", "incomplete")
    }
    assert effects["U0"]["reason_was"] == effects["U0"]["reason_now"] == "C:no_data,D:no_data,E:awaiting_input"
    counted = {(row["unit_code"], row["measure"]): (row["late"], row["changed"]) for row in annex("later_record")}
    assert counted == {("U0", measure): (2, 1) for measure in ("dossier_received", "dossier_resolved")}


def test_an_edition_keeps_the_sub_units_of_each_head(road: Road) -> None:
    kept = f"select content from publish.annex where edition_id = '{road.first.edition_id}' and annex = 'sub_unit'"
    [(row,)] = query(road.settings, kept)
    assert {name: row[name] for name in ("unit_code", "sub_unit_code", "a", "a_dossiers", "b", "c", "c_ratings", "k")} == {
        "unit_code": "U0", "sub_unit_code": "U2", "a": 1, "a_dossiers": 3, "b": 1, "c": None, "c_ratings": 0, "k": None,
    }  # fmt: skip
    assert (row["status"], row["status_reason"], row["c_reason"]) == ("not_applicable", "sub_unit", "no_rating")


def test_a_dry_run_leaves_nothing_and_a_signed_restatement_is_the_next_edition(
    road: Road, restated: Restatement
) -> None:
    settings, made = road.settings, restated.candidate
    assert made is not None and restated.edition_id == f"{PERIOD}.e1"
    second = say(settings, made.candidate_id)
    assert second.created and second.edition_id == f"{PERIOD}.e2"
    header = "select edition_no, supersedes, reason, candidate_id from publish.edition order by edition_no"
    assert query(settings, header) == [
        (1, None, None, f"{PERIOD}.c1"), (2, f"{PERIOD}.e1", REASON, made.candidate_id),
    ]  # fmt: skip
    diff = (
        "select unit_code, index_code, cause, contribution, was::float, now::float from publish.edition_diff "
        f"where edition_id = '{PERIOD}.e2'"
    )
    assert sorted(query(settings, diff)) == sorted(
        (d.unit_code, d.index_code, d.cause, d.contribution, 0.8, 1.0) for d in restated.differences
    )
    (told,) = corrections(settings, PERIOD)
    assert (told.edition_id, told.supersedes, told.reason, told.units) == (f"{PERIOD}.e2", f"{PERIOD}.e1", REASON, 2)
    assert told.causes == {"late": 1, "deleted": 1, "corrected": 1, "rule": 2, "code": 2} and told.verdicts == []
    assert corrections(settings, "2026-09") == []
    latest = "select distinct edition_id from publish.k_score_latest"
    assert query(settings, latest) == [(f"{PERIOD}.e2",)]
    # The first is as it was, in tables and files, and both can be read.
    assert digests(road.first.folder) == road.files
    assert verify(settings, chain=True).holds
    assert query(
        settings,
        "select value::float from publish.index_score where edition_id = '2026-10.e1' and index_code = 'A' and unit_code = 'U0'",
    ) == [(0.8,)]
    # Nothing more to say: no other candidate, no other edition.
    counted = "select count(*) from publish.candidate"
    before = query(settings, counted)
    assert candidate.create(settings, PERIOD, "engineer").published_as == f"{PERIOD}.e2"
    again = restate(settings, PERIOD, REASON, "engineer")
    assert (again.unchanged, again.differences, again.candidate) == (True, (), None)
    # Other counts that give the same values are said anew too.
    load(settings, "dossier", dict([dossier("S0-late-again", "S0", ON_TIME)]))
    build(settings)
    counts = restate(settings, PERIOD, REASON, "engineer", dry_run=True)
    assert counts.differences == () and not counts.unchanged and counts.candidate is None
    assert [line for line in counts.otherwise if line.startswith("index_score U0 A")] == [
        "index_score U0 A numerator: was 11.000000, is 12.000000", "index_score U0 A denominator: was 11.000000, is 12.000000",
    ]  # fmt: skip
    assert query(settings, counted) == before
    with (
        connect(settings, "hailong_publisher") as connection,
        pytest.raises(Exception, match=r"append-only|permission denied"),
    ):
        connection.execute("delete from publish.candidate_difference")
