"""A small DAG with sign-off and deadline of `publish__period`, for the test of the stack. Copied into a folder of its own."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TriggerRule, task

from hailong.airflow_deadline import at_due_moment
from hailong.airflow_tasks import SignOff

with DAG(dag_id="stub__sign", schedule=None, deadline=at_due_moment()):
    sign_off = SignOff(task_id="sign_off", subject="Ký duyệt", body="người đề nghị: {{ dag_run.triggering_user_name }}")
    approved = EmptyOperator(task_id="approved")

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def record(**context):  # type: ignore[no-untyped-def]
        return context["ti"].xcom_pull(task_ids="sign_off", key="answer")

    sign_off >> approved >> record()
