"""What our DAGs are made of: one call of the command line per task, and the sign-off.

Imported when DAG files are parsed, so it needs `airflow.sdk` and the standard provider only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator, Param, TriggerRule
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from hailong.settings import PROJECT, Settings

# Of a DAG about one period, and who triggered it.
PERIOD = "{{ params.period }}"
REQUESTER = "{{ dag_run.triggering_user_name or 'airflow' }}"
FOUND_BY_GATE = """
Mã kiểm tra nội dung (SHA-256): `{{ ti.xcom_pull('candidate')['content_sha256'] }}`

{% set gate = ti.xcom_pull('gate') or {} -%}
Kết quả kiểm tra chất lượng: **{{ gate.disposition }}** ({{ gate.run_id }})

{% for warning in gate.warnings or [] -%}
- Cảnh báo `{{ warning.expectation_id }}`: {{ warning.reason }} — {{ warning.observed }}\
{{ ' (' ~ warning.known ~ ')' if warning.get('known') else '' }}
{% else -%}
- Không có cảnh báo.
{% endfor -%}
{% if gate.get('findings') %}
Phát hiện: {{ gate.findings.new }} mới, {{ gate.findings.known }} đã biết, {{ gate.findings.acknowledged }} đã ghi nhận, \
{{ gate.findings.closed }} đã hết.
{% endif %}
{% if gate.get('docs_uri') %}
Chi tiết: [{{ gate.run_id }}](/hailong/data_docs/{{ gate.run_id }}/index.html) ({{ gate.docs_uri }})
{% endif %}"""

LOGGED = {"timestamp", "level", "event", "command"}  # in every line of a command's log, and in no answer of one
TRANSIENT_EXIT = 75  # EX_TEMPFAIL: what the command line ends with on a TransientError when it is asked to


def period_param() -> Param:
    return Param(
        type="string",
        pattern=r"^\d{4}(-(0[1-9]|1[0-2]|Q[1-4]))?$",
        description="A month 2026-10, a quarter 2026-Q4 or a year 2026",
    )


class HailongOperator(BaseOperator):
    """Runs `hailong COMMAND… --option value…` in its own process; returns the JSON object it prints last, if any.

    An option whose value is empty is left out, and so is an empty part of the command. Retried only after a transient failure
    (or when the process was killed): everything else would fail in the same way again. `skip_when` names a key of the
    answer: when it is set there, the rest of the DAG is skipped, because there is nothing to do. `source` is the system that
    the command reads, and the kind of its connector: where the environment has no address of it, Airflow's connection of
    that name is asked.
    """

    template_fields: Sequence[str] = ("command", "options")
    ui_color = "#e8f0e4"

    def __init__(
        self,
        *,
        command: Sequence[str],
        options: Mapping[str, str] | None = None,
        skip_when: str | None = None,
        source: tuple[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = list(command)
        self.options = dict(options or {})
        self.skip_when = skip_when
        self.source = source
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any] | None:
        arguments = [part for part in self.command if part]
        for name, value in self.options.items():
            if value not in ("", "None"):
                arguments += [name, value]
        status, answer = self._call(arguments)
        spoken = "hailong " + " ".join(arguments)
        if status == TRANSIENT_EXIT or status < 0:
            raise AirflowException(f"`{spoken}` failed for now (exit {status}); it is tried again if retries are left")
        if status:
            raise AirflowFailException(f"`{spoken}` was refused or failed (exit {status}); its message stands above")
        if self.skip_when and answer and answer.get(self.skip_when):
            context["ti"].xcom_push("return_value", answer)
            raise AirflowSkipException(f"nothing to do: {self.skip_when} is {answer[self.skip_when]}")
        return answer

    def on_kill(self) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    def _call(self, arguments: list[str]) -> tuple[int, dict[str, Any] | None]:
        environment = {**os.environ, "HAILONG_TRANSIENT_EXIT": str(TRANSIENT_EXIT)}
        if self.source:
            from hailong.airflow_connections import source_environment

            environment |= source_environment(*self.source, os.environ)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hailong.cli", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
            errors="replace", cwd=PROJECT, env=environment, start_new_session=True,
        )  # fmt: skip
        answer = None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = _json_object(line)
            if told and told.keys() >= LOGGED:
                self._log_again(told)
                continue
            self.log.info("%s", line.rstrip())
            answer = told or answer
        return self._process.wait(), answer

    def _log_again(self, told: dict[str, Any]) -> None:
        """A line of the command's own log (HAILONG_LOG=json) becomes one of the task's: its level, its message, its fields."""
        said = {name: value for name, value in told.items() if name not in ("timestamp", "level", "event", "message")}
        log = getattr(self.log, told["level"], self.log.info)
        log("%s", told.get("message") or told["event"], what=told["event"], **said)


class SignOff(ApprovalOperator):
    """Waits, without holding a worker, until one of `HAILONG_SIGNERS` approves or rejects.

    Who asked for the run, or for the candidate that the task `candidate` found, is struck off. With nobody left the task
    fails, because Airflow lets any user answer when the list is empty. People go by their user names here: those are the ids
    of the local stack, and on a server our auth manager compares names. The answer is pushed under the key `answer`
    either way: a rejection skips what is downstream before anything can be returned.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(assigned_users=[{"id": name, "name": name} for name in _signers()], **kwargs)

    def execute(self, context: Any) -> Any:
        candidate = context["ti"].xcom_pull(task_ids="candidate") or {}
        requesters = {context["dag_run"].triggering_user_name, candidate.get("requested_by")} - {None}
        allowed = [name for name in _signers() if name not in requesters]
        if not allowed:
            raise AirflowFailException(
                f"nobody may sign what {' and '.join(sorted(requesters)) or 'nobody'} asked for: "
                "set HAILONG_SIGNERS to Airflow user names of other signers"
            )
        self.assigned_users = [{"id": name, "name": name} for name in allowed]
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        by = event.get("responded_by_user") or {}
        chosen = event.get("chosen_options") or [""]
        context["ti"].xcom_push("answer", {"by": by.get("name"), "approved": chosen[0] == self.APPROVE})
        return super().execute_complete(context, event)


class RecordAnswer(HailongOperator):
    """Copies the answer of `sign_off` into `publish.approval`, with the warnings of `gate` that it showed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(command=["approve"], **kwargs)

    def execute(self, context: Any) -> dict[str, Any] | None:
        pull = context["ti"].xcom_pull
        candidate = pull(task_ids="candidate")
        if candidate.get("published_as"):
            raise AirflowSkipException(f"nobody was asked: {candidate['published_as']} says exactly this already")
        if candidate.get("unchanged"):
            raise AirflowSkipException(f"nobody was asked: nothing of {candidate['edition_id']} changed")
        answer, gate = pull(task_ids="sign_off", key="answer"), pull(task_ids="gate") or {}
        if not answer or not answer.get("by"):
            raise AirflowFailException("the sign-off has no answer by a named user: nothing is recorded or published")
        seen = [part for warning in gate.get("warnings", []) for part in ("--warning-seen", warning["expectation_id"])]
        verdict = [] if answer["approved"] else ["--reject"]
        self.command = [
            "approve", candidate["candidate_id"], "--by", answer["by"], "--channel", "airflow", *verdict, *seen, "--json",
        ]  # fmt: skip
        return super().execute(context)


def publish_when_signed(candidate: HailongOperator, subject: str, told: str) -> None:
    """What follows the task `candidate`: gate, a signature by somebody else, the record of it, publication, report.

    `told` is what the signer reads before the checksum and what the gate found.
    """
    gate = HailongOperator(task_id="gate", command=["gate", "--json"], options={"--period": PERIOD})
    sign_off = SignOff(task_id="sign_off", subject=subject, body=told + FOUND_BY_GATE)
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


def _signers() -> list[str]:
    return [name.strip() for name in os.environ.get("HAILONG_SIGNERS", "").split(",") if name.strip()]


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
