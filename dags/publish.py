"""From marts to an edition: candidate, gate, a signature by somebody else, publication, report."""

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param, TriggerRule

from hailong.airflow_tasks import HailongOperator, RecordAnswer, SignOff
from hailong.settings import Settings

DOC = """### Publish one period
Trigger with `period` (`2026-10`, `2026-Q4` or `2026`) after its cut-off. The one who triggers is the requester and may
not sign. The sign-off waits for one of `HAILONG_SIGNERS`; the answer is copied to `publish.approval` with the checksum
of the candidate and the warnings shown, because Airflow forgets it when the task is cleared. A rejected candidate is
recorded and nothing is published. When the period's newest edition already says exactly this, the run ends at once.

No schedule: `watch__deadline` says daily which period is due. A correction of a published period is a restatement.
"""
PERIOD = "{{ params.period }}"
REQUESTER = "{{ dag_run.triggering_user_name or 'airflow' }}"
CANDIDATE = "{{ ti.xcom_pull('candidate')['candidate_id'] }}"
BODY = """**Bản trình ký {{ ti.xcom_pull('candidate')['candidate_id'] }}** — người đề nghị: \
{{ dag_run.triggering_user_name or 'airflow' }}

Mã kiểm tra nội dung (SHA-256): `{{ ti.xcom_pull('candidate')['content_sha256'] }}`

{% set copied = ti.xcom_pull('candidate') -%}
Số liệu: các đợt nạp đến {{ copied.as_of_batch }}, trong đó {{ copied.late_batches }} đợt nạp sau thời điểm chốt. Về sau, không \
có trong bản này: {{ copied.later_records }} bản ghi ({{ copied.later_batches }} đợt nạp).

{% set gate = ti.xcom_pull('gate') or {} -%}
Kết quả kiểm tra chất lượng: **{{ gate.disposition }}** ({{ gate.run_id }})

{% for warning in gate.warnings or [] -%}
- Cảnh báo `{{ warning.expectation_id }}`: {{ warning.reason }} — {{ warning.observed }}
{% else -%}
- Không có cảnh báo.
{% endfor -%}
{% if gate.docs_uri %}
Chi tiết: {{ gate.docs_uri }}
{% endif %}"""

with DAG(
    dag_id="publish__period",
    schedule=None,
    description="Candidate, gate, signature, edition and report of one period",
    doc_md=DOC,
    catchup=False,
    max_active_runs=4,  # month, quarter and year may wait for their signatures side by side
    tags=["publish", "blocks-25th"],
    default_args={"owner": "data-engineering", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "period": Param(
            type="string",
            pattern=r"^\d{4}(-(0[1-9]|1[0-2]|Q[1-4]))?$",
            description="A month 2026-10, a quarter 2026-Q4 or a year 2026",
        )
    },
):
    candidate = HailongOperator(
        task_id="candidate",
        command=["candidate", "--json"],
        options={"--period": PERIOD, "--by": REQUESTER},
        skip_when="published_as",
    )
    gate = HailongOperator(task_id="gate", command=["gate", "--json"], options={"--period": PERIOD})
    sign_off = SignOff(task_id="sign_off", subject=f"Ký duyệt kết quả kỳ {PERIOD}: {CANDIDATE}", body=BODY)
    approved = EmptyOperator(task_id="approved")
    # Not directly below the sign-off: a rejection skips what is, and a rejection must be recorded too.
    record = RecordAnswer(task_id="record", trigger_rule=TriggerRule.NONE_FAILED)
    publish = HailongOperator(
        task_id="publish", command=["publish", "--json"], options={"--period": PERIOD, "--by": REQUESTER}
    )
    report = HailongOperator(
        task_id="report",
        command=["report"],
        options={"--period": PERIOD, "--out": f"{Settings.load().home}/reports/{PERIOD}"},
    )
    candidate >> gate >> sign_off >> approved >> record >> publish >> report
    approved >> publish
