"""`hailong verify`: what somebody with every right changed behind our back is found, whatever they changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from hailong.errors import PermanentError
from hailong.periods import parse_period
from hailong.publish import annexes, edition
from hailong.publish.approval import approve
from hailong.publish.checksum import content_sha256
from hailong.publish.verify import Verification, verify
from hailong.settings import Settings
from hailong.warehouse import rules
from hailong.warehouse.connect import connect
from tests.integration.test_cli import refused, run
from tests.integration.test_publish import gate_says

PARAMETERS = {"k_threshold": "20", "c_min_ratings": "5", **{f"{i}_max": "18" if i == "d" else "1" for i in "abcde"}}
PERIODS = ("2026-09", "2026-10", "2026-11")


def copy(settings: Settings, period_code: str, digest: str) -> str:
    """A candidate of two units as `candidate` writes it; returns the checksum that its rows have."""
    period, name = parse_period(settings.rules, period_code), f"{period_code}.c1"
    with connect(settings, "hailong_publisher") as connection:
        connection.execute(
            "insert into publish.candidate (candidate_id, period_code, calendar_code, period_start, period_end, cutoff_at, "
            "as_of_batch, build_id, rules_sha256, policy_id, code_version, late_batches, content_sha256, requested_by) "
            "values (%s, %s, %s, %s, %s, now(), 1, 1, 'r', 'qd104-2024', 'v', 0, %s, 'engineer')",
            (name, period.code, period.calendar_code, period.start, period.end, digest),
        )
        for parameter, value in PARAMETERS.items():
            connection.execute(
                "insert into publish.candidate_parameter values (%s, 'qd104-2024', %s, %s, 'w')",
                (name, parameter, value),
            )
        for unit in ("U1", "U2"):
            connection.execute(
                "insert into publish.candidate_k_score (candidate_id, period_code, unit_code, unit_name, peer_group, "
                "peer_group_name, unit_kind, a, b, c, d, e, k, verdict, status, rank_in_group, window_start, window_end, "
                "small_sample, near_threshold, no_petitions, k_min, k_max, verdict_stability) values (%s, %s, %s, %s, 'g', "
                "'g', 'commune', 1, 1, 1, 17, 1, 21, 'satisfied', 'scored', 1, %s, %s, false, false, false, 21, 21, 'stable')",
                (name, period.code, unit, unit, period.start, period.end),
            )
            for index in "ABCDE":
                connection.execute(
                    "insert into publish.candidate_index_score (candidate_id, period_code, unit_code, index_code, numerator, "
                    "denominator, excluded, value, status) values (%s, %s, %s, %s, 9, 10, 0, 0.9, 'scored')",
                    (name, period.code, unit, index),
                )
        connection.execute(
            "insert into publish.candidate_annex values (%s, 'rollup', 1, null, '{\"measure\": \"a\"}')", (name,)
        )
        connection.execute(
            "insert into publish.candidate_part values (%s, 'annexes', %s, %s)",
            (name, *annexes.checksum(connection, "candidate", name)),
        )
        found = content_sha256(connection, "candidate", name)
        if found != digest:
            connection.rollback()
    return found


@pytest.fixture(scope="module")
def said(new_warehouse: Callable[..., Settings]) -> Settings:
    """Three editions, on the road from the signature on."""
    settings = new_warehouse(HAILONG_SIGNERS="signer")
    for code in PERIODS:
        assert copy(settings, code, digest := copy(settings, code, "0" * 64)) == digest
        gate_says(settings, f"{code}.c1", "pass")
        approve(settings, f"{code}.c1", "signer")
        assert edition.publish(settings, code, "engineer").created
    return settings


def against(found: Verification) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for check in found.checks:
        if check.against:
            told.setdefault(check.subject, []).append(f"{check.what}: {check.against}")
    return told


@pytest.fixture
def as_administrator(said: Settings) -> Iterator[Callable[[str, str], None]]:
    """Runs a statement on a table of `publish` past its triggers; afterwards everything is as it was."""
    with connect(said) as connection:
        before = {
            table: connection.execute(f"select * from publish.{table}").fetchall()  # type: ignore[arg-type]
            for table in (
                "edition",
                "k_score",
                "index_score",
                "candidate_k_score",
                "approval",
                "artifact",
                "annex",
                "candidate_part",
            )
        }
    touched: set[str] = set()

    def without_triggers(connection: psycopg.Connection, table: str, statement: str) -> None:
        connection.execute(f"alter table publish.{table} disable trigger all")  # type: ignore[arg-type]
        connection.execute(statement)  # type: ignore[arg-type]
        connection.execute(f"alter table publish.{table} enable trigger all")  # type: ignore[arg-type]
        for trigger in ("append_only", "no_truncate"):
            connection.execute(f"alter table publish.{table} enable always trigger {table}_{trigger}")  # type: ignore[arg-type]

    def change(table: str, statement: str) -> None:
        touched.add(table)
        with connect(said) as connection:
            without_triggers(connection, table, statement)

    yield change
    with connect(said) as connection:
        for table in touched:
            without_triggers(connection, table, f"delete from publish.{table}")
            places = ", ".join(["%s"] * len(before[table][0]))
            connection.execute(f"alter table publish.{table} disable trigger all")  # type: ignore[arg-type]
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"insert into publish.{table} values ({places})",
                    [[Jsonb(value) if isinstance(value, dict) else value for value in row] for row in before[table]],
                )  # type: ignore[arg-type]
            without_triggers(connection, table, "select 1")
    assert verify(said, chain=True).holds


def test_what_was_said_is_what_is_stored(said: Settings) -> None:
    found = verify(said, chain=True)
    assert found.holds and against(found) == {}
    assert {check.subject for check in found.checks} == {*(f"{code}.e1" for code in PERIODS), "editions"}
    assert len(found.checks) == 6 * len(PERIODS) + 1


@pytest.mark.parametrize(
    ("table", "statement", "edition_id", "told"),
    [
        ("k_score", "update publish.k_score set k = 22 where edition_id = '2026-10.e1' and unit_code = 'U1'",
         "2026-10.e1", "its rows are those that were published"),
        ("index_score", "delete from publish.index_score where edition_id = '2026-10.e1' and index_code = 'E'",
         "2026-10.e1", "its rows are those that were published"),
        ("candidate_k_score", "update publish.candidate_k_score set k = 22 where candidate_id = '2026-10.c1'",
         "2026-10.e1", "the copy that was signed is as it was"),
        ("approval", "delete from publish.approval where candidate_id = '2026-10.c1'",
         "2026-10.e1", "nobody signed it before"),
        ("approval", "update publish.approval set decision = 'rejected' where candidate_id = '2026-10.c1'",
         "2026-10.e1", "it was refused before"),
        ("approval", "update publish.approval set content_sha256 = repeat('f', 64) where candidate_id = '2026-10.c1'",
         "2026-10.e1", "what was signed is ffffffffffffffff"),
        ("approval", "update publish.approval set decided_by = 'engineer' where candidate_id = '2026-10.c1'",
         "2026-10.e1", "who asked for it signed it"),
        ("annex", "update publish.annex set content = '{\"measure\": \"b\"}' where edition_id = '2026-10.e1'",
         "2026-10.e1", "its annexes are those that were copied: they are others now"),
        ("annex", "delete from publish.annex where edition_id = '2026-10.e1'",
         "2026-10.e1", "its annexes are those that were copied: they are others now"),
        ("candidate_part", "delete from publish.candidate_part where candidate_id = '2026-10.c1'",
         "2026-10.e1", "its annexes are those that were copied: they are others now"),
        ("edition", "update publish.edition set published_at = published_at - interval '1 day' where edition_id = '2026-11.e1'",
         "2026-11.e1", "it follows the edition that it names: it names"),
        ("edition", "delete from publish.edition where edition_id = '2026-09.e1'",
         "2026-10.e1", "and before it stands none"),
    ],
)  # fmt: skip
def test_rows_changed_past_every_trigger_are_found(
    said: Settings,
    as_administrator: Callable[[str, str], None],
    table: str,
    statement: str,
    edition_id: str,
    told: str,
) -> None:
    as_administrator(table, statement)
    found = verify(said, chain=True)
    assert not found.holds and "Something was changed after it was said" in found.way_out
    assert any(told in line for line in against(found)[edition_id]), against(found)


def test_files_that_were_changed_lost_or_added_are_found(said: Settings) -> None:
    folder = said.editions / "2026-10.e1"
    book = next(folder.glob("*.xlsx"))
    content = book.read_bytes()

    def told() -> str:
        return " ".join(against(verify(said, chain=True)).get("2026-10.e1", []))

    book.write_bytes(content + b" ")
    assert f"changed: {book.name}" in told()
    book.unlink()
    assert f"missing: {book.name}" in told()
    book.write_bytes(content)
    (folder / "other.txt").write_text("x")
    assert told() == "its files are those recorded: never recorded: other.txt"
    (folder / "other.txt").unlink()
    assert told() == ""


def test_an_edition_whose_files_were_never_recorded_is_unfinished_and_nobody_is_accused(
    said: Settings, as_administrator: Callable[[str, str], None]
) -> None:
    as_administrator("artifact", "delete from publish.artifact where edition_id = '2026-10.e1'")
    found = verify(said, chain=True)
    assert against(found) == {"2026-10.e1": ["its files are those recorded: none are recorded"]}
    assert "hailong publish" in found.way_out and "changed" not in found.way_out


def test_the_command_tells_what_was_looked_at_and_exits_1_when_something_does_not_hold(
    said: Settings, as_administrator: Callable[[str, str], None]
) -> None:
    holds = run(said, "verify", "--chain")
    assert holds.returncode == 0 and holds.stdout.count("✓") == 6 * len(PERIODS) + 1
    as_administrator("k_score", "update publish.k_score set k = 22 where edition_id = '2026-10.e1'")
    refused(run(said, "verify", "--chain"), 1, "Something was changed after it was said")
    told = json.loads(run(said, "verify", "--chain", "--json").stdout)
    assert not told["holds"] and sum(bool(check["against"]) for check in told["checks"]) == 1


def test_a_folder_of_no_edition_is_found(said: Settings) -> None:
    stranger = said.editions / "2026-08.e1"
    stranger.mkdir()
    assert against(verify(said, chain=True)) == {"editions": ["every folder belongs to an edition: 2026-08.e1"]}
    stranger.rmdir()


def test_an_edition_that_is_not_there_and_a_rule_set_that_is_gone_are_said(said: Settings) -> None:
    with pytest.raises(PermanentError, match=r"no edition '2026-10\.e2'; the newest are: 2026-11\.e1, 2026-10\.e1"):
        verify(said, "2026-10.e2")
    with pytest.raises(PermanentError, match="the rule set r is not kept in"):
        verify(said, "2026-10.e1")


def test_a_rule_set_that_was_kept_is_laid_out_as_it_was_or_refused(said: Settings, tmp_path: Path) -> None:
    sha256, path = rules.pack(said)
    rules.unpack(said, sha256, tmp_path / "laid out")
    assert rules.rule_files(tmp_path / "laid out") == rules.rule_files(said.rules)
    other = path.with_name(f"{'e' * 64}.tar.gz")
    other.write_bytes(path.read_bytes())
    with pytest.raises(PermanentError, match="was changed: its checksum is"):
        rules.unpack(said, "e" * 64, tmp_path / "other")
    other.unlink()
