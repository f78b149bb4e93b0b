"""The watcher of the 25th: asks the database, not Airflow, what has been published."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from hailong.airflow_tasks import HailongOperator
from hailong.settings import Settings

DOC = """### Is every period published before the 25th?
Reads the publication calendar and `publish.edition` every morning, whatever else ran or did not. Fails, loudly, while a
period is past its due time and has no edition; says which periods are past their cut-off and can be published.
What to do: trigger `publish__period` for the period named, and see `docs/runbook.md`.
"""

with DAG(
    dag_id="watch__deadline",
    schedule=CronTriggerTimetable("0 7 * * *", timezone=Settings.load().timezone),
    description="Fails while a period is overdue and unpublished",
    doc_md=DOC,
    catchup=False,
    max_active_runs=1,
    tags=["watch", "blocks-25th"],
    default_args={"owner": "data-engineering", "retries": 2, "retry_delay": timedelta(minutes=10)},
):
    HailongOperator(task_id="check", command=["status", "--deadline"], execution_timeout=timedelta(minutes=10))
