"""One nightly DAG per feed, and a monthly census where deletions are noticed by absence, declared by the contracts."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from hailong.airflow_tasks import HailongOperator
from hailong.contracts import load_contracts
from hailong.settings import Settings

DOC = """### {feed}
{description}

Nightly; a run fetches what changed since the last loaded window, and the look-back before it. To back-fill, trigger with
`since` and `until` (local, end exclusive): it goes in chunks, and a run that was stopped goes on. To load a dropped file,
trigger with `file`. Loading the same twice changes nothing. When more records are gone than the contract allows and that
is true, trigger with `max_delete_share`.

Owner: {owner}. Due at {due} local time. Contract version {version}.
"""
CENSUS_DOC = """### Census of {feed}
Reads the keys of the whole feed and loads no record: finds what was deleted longer ago than the nightly look-back sees.
Two nights, because a record is deleted when two complete reads in a row lack it. More gone than the contract allows is
refused; when that is true, trigger with `max_delete_share`.

Owner: {owner}. Contract version {version}.
"""
TWO_NIGHTS_A_MONTH = "0 4 5,6 * *"  # after the build, and long before the cut-off
SHARE = Param(
    None,
    type=["null", "number"],
    minimum=0,
    maximum=1,
    description="Share of records that may be gone, this once: 0.02",
)

settings = Settings.load()

for contract in load_contracts(settings.contracts).values():
    source = (contract.connector.system, type(contract.connector).__name__)
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
            "max_delete_share": SHARE,
        },
    ):
        HailongOperator(
            task_id="ingest",
            command=["ingest", contract.feed, "--json"],
            options={
                f"--{name.replace('_', '-')}": f"{{{{ params.{name} }}}}"
                for name in ("since", "until", "file", "max_delete_share")
            },
            source=source,
            execution_timeout=timedelta(hours=3),
        )

    if contract.deletions == "absence" and contract.cursor:
        with DAG(
            dag_id=f"census__{contract.feed}",
            schedule=CronTriggerTimetable(TWO_NIGHTS_A_MONTH, timezone=settings.timezone),
            description=f"Keys of the whole feed: what is gone from {contract.feed}",
            doc_md=CENSUS_DOC.format(**vars(contract)),
            catchup=False,
            max_active_runs=1,
            tags=["census", contract.kind],
            default_args={"owner": contract.owner, "retries": 3, "retry_delay": timedelta(minutes=15)},
            params={"max_delete_share": SHARE},
        ):
            HailongOperator(
                task_id="census",
                command=["ingest", contract.feed, "--census", "--json"],
                options={"--max-delete-share": "{{ params.max_delete_share }}"},
                source=source,
                execution_timeout=timedelta(hours=6),
            )
