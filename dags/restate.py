"""A published period said anew: what changed by which cause, gate, a signature by somebody else, the next edition."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from hailong.airflow_tasks import PERIOD, REQUESTER, HailongOperator, period_param, publish_when_signed

DOC = """### Restate one published period
Trigger with `period` and `reason` after the build that holds the correction; `hailong restate … --dry-run` says before what would
change. The newest build is compared with the newest edition, cause by cause, and becomes a candidate; gate, sign-off and
publication are those of `publish__period`. The edition that is replaced stays as it is. When nothing changed, the run
ends at once.
"""
CANDIDATE = "{{ ti.xcom_pull('candidate')['candidate_id'] }}"
TOLD = """{% set copied = ti.xcom_pull('candidate') -%}
**Bản trình ký {{ copied.candidate_id }} thay ấn bản {{ copied.edition_id }}** — người đề nghị: \
{{ dag_run.triggering_user_name or 'airflow' }}

Lý do: {{ params.reason }}

Giá trị thay đổi theo nguyên nhân: về muộn {{ copied.changed.late }}, bị xoá {{ copied.changed.deleted }}, được sửa \
{{ copied.changed.corrected }}, đổi quy tắc {{ copied.changed.rule }}, đổi chương trình {{ copied.changed.code }}.
"""

with DAG(
    dag_id="restate__period",
    schedule=None,
    description="Differences by cause, gate, signature and next edition of a published period",
    doc_md=DOC,
    catchup=False,
    max_active_runs=1,  # a restatement reads the newest build, and there is one
    tags=["publish"],
    default_args={"owner": "data-engineering", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "period": period_param(),
        "reason": Param(
            type="string",
            minLength=10,
            description="Why; public with the edition of a quarter or year: no codes, no names",
        ),
    },
):
    candidate = HailongOperator(
        task_id="candidate",
        command=["restate", "--json"],
        options={"--period": PERIOD, "--reason": "{{ params.reason }}", "--by": REQUESTER},
        skip_when="unchanged",
    )
    publish_when_signed(candidate, f"Ký duyệt bản thay thế kỳ {PERIOD}: {CANDIDATE}", TOLD)
