"""A small client of Airflow's REST API: demo and end-to-end test use the front door, as people do."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import httpx

from hailong.errors import PermanentError, TransientError

FINISHED = ("success", "failed")
SETTLE_SECONDS = 4.0  # the worker's interval of 1 s (stack.py) and several turns of the scheduler


class AirflowApi:
    """Airflow's API as one user (`POST /auth/token`). Answers are plain JSON values.

    TransientError: no answer, or a server error. PermanentError: refused; `status` tells how.
    """

    def __init__(self, url: str, user: str, password: str, client: httpx.Client | None = None) -> None:
        self.user = user
        self._password = password
        self._client = client or httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._token: str | None = None

    def get(self, path: str, **query: Any) -> Any:
        return self._request("GET", path, params=query)

    def dags(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v2/dags", limit=100)["dags"]
        return found

    def import_errors(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v2/importErrors")["import_errors"]
        return found

    def pause(self, dag_id: str, paused: bool = True) -> None:
        self._request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused})

    def unpause(self, dag_id: str) -> None:
        self.pause(dag_id, False)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run now; returns its id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def abandon(self, dag_ids: Collection[str]) -> list[str]:
        """Mark unfinished runs of these DAGs as failed: what a killed process left holds the place of the next run."""
        answer = self.get("/api/v2/dags/~/dagRuns", state=["running", "queued"], limit=100)
        left = [run for run in answer["dag_runs"] if run["dag_id"] in dag_ids]
        for run in left:
            self._request(
                "PATCH", f"/api/v2/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}", json={"state": "failed"}
            )
        return [f"{run['dag_id']} {run['dag_run_id']}" for run in left]

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
        return found

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Task id → task instance."""
        answer = self.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100)
        return {task["task_id"]: task for task in answer["task_instances"]}

    def wait(
        self,
        dag_id: str,
        run_id: str,
        timeout: float = 600,
        tell: Callable[[dict[str, Any]], None] | None = None,
        pause: float = 1.0,
    ) -> str:
        """Wait until the run ends; returns `success` or `failed`. `tell` gets the task instances at each look."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = str(self.run(dag_id, run_id)["state"])
            if tell:
                tell(self.tasks(dag_id, run_id))
            if state in FINISHED:
                return state
            time.sleep(pause)
        raise TransientError(
            f"{dag_id} run {run_id} was not finished after {timeout:.0f} s: see its tasks in the Airflow UI"
        )

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Have a task run again now: what failed, or waits for its next try."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False}
        self._request("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", json=body)

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int) -> str:
        """The text of a task's log."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        answer = self.get(path, full_content=True)
        content = answer["content"]
        if isinstance(content, str):
            return content
        return "\n".join(str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in content)

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What the task returned (None when it returned nothing)."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        try:
            return self.get(path, deserialize=False)["value"]
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def question(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
        """The pending or answered approval of a task; None while the task has not asked yet."""
        try:
            found: dict[str, Any] = self.get(_hitl(dag_id, run_id, task_id))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        return found

    def wait_for_question(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        timeout: float = 600,
        tell: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any] | None:
        """Wait until the task asks, and has settled; None when the run ends without asking.

        An answer within a moment of the question kills the task (Airflow 3.3: the scheduler then takes the end of the
        asking process for that of the resumed one), so a program waits a little, as any reader would.
        """
        deadline = time.monotonic() + timeout
        asked_at: float | None = None
        while time.monotonic() < deadline:
            tasks = self.tasks(dag_id, run_id)
            if tell:
                tell(tasks)
            if tasks.get(task_id, {}).get("state") == "awaiting_input":
                asked_at = asked_at or time.monotonic()
                if time.monotonic() - asked_at >= SETTLE_SECONDS:
                    return self.question(dag_id, run_id, task_id)
            elif self.run(dag_id, run_id)["state"] in FINISHED:
                return None
            time.sleep(0.5)
        raise TransientError(f"{dag_id} run {run_id}: '{task_id}' did not ask within {timeout:.0f} s")

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> dict[str, Any]:
        """Answer an approval (`Approve`, `Reject`). RefusedError 403: not an assigned user; 409: answered already."""
        body = {"chosen_options": [option], "params_input": {}}
        found: dict[str, Any] = self._request("PATCH", _hitl(dag_id, run_id, task_id), json=body)
        return found

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        for attempt in range(2):
            token = self._token = self._token or self._login()
            response = self._send(method, path, headers={"Authorization": f"Bearer {token}"}, **arguments)
            if response.status_code == 401 and attempt == 0:  # expired, or the server has new keys
                self._token = None
                continue
            break
        return self._checked(response, f"{method} {path}")

    def _login(self) -> str:
        response = self._send("POST", "/auth/token", json={"username": self.user, "password": self._password})
        return str(self._checked(response, f"log-in of '{self.user}'")["access_token"])

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise TransientError(
                f"Airflow at {self._client.base_url} does not answer: {error}. Is it up (`hailong up`)?"
            ) from error

    def _checked(self, response: httpx.Response, what: str) -> Any:
        if response.status_code >= 500:
            raise TransientError(f"Airflow: {what} gave {response.status_code}: {response.text[:300]}")
        if response.status_code >= 400:
            raise RefusedError(
                f"Airflow refused {what} for '{self.user}' ({response.status_code}): {response.text[:500]}",
                response.status_code,
            )
        return response.json() if response.content else None


class RefusedError(PermanentError):
    """Airflow said no; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _hitl(dag_id: str, run_id: str, task_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
