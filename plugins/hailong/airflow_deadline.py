"""The due moment of a run's period as a deadline of Airflow's, and what is done when it passes.

An extra: it exists only for a run that exists. `watch__deadline` is the one to trust (ADR 15). Imported when DAG files are
parsed and by every Airflow process, so it needs `airflow.sdk` only.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any, ClassVar

from airflow.sdk.definitions.callback import SyncCallback  # airflow.sdk has the three too, but its stub lacks them
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineAlert

from hailong import logs
from hailong.settings import PROJECT, Settings

log = logging.getLogger(__name__)


class PeriodDue(BaseDeadlineReference):
    """When the calendar wants the edition of the period that a run was triggered with (`conf.period`).

    Asked once, when the run is created, by the process that creates it. None, and so no deadline, where the calendar cannot be
    asked or has no such period: a run must not fail to start because of that.
    """

    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def _evaluate_with(self, *, session: Any, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from sqlalchemy import select

        from hailong.publish.deadline import due_moment

        conf = session.scalar(select(DagRun.conf).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)) or {}
        try:
            return due_moment(Settings.load(), str(conf.get("period")))
        except Exception as error:
            log.warning("no deadline for %s of %s: %s", run_id, dag_id, type(error).__name__)
            return None


def tell(context: Any = None) -> None:
    """What the watcher does, at the due moment: looks into the database and tells whose turn it is (`context` is Airflow's)."""
    del context
    done = subprocess.run(
        [sys.executable, "-m", "hailong.cli", "status", "--deadline", "--notify"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        errors="replace", cwd=PROJECT, timeout=600, check=False,
        env=os.environ | {logs.VARIABLE: "text"},  # what is logged here is Airflow's to format
    )  # fmt: skip
    for line in done.stdout.splitlines():
        log.info("%s", line)
    if done.returncode not in (0, 1):  # 1: something is overdue, which is what it was called for
        raise RuntimeError(
            f"`hailong status --deadline --notify` failed (exit {done.returncode}); its message stands above"
        )


def at_due_moment() -> DeadlineAlert:
    """The deadline of a DAG about one period."""
    return DeadlineAlert(reference=PeriodDue(), interval=timedelta(0), callback=SyncCallback(tell), name="due moment")
