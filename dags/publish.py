"""From marts to an edition: candidate, gate, a signature by somebody else, publication, report."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from hailong.airflow_tasks import HailongOperator, publish_when_signed
from hailong.settings import Settings

DOC = """### Publish one period
Trigger with `period` (`2026-10`, `2026-Q4` or `2026`) after its cut-off. The one who triggers is the requester and may
not sign. The sign-off waits for one of `HAILONG_SIGNERS`; the answer is copied to `publish.approval` with the checksum
of the candidate and the warnings shown, because Airflow forgets it when the task is cleared. A rejected candidate is
recorded and nothing is published. When the period's newest edition already says exactly this, the run ends at once.

No schedule: `watch__deadline` says daily which period is due. A published period is corrected by `restate__period`.
"""
PERIOD = "{{ params.period }}"
REQUESTER = "{{ dag_run.triggering_user_name or 'airflow' }}"
CANDIDATE = "{{ ti.xcom_pull('candidate')['candidate_id'] }}"
BODY = """**Bản trình ký {{ ti.xcom_pull('candidate')['candidate_id'] }}** — người đề nghị: \
{{ dag_run.triggering_user_name or 'airflow' }}

Mã kiểm tra nội dung (SHA-256): `{{ ti.xcom_pull('candidate')['content_sha256'] }}`

{% set copied = ti.xcom_pull('candidate') -%}
Số liệu: các đợt nạp đến {{ copied.as_of_batch }}, trong đó {{ copied.late_batches }} đợt nạp sau thời điểm chốt. Về sau, \
đến lúc lập bản trình, không có trong bản này: {{ copied.later_records }} bản ghi của mọi kỳ ({{ copied.later_batches }} đợt nạp).

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
        ),
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
    publish_when_signed(
        candidate,
        PERIOD,
        REQUESTER,
        subject=f"Ký duyệt kết quả kỳ {PERIOD}: {CANDIDATE}",
        body=BODY,
        reports=f"{Settings.load().home}/reports/{PERIOD}",
    )
