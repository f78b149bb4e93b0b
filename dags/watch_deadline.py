"""The watcher of the 25th: asks the database, not Airflow, what has been published."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from hailong.airflow_tasks import HailongOperator
from hailong.settings import Settings

DOC = """### Is every period published before the 25th?
Reads the publication calendar and the tables every morning, whatever else ran or did not. From the cut-off of a period on it says
what the period lacks and how many working days are left, and tells whose turn it is (`expectations/escalation.yaml`) by
mail and webhook, once per change. Fails, loudly, while a period is past its due time and has no edition, while there is no
calendar to read, and when somebody could not be reached.
To see what it would say on another day trigger with `today`; it tells nobody then, unless `tell` is set too.
What to do: see `docs/runbook.md`, "Mails about the 25th".
"""

with DAG(
    dag_id="watch__deadline",
    schedule=CronTriggerTimetable("0 7 * * *", timezone=Settings.load().timezone),
    description="What each owed period lacks, told to whose turn it is; fails while one is overdue",
    doc_md=DOC,
    catchup=False,
    max_active_runs=1,
    tags=["watch", "blocks-25th"],
    default_args={"owner": "data-engineering", "retries": 2, "retry_delay": timedelta(minutes=10)},
    params={
        "today": Param(
            None,
            type=["null", "string"],
            description="As if it were this local day (its end) or moment: 2026-10-22T07:00",
        ),
        "tell": Param(False, type="boolean", description="With `today`: tell people all the same"),
    },
):
    HailongOperator(
        task_id="check",
        command=["status", "--deadline", "{{ '--notify' if params.tell or not params.today else '' }}"],
        options={"--today": "{{ params.today }}"},
        execution_timeout=timedelta(minutes=10),
    )
