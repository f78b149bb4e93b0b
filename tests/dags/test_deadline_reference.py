"""The deadline of `publish__period`: how Airflow asks for it, and what happens when it passes."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from hailong import airflow_deadline
from hailong.airflow_deadline import PeriodDue, at_due_moment, tell

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "airflow_hailong.py"


class Metadata:
    """A session that answers with the configuration of one run."""

    def __init__(self, conf: dict[str, str] | None) -> None:
        self.conf = conf

    def scalar(self, statement: object) -> dict[str, str] | None:
        return self.conf


def test_a_warehouse_that_is_away_leaves_a_run_without_deadline_and_lets_it_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HAILONG_DSN", "postgresql://u:geheim@127.0.0.1:1/none")
    found = PeriodDue()._evaluate_with(session=Metadata({"period": "2026-10"}), dag_id="publish__period", run_id="r")
    assert found is None
    assert "no deadline for r of publish__period: TransientError" in caplog.text and "geheim" not in caplog.text


def test_airflow_finds_the_deadline_by_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is serialised names a class that Airflow looks up among the plugins' and nowhere else."""
    from airflow.serialization.decoders import decode_deadline_alert
    from airflow.serialization.encoders import encode_deadline_alert

    spec = importlib.util.spec_from_file_location("airflow_hailong", PLUGIN)
    assert spec and spec.loader
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    alert = at_due_moment()
    encoded = encode_deadline_alert(alert)
    path = encoded["reference"]["__class_path"]
    known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in plugin.HailongPlugin.deadline_references}
    assert path in known
    monkeypatch.setattr("airflow.plugins_manager.get_deadline_references_plugins", lambda: known)
    assert decode_deadline_alert(encoded).reference.inner_ref == alert.reference


@pytest.mark.parametrize(("status", "fails"), [(0, False), (1, False), (2, True), (75, True)])
def test_the_deadline_calls_the_watcher_which_may_find_something_overdue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int, fails: bool
) -> None:
    called: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        called.append(command[2:])
        return SimpleNamespace(returncode=status, stdout="2026-10: OVERDUE\n")

    caplog.set_level("INFO")
    monkeypatch.setattr(airflow_deadline.subprocess, "run", run)
    with pytest.raises(RuntimeError, match="exit") if fails else nullcontext():
        tell(context={})
    assert called == [["hailong.cli", "status", "--deadline", "--notify"]]
    assert "2026-10: OVERDUE" in caplog.text
