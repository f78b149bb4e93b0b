"""`python -m tests.compose [--kill-worker]`: the demo's month through containers that run, over HTTP as people do it.

Against what `docker compose up` started out of `.env` with the profile demo, on a fresh volume. Two nights of every feed,
build, `publish__period` signed by the signer, and everything that must be refused is tried. `--kill-worker` (profile
celery): the worker that holds a task is killed, and the run must succeed all the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from hailong.airflow_api import FINISHED, AirflowApi, RefusedError
from hailong.demo import DAGS, END, EVENTS, OTHERS, PERIOD, REGISTERS, START
from hailong.sandbox_process import SandboxServer

NIGHT_2 = datetime.combine(END, datetime.max.time()).replace(microsecond=0)
NIGHT_1 = NIGHT_2 - timedelta(days=35)
PUBLISH = "publish__period"


def settings_of(path: Path) -> dict[str, str]:
    """NAME=value lines of an environment file."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


class Day:
    """One run over a server that is up."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.url = f"http://{env['HAILONG_BIND']}:{env['HAILONG_PORT']}"
        people = yaml.safe_load(Path(env["HAILONG_USERS"]).read_text(encoding="utf-8"))
        self.people = {
            person["role"]: AirflowApi(self.url, person["username"], person["password"]) for person in people
        }
        self.engineer, self.signer, self.viewer = (self.people[role] for role in ("engineer", "signer", "viewer"))
        sandbox = f"http://127.0.0.1:{env['SANDBOX_PORT']}"
        self.sandbox = SandboxServer(sandbox, env["HAILONG_SOURCE_TTHC_TOKEN"], {}, Path())
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def play(self, kill_worker: bool) -> None:
        self.engineer_sees_dags()
        self.roles()
        self.sandbox.set_clock(NIGHT_1)
        self.run_all("registers", [(f"ingest__{feed}", {}) for feed in REGISTERS])
        if kill_worker:
            self.worker_dies("ingest__dossier", window(START, NIGHT_1, "dossier"))
        self.run_all("night 1", self.events(START, NIGHT_1))
        self.sandbox.set_clock(NIGHT_2)
        self.run_all("night 2", self.events((NIGHT_1 + timedelta(days=1)).date(), NIGHT_2))
        self.run_all("build", [("build__warehouse", {})])
        self.publish()

    # -- what people may do --------------------------------------------------------------------------------------------

    def engineer_sees_dags(self, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while absent := set(DAGS) - {dag["dag_id"] for dag in self.engineer.dags()}:
            assert time.monotonic() < deadline, f"not parsed: {absent}; {self.engineer.import_errors()}"
            time.sleep(2)
        for dag_id in DAGS:
            self.engineer.unpause(dag_id)
        assert not self.engineer.import_errors(), self.engineer.import_errors()
        self.say("DAGs are parsed, none with an error")

    def roles(self) -> None:
        for who in (self.viewer, self.signer):
            refused(403, lambda who=who: who.trigger("build__warehouse"))
            refused(403, lambda who=who: who.pause("build__warehouse"))
            refused(403, lambda who=who: who.get("/api/v2/connections"))
        connections = self.engineer.get("/api/v2/connections")["connections"]
        assert "hailong_tthc" in {found["connection_id"] for found in connections}
        assert "change-me" not in str(connections), "a password of a connection is shown"
        refused(401, lambda: AirflowApi(self.url, self.viewer.user, "wrong").dags())
        self.page("/hailong/", self.viewer, 200)
        assert httpx.get(f"{self.url}/hailong/", trust_env=False).status_code == 401
        self.say("viewer and signer trigger nothing and see no connection; nobody reads files without logging in")

    def page(self, path: str, who: AirflowApi, status: int) -> httpx.Response:
        token = who._login()
        answer = httpx.get(self.url + path, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30)
        assert answer.status_code == status, (path, who.user, answer.status_code)
        return answer

    # -- runs ----------------------------------------------------------------------------------------------------------

    def events(self, since: date, night: datetime) -> list[tuple[str, dict[str, str]]]:
        runs = [
            (f"ingest__{feed}", window(START if feed == "portal_evaluation" else since, night, feed)) for feed in EVENTS
        ]
        return [*runs, *((f"ingest__{feed}", {}) for feed in OTHERS)]

    def run_all(self, title: str, wanted: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        runs = [(dag_id, self.engineer.trigger(dag_id, conf)) for dag_id, conf in wanted]
        hosts: dict[str, int] = {}
        for dag_id, run_id in runs:
            state = self.engineer.wait(dag_id, run_id, timeout=1800)
            tasks = self.engineer.tasks(dag_id, run_id)
            if state != "success":
                for task_id, task in tasks.items():
                    if task["state"] in ("failed", "up_for_retry"):
                        print(self.engineer.log(dag_id, run_id, task_id, task["try_number"])[-4000:])
                raise AssertionError(f"{dag_id} {run_id}: {state}")
            for task in tasks.values():
                hosts[task["hostname"] or "scheduler"] = hosts.get(task["hostname"] or "scheduler", 0) + 1
        self.say(f"{title}: {len(runs)} runs succeeded; tasks by host {sorted(hosts.values())}")

    def worker_dies(self, dag_id: str, conf: Mapping[str, str]) -> None:
        """The source makes the task wait, its worker is killed meanwhile, and the run ends well on another one."""
        self.fault("dossier:429=45@1")
        run_id = self.engineer.trigger(dag_id, conf)
        task = self.until(lambda: self.running(dag_id, run_id), 60)
        time.sleep(8)  # well inside
        subprocess.run(["docker", "kill", task["hostname"]], check=True, capture_output=True)
        killed = time.monotonic()
        self.say(f"{dag_id}: worker {task['hostname']} killed in mid-task (try {task['try_number']})")
        self.fault("")
        again = self.until(lambda: self.running(dag_id, run_id, after=task["try_number"]), 900)
        self.say(
            f"{dag_id}: try {again['try_number']} began {time.monotonic() - killed:.0f} s later on {again['hostname']}"
        )
        assert again["hostname"] != task["hostname"]
        assert self.engineer.wait(dag_id, run_id, timeout=600) == "success"
        subprocess.run(["docker", "start", task["hostname"]], check=True, capture_output=True)
        self.say(f"{dag_id}: the run succeeded; the worker is started again")

    def running(self, dag_id: str, run_id: str, after: int = 0) -> dict[str, Any] | None:
        task = self.engineer.tasks(dag_id, run_id)["ingest"]
        if task["try_number"] > after and task["hostname"] and task["state"] in ("running", "success"):
            return task
        assert self.engineer.run(dag_id, run_id)["state"] not in FINISHED, task
        return None

    def until(self, look: Callable[[], dict[str, Any] | None], timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(1)
        raise AssertionError(f"nothing after {timeout:.0f} s")

    def fault(self, spec: str) -> None:
        httpx.post(
            f"{self.sandbox.url}/_sandbox/faults", json={"faults": spec}, timeout=30, trust_env=False,
            headers={"Authorization": f"Bearer {self.sandbox.token}"},
        ).raise_for_status()  # fmt: skip

    # -- the signature -------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        run_id = self.engineer.trigger(PUBLISH, {"period": PERIOD})
        question = self.engineer.wait_for_question(PUBLISH, run_id, "sign_off", timeout=1200)
        assert question, self.engineer.tasks(PUBLISH, run_id)
        assert question["assigned_users"] == [{"id": "signer", "name": "signer"}], question["assigned_users"]
        self.say(f"{PUBLISH}: {question['subject']}")
        for who in (self.engineer, self.viewer):
            refused(403, lambda who=who: who.answer(PUBLISH, run_id, "sign_off", "Approve"))
        forged = {"key": "answer", "value": {"by": "signer", "approved": True}}
        path = f"/api/v2/dags/{PUBLISH}/dagRuns/{run_id}/taskInstances/sign_off/xcomEntries"
        refused(403, lambda: self.engineer._request("POST", path, json=forged))
        answer = self.signer.answer(PUBLISH, run_id, "sign_off", "Approve")
        assert answer["responded_by"]["name"] == "signer"
        assert self.engineer.wait(PUBLISH, run_id, timeout=1200) == "success", self.engineer.tasks(PUBLISH, run_id)
        recorded = self.engineer.result(PUBLISH, run_id, "record")
        published = self.engineer.result(PUBLISH, run_id, "publish")
        assert "'signer'" in str(recorded) or '"signer"' in str(recorded), recorded
        self.say(f"signed by signer; edition {published['edition_id']} published")
        listing = self.page("/hailong/", self.viewer, 200).text
        assert f"editions/{published['edition_id']}/" in listing and "data_docs/" in listing
        self.say("the viewer sees the edition's files and the Data Docs")
        shown = by_hand("hailong", "explain", "--unit", "HCM.SN01", "--period", PERIOD)
        assert PERIOD in shown, shown
        assert PUBLISH in by_hand("airflow", "dags", "list", "--output", "plain")
        self.say("commands by hand reach warehouse and Airflow")


def by_hand(*command: str) -> str:
    """Output of a command as the runbook has it: in the container that runs tasks."""
    scheduler = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", "label=com.docker.compose.service=scheduler"],
        check=True, capture_output=True, text=True,
    ).stdout.split()[0]  # fmt: skip
    return subprocess.run(["docker", "exec", scheduler, *command], check=True, capture_output=True, text=True).stdout


def window(since: date, night: datetime, feed: str) -> dict[str, str]:
    conf = {"since": since.isoformat()}
    if night.date() < END or feed == "portal_evaluation":
        conf["until"] = (night.date() + timedelta(days=1)).isoformat()
    return conf


def refused(status: int, call: Callable[[], object]) -> None:
    try:
        call()
    except RefusedError as error:
        assert error.status == status, error
    else:
        raise AssertionError(f"this should have been refused with {status}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=Path(".env"), help="the environment file that compose reads")
    parser.add_argument("--kill-worker", action="store_true", help="kill a worker in mid-task (profile celery)")
    arguments = parser.parse_args()
    Day(settings_of(arguments.env)).play(arguments.kill_worker)
    print("a day in containers: passed")
    sys.exit(0)


if __name__ == "__main__":
    main()
