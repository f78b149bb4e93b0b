"""The nightly build: by the clock, with whatever has landed. One at a time."""

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, CronTriggerTimetable, TriggerRule

from hailong.airflow_tasks import HailongOperator
from hailong.settings import Settings

DOC = """### The warehouse, rebuilt as of the newest batch
Staging, core, facts and marts; afterwards every key and constraint is proved to stand, and Great Expectations looks at
what has landed. Each owner of a source is told once what is new among its findings, also when the gate stopped. Runs by the
clock and not by events: one feed that is late must not stop the other six. A feed that failed shows in its own DAG, in
`hailong status`, and at the gate of the candidate.
"""

with DAG(
    dag_id="build__warehouse",
    schedule=CronTriggerTimetable("0 3 * * *", timezone=Settings.load().timezone),
    description="Staging, core, facts and marts as of the newest batch",
    doc_md=DOC,
    catchup=False,
    max_active_runs=1,
    tags=["build"],
    default_args={"owner": "data-engineering", "retries": 6, "retry_delay": timedelta(minutes=10)},
):
    build = HailongOperator(task_id="build", command=["build", "--json"], execution_timeout=timedelta(hours=4))
    gate = HailongOperator(task_id="gate", command=["gate", "--landed"], execution_timeout=timedelta(hours=1))
    digest = HailongOperator(
        task_id="digest",
        command=["findings", "digest"],
        execution_timeout=timedelta(minutes=10),
        trigger_rule=TriggerRule.ALL_DONE,
    )
    # The digest goes out whatever became of the gate. A run is judged by its last tasks alone, so the last is one that
    # ran only when all of them did.
    done = EmptyOperator(task_id="done")
    build >> gate >> digest >> done
    [build, gate] >> done
