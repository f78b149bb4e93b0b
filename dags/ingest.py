"""One nightly DAG per feed, declared by its contract (`expectations/contracts/<feed>.yaml`)."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from hailong.airflow_tasks import HailongOperator
from hailong.contracts import load_contracts
from hailong.settings import Settings

DOC = """### {feed}
{description}

Nightly; a run fetches what changed since the last loaded window. To back-fill, trigger with `since` and `until`
(local, end exclusive); to load a dropped file, with `file`. Loading the same batch twice changes nothing.

Owner: {owner}. Due at {due} local time. Contract version {version}.
"""

settings = Settings.load()

for contract in load_contracts(settings.contracts).values():
    with DAG(
        dag_id=f"ingest__{contract.feed}",
        schedule=CronTriggerTimetable(contract.schedule, timezone=settings.timezone),
        description=contract.description.splitlines()[0],
        doc_md=DOC.format(**vars(contract)),
        catchup=False,
        max_active_runs=1,
        tags=["ingest", contract.kind],
        default_args={"owner": contract.owner, "retries": 3, "retry_delay": timedelta(minutes=5)},
        params={
            "since": Param(None, type=["null", "string"], description="Local start (inclusive): 2026-10-01"),
            "until": Param(None, type=["null", "string"], description="Local end (exclusive): 2026-11-01"),
            "file": Param(None, type=["null", "string"], description="A dropped file, by its path on the server"),
        },
    ):
        HailongOperator(
            task_id="ingest",
            command=["ingest", contract.feed, "--json"],
            options={f"--{name}": f"{{{{ params.{name} or '' }}}}" for name in ("since", "until", "file")},
            execution_timeout=timedelta(hours=3),
        )
