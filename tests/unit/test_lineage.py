"""What lineage makes of dbt's artifacts and of errors; the events themselves: tests/integration/test_watched.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hailong import lineage
from hailong.errors import PermanentError
from hailong.lineage import Dataset
from hailong.settings import Settings
from tests.receivers import Hook, webhook

PLACE = "postgres://db.example.org:5433"


def settings_of(home: Path, **env: str) -> Settings:
    return Settings.load(
        {"HAILONG_HOME": str(home), "HAILONG_DSN": "postgresql://u:geheim@db.example.org:5433/hl", **env}
    )


def node(name: str, schema: str, *parents: str, kind: str = "model", **more: Any) -> dict[str, Any]:
    return {
        "unique_id": f"{kind}.hailong.{name}", "resource_type": kind, "name": name, "schema": schema, "alias": None,
        "columns": {}, "depends_on": {"nodes": list(parents)}, "config": {"materialized": "table"}, **more,
    }  # fmt: skip


def result(unique_id: str, status: str = "success", rows: int = -1, ran: bool = True) -> dict[str, Any]:
    times = [
        {"name": n, "started_at": f"2026-11-18T20:0{i}:00Z", "completed_at": f"2026-11-18T20:0{i}:30Z"}
        for i, n in enumerate("ab")
    ]
    return {
        "unique_id": unique_id, "status": status, "timing": times if ran else [], "adapter_response": {"rows_affected": rows},
        "message": 'invalid input syntax for type integer: "Nguyễn Thị Kanari"',
    }  # fmt: skip


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, lineage.Part]:
    """A build in which one model failed, one after it was skipped, and a test failed."""
    made = [
        node("stg_dossier", "staging", "source.hailong.raw.dossier"),
        node("between", "core", "model.hailong.stg_dossier", config={"materialized": "ephemeral"}),
        node("core_dossier", "core", "model.hailong.between", "seed.hailong.policy", "macro.hailong.x",
             columns={"dossier_code": {"data_type": "text"}}),
        node("mart_k_score", "marts", "model.hailong.core_dossier", alias="k_score"),
        node("mart_after", "marts", "model.hailong.mart_k_score"),
        node("policy", "rules", kind="seed", depends_on={"macros": []}),
        node("unique_x", "checks", "model.hailong.core_dossier", kind="test"),
    ]  # fmt: skip
    source = {"resource_type": "source", "name": "dossier", "identifier": "dossier", "schema": "raw"}
    manifest = {"nodes": {n["unique_id"]: n for n in made}, "sources": {"source.hailong.raw.dossier": source}}
    results = [
        result("seed.hailong.policy", rows=4), result("model.hailong.stg_dossier"),
        result("model.hailong.core_dossier", rows=0), result("model.hailong.mart_k_score", "error"),
        result("model.hailong.mart_after", "skipped", ran=False), result("test.hailong.unique_x", "fail"),
    ]  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "run_results.json").write_text(json.dumps({"results": results}))
    return {part.job: part for part in lineage._models(settings_of(tmp_path), tmp_path)}


def test_what_ran_is_told_of_and_tests_and_what_was_skipped_is_not(parts: dict[str, lineage.Part]) -> None:
    assert set(parts) == {
        "build.rules.policy",
        "build.staging.stg_dossier",
        "build.core.core_dossier",
        "build.marts.k_score",
    }


def test_a_table_comes_from_what_it_was_made_of_through_what_is_no_table(parts: dict[str, lineage.Part]) -> None:
    core = parts["build.core.core_dossier"]
    assert [d.name for d in core.reads] == ["hl.staging.stg_dossier", "hl.rules.policy"]
    assert core.writes == [Dataset(PLACE, "hl.core.core_dossier", rows=0, columns=(("dossier_code", "text"),))]
    assert [d.name for d in parts["build.staging.stg_dossier"].reads] == ["hl.raw.dossier"]
    assert (parts["build.rules.policy"].writes[0].rows, parts["build.staging.stg_dossier"].writes[0].rows) == (4, None)
    assert (core.began, core.ended) == ("2026-11-18T20:00:00Z", "2026-11-18T20:01:30Z")


def test_of_a_model_that_failed_the_name_is_told_and_not_what_the_database_said(parts: dict[str, lineage.Part]) -> None:
    assert parts["build.marts.k_score"].failed == "dbt: error of model.hailong.mart_k_score"
    assert parts["build.core.core_dossier"].failed is None


def test_a_dbt_that_stopped_before_any_model_has_no_parts(tmp_path: Path) -> None:
    assert lineage._models(settings_of(tmp_path), tmp_path) == []


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setattr(lineage._Receiver, "gone", False)
    with webhook() as hook:
        yield hook


@pytest.mark.parametrize(
    ("error", "how", "told"),
    [
        (PermanentError("no source: set X\nand more"), "FAIL", "PermanentError: no source: set X"),
        (ValueError("Nguyễn Thị Kanari is no number"), "FAIL", "ValueError"),
        (KeyboardInterrupt(), "ABORT", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_ends_badly_says_how_and_no_more_than_we_wrote(
    receiver: Hook, tmp_path: Path, error: BaseException, how: str, told: str
) -> None:
    with pytest.raises(type(error)), lineage.load(settings_of(tmp_path, OPENLINEAGE_URL=receiver.url), "dossier"):
        raise error
    began, ended = receiver.take()
    assert (began["eventType"], ended["eventType"]) == ("START", how)
    assert began["run"]["runId"] == ended["run"]["runId"]
    assert ended["run"]["facets"]["errorMessage"]["message"] == told


def test_a_dry_run_is_not_told(receiver: Hook, tmp_path: Path) -> None:
    with lineage.candidate(settings_of(tmp_path, OPENLINEAGE_URL=receiver.url), dry_run=True) as copied:
        copied(None)
    assert receiver.calls == []
