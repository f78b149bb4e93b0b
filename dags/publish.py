"""From marts to an edition: candidate, gate, a signature by somebody else, publication, report."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from hailong.airflow_deadline import at_due_moment
from hailong.airflow_tasks import PERIOD, REQUESTER, HailongOperator, period_param, publish_when_signed

DOC = """### Publish one period
Trigger with `period` (`2026-10`, `2026-Q4` or `2026`) after its cut-off. The one who triggers is the requester and may
not sign. The sign-off waits for one of `HAILONG_SIGNERS`; the answer is copied to `publish.approval` with the checksum
of the candidate and the warnings shown, because Airflow forgets it when the task is cleared. A rejected candidate is
recorded and nothing is published. When the period's newest edition already says exactly this, the run ends at once.

No schedule: `watch__deadline` says daily which period is due, and a run that is not through at the due moment of its period has
the same said at that moment. A published period is corrected by `restate__period`.
"""
CANDIDATE = "{{ ti.xcom_pull('candidate')['candidate_id'] }}"
TOLD = """{% set copied = ti.xcom_pull('candidate') -%}
**Bản trình ký {{ copied.candidate_id }}** — người đề nghị: {{ dag_run.triggering_user_name or 'airflow' }}

Số liệu: các đợt nạp đến {{ copied.as_of_batch }}, trong đó {{ copied.late_batches }} đợt nạp sau thời điểm chốt. Về sau, \
đến lúc lập bản trình, không có trong bản này: {{ copied.later_records }} bản ghi của mọi kỳ ({{ copied.later_batches }} đợt nạp).
"""

with DAG(
    dag_id="publish__period",
    schedule=None,
    description="Candidate, gate, signature, edition and report of one period",
    doc_md=DOC,
    catchup=False,
    deadline=at_due_moment(),
    max_active_runs=4,  # month, quarter and year may wait for their signatures side by side
    tags=["publish", "blocks-25th"],
    default_args={"owner": "data-engineering", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "period": period_param(),
        "late": Param(
            False,
            type="boolean",
            description="Count what came after the cut-off too: what repairs a candidate that was stopped or refused",
        ),
    },
):
    candidate = HailongOperator(
        task_id="candidate",
        command=["candidate", "--json", "{{ '--late' if params.late else '' }}"],
        options={"--period": PERIOD, "--by": REQUESTER},
        skip_when="published_as",
    )
    publish_when_signed(candidate, f"Ký duyệt kết quả kỳ {PERIOD}: {CANDIDATE}", TOLD)
