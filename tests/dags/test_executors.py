"""Both executors of a server can be loaded: their provider and the pinned packages fit together."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest


@pytest.mark.parametrize("executor", ["LocalExecutor", "CeleryExecutor"])
def test_the_executor_and_its_command_line_are_there(executor: str) -> None:
    """In a process of its own: Airflow reads its configuration when it is imported."""
    code = (
        "from airflow.executors.executor_loader import ExecutorLoader as loader; "
        "from airflow.providers.celery.cli.celery_command import worker; "
        "print(loader.get_default_executor_name().alias, loader.import_default_executor_cls()[0].__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False,
        env={
            "AIRFLOW_HOME": tempfile.mkdtemp(prefix="hailong-airflow-"), "AIRFLOW__CORE__EXECUTOR": executor,
            "AIRFLOW__CELERY__BROKER_URL": "redis://127.0.0.1:1/0", "PATH": "/usr/bin:/bin",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == [executor, executor]
