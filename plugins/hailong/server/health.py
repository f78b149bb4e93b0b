"""Is the process of this container alive and at work? Light enough to be asked twice a minute."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from collections.abc import Callable

from hailong.errors import HailongError, TransientError, UsageError
from hailong.server.environment import API_PORT

JOBS = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}
STALE_SECONDS = 60


def check(component: str) -> None:
    """Nothing when the component of this host is healthy, else TransientError says what it saw."""
    checks: dict[str, Callable[[], None]] = {"api-server": _api_server, "worker": _worker}
    if component not in JOBS and component not in checks:
        raise UsageError(f"no such component: {component}; there are {', '.join((*JOBS, *checks))}")
    try:
        checks.get(component, lambda: _job(JOBS[component]))()
    except HailongError:
        raise
    except Exception as error:
        raise TransientError(f"{component}: {str(error).strip() or type(error).__name__}") from error


def _api_server() -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{API_PORT}/api/v2/monitor/health", timeout=8) as answer:
        state = json.load(answer)["metadatabase"]["status"]
    if state != "healthy":
        raise TransientError(f"the API server's database is {state}")


def _job(kind: str) -> None:
    """Each of them notes its heartbeat in Airflow's own table, under the name of its host."""
    import psycopg

    uri = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("postgresql+psycopg2", "postgresql", 1)
    with psycopg.connect(uri, connect_timeout=8) as connection:
        row = connection.execute(
            "select extract(epoch from clock_timestamp() - max(latest_heartbeat))::int from job"
            " where job_type = %s and hostname = %s and state = 'running'",
            (kind, socket.gethostname()),
        ).fetchone()
    if row is None or row[0] is None:
        raise TransientError(f"{kind} has not reported from {socket.gethostname()} yet")
    if row[0] > STALE_SECONDS:
        raise TransientError(f"{kind} reported last {row[0]} s ago")


def _worker() -> None:
    from celery import Celery

    name = f"celery@{socket.gethostname()}"
    with Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"]) as app:
        answers = app.control.ping(destination=[name], timeout=8)
    if not any(name in answer for answer in answers):
        raise TransientError(f"{name} does not answer")
