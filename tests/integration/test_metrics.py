"""Figures for Prometheus: read by its own parser, unknown ones absent, and every alert of the example asks for one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hailong.metrics import text, write
from hailong.settings import PROJECT, Settings
from hailong.warehouse.connect import connect
from tests.integration.test_cli import refused, run

NOW = datetime(2026, 11, 2, tzinfo=UTC)
ALERTS = PROJECT / "docs" / "prometheus-alerts.yml"
Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(told: str) -> Samples:
    """By name and values of the labels, these in the order of their names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def empty(module_warehouse: Settings) -> Samples:
    return samples(text(module_warehouse, NOW))


@pytest.fixture(scope="module")
def filled(module_warehouse: Settings, empty: Samples) -> Settings:
    with connect(module_warehouse) as connection:
        connection.execute(
            "insert into ops.batch (feed, window_end, landing_uri, landing_sha256, received_rows, loaded_rows, unchanged_rows, "
            "duplicate_rows, quarantined_rows, started_at, loaded_at, contract_version, code_version) values "
            "('dossier', '2026-11-01T00:00Z', 'x', repeat('a', 64), 10, 7, 0, 1, 2, '2026-11-01T01:00Z', '2026-11-01T01:00:30Z', "
            "'1', 't'), "
            "('rating', '2026-11-01T12:00Z', 'x', repeat('b', 64), 0, 0, 0, 0, 0, '2026-11-01T01:00Z', '2026-11-01T01:00:05Z', "
            "'1', 't')"
        )
        connection.execute(
            "insert into ops.build (as_of_batch, rules_sha256, full_refresh, schema_prefix, started_at, finished_at, status) "
            "values (1, 'x', true, '', '2026-11-01T02:00Z', '2026-11-01T02:01:30Z', 'succeeded'), "
            "(1, 'x', true, '', '2026-11-01T03:00Z', '2026-11-01T03:00:09Z', 'failed'), "
            "(1, 'x', true, 'asof_1_', '2026-11-01T04:00Z', '2026-11-01T04:00:01Z', 'succeeded'), "
            "(1, 'x', true, '', '2026-11-01T05:00Z', null, 'running')"
        )
        for name, scope, period, at, disposition in (
            ("r1", "landed", None, "2026-11-01T06:00Z", "stop"),
            ("r2", "landed", None, "2026-11-01T07:00Z", "warn"),
            ("r3", "candidate", "2026-10", "2026-11-01T08:00Z", "stop"),
        ):
            connection.execute(
                "insert into dq.run (run_id, scope, candidate_id, content_sha256, period_code, as_of_batch, started_at, "
                "finished_at, disposition, expectations) values (%s, %s, %s, %s, %s, 1, %s, %s, %s, 1)",
                (name, scope, period and "c", period and "x", period, at, at, disposition),
            )
        connection.execute(
            "insert into dq.finding (expectation_id, scope_kind, scope) values ('e.one', 'feed', 'dossier')"
        )
        connection.execute(
            "insert into dq.finding_event (finding_id, event, run_id, severity, owner, reason) "
            "select finding_id, 'opened', 'r1', 'critical', 'Sở Nội vụ', 'x' from dq.finding"
        )
    return module_warehouse


@pytest.fixture(scope="module")
def found(filled: Settings) -> Samples:
    return samples(text(filled, NOW))


def test_what_nobody_knows_yet_has_no_sample(empty: Samples) -> None:
    names = {name for name, _ in empty}
    assert "hailong_feed_allowed_age_seconds" in names
    assert not names & {
        "hailong_feed_age_seconds", "hailong_feed_last_batch_quarantined_ratio", "hailong_build_last_ok",
        "hailong_build_last_success_timestamp_seconds", "hailong_gate_last", "hailong_findings",
    }  # fmt: skip
    assert empty["hailong_calendar_blind", ()] == 1


def test_feeds_are_as_old_as_what_was_read_of_them(found: Samples) -> None:
    assert found["hailong_feed_age_seconds", ("dossier",)] == timedelta(days=1).total_seconds()
    assert found["hailong_feed_age_seconds", ("rating",)] == timedelta(hours=12).total_seconds()
    assert ("hailong_feed_age_seconds", ("petition",)) not in found
    assert found["hailong_feed_last_batch_quarantined_ratio", ("dossier",)] == 0.2
    assert ("hailong_feed_last_batch_quarantined_ratio", ("rating",)) not in found  # nothing came: a share of nothing
    assert found["hailong_feed_last_batch_seconds", ("dossier",)] == 30
    assert found["hailong_feed_last_batch_loaded_rows", ("dossier",)] == 7


def test_the_newest_build_that_ended_counts_and_past_states_do_not(found: Samples) -> None:
    assert found["hailong_build_last_ok", ()] == 0
    assert found["hailong_build_last_seconds", ()] == 9
    ended = datetime(2026, 11, 1, 2, 1, 30, tzinfo=UTC).timestamp()
    assert found["hailong_build_last_success_timestamp_seconds", ()] == ended


def test_the_gate_is_told_by_its_newest_run_of_each_scope(found: Samples) -> None:
    assert {labels for name, labels in found if name == "hailong_gate_last"} == {
        ("warn", "", "landed"), ("stop", "2026-10", "candidate"),
    }  # fmt: skip
    assert found["hailong_findings", ("Sở Nội vụ", "critical", "open")] == 1


def test_a_period_without_an_edition_has_its_days_left(filled: Settings) -> None:
    with connect(filled) as connection:
        connection.execute("update ops.migration set applied_at = '2026-10-01T00:00Z'")
    told = samples(text(filled, datetime(2026, 10, 22, 3, tzinfo=UTC)))
    assert told["hailong_period_working_days_left", ("2026-10",)] == 1  # Thursday; the 25th is a Sunday
    assert told["hailong_period_missing", ("2026-10",)] >= 1
    assert told["hailong_period_due_timestamp_seconds", ("2026-10",)] > datetime(2026, 10, 23, tzinfo=UTC).timestamp()
    (state,) = {labels[1] for name, labels in told if name == "hailong_period_state" and labels[0] == "2026-10"}
    assert state == "due_soon"


def test_the_file_is_put_in_place_whole_and_has_a_name_that_is_read(filled: Settings, tmp_path: Path) -> None:
    write(filled, tmp_path / "hailong.prom", NOW)
    assert samples((tmp_path / "hailong.prom").read_text(encoding="utf-8")) == samples(text(filled, NOW))
    assert [path.name for path in tmp_path.iterdir()] == ["hailong.prom"]
    refused(run(filled, "metrics", "--out", str(tmp_path / "hailong.txt")), 2, ".prom")
    refused(run(filled, "metrics", "--out", str(tmp_path / "none" / "hailong.prom")), 2, "existing folder")
    done = run(filled, "metrics")
    assert done.returncode == 0, done.stderr
    assert ("hailong_build_last_ok", ()) in samples(done.stdout)


def unknown(alerts: Mapping[str, object], text_of_source: str) -> set[str]:
    """Figures that an alert asks for and nobody writes."""
    asked = set(re.findall(r"hailong_(\w+)", str(alerts)))
    return {name for name in asked if f'"{name}"' not in text_of_source}


def test_every_alert_of_the_example_asks_for_a_figure_that_is_written() -> None:
    source = (PROJECT / "plugins" / "hailong" / "metrics.py").read_text(encoding="utf-8")
    alerts = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    assert len(alerts["groups"][0]["rules"]) > 5
    assert unknown(alerts, source) == set()
    assert unknown({"expr": "hailong_feed_aged_seconds > 1"}, source) == {"feed_aged_seconds"}
