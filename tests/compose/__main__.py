"""`python -m tests.compose [--kill-worker] [--kill-database] [--fill-disk]`: the demo's month through containers that run.

Against what `docker compose up` started out of `.env` with the profile demo, on a fresh volume, over HTTP as people do it. Two
nights of every feed, build, `publish__period` signed by the signer, and everything that must be refused is tried. `--kill-worker`
(profile celery): the worker that holds a task is killed. `--kill-database`: PostgreSQL is killed in the middle of a load, of the
build and of the publication. `--fill-disk` (with `COMPOSE_FILE=docker-compose.yml:tests/compose/small-disk.yml`, which gives the
landing folders a small volume): it is full when a load begins. Each time the run must say why, and succeed after all; in the end
the ledger adds up, the edition verifies, and every index of every unit is what the sandbox says of its own data: what a day
without any of this gives.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from hailong.airflow_api import FINISHED, AirflowApi, RefusedError
from hailong.demo import DAGS, END, EVENTS, OTHERS, PERIOD, REGISTERS, START
from hailong.errors import TransientError
from hailong.sandbox_process import SandboxServer
from tests.truth import SCORES, differences

NIGHT_2 = datetime.combine(END, datetime.max.time()).replace(microsecond=0)
NIGHT_1 = NIGHT_2 - timedelta(days=35)
PUBLISH = "publish__period"
LANDING = "/var/lib/hailong/landing"
PSQL = ("psql", "-U", "postgres", "-d", "hailong", "-Atc")
COMPOSE = ("docker", "compose") if shutil.which("docker-compose") is None else ("docker-compose",)


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
        self.size = env.get("SANDBOX_SIZE") or "small"
        self.sandbox = SandboxServer(sandbox, env["HAILONG_SOURCE_TTHC_TOKEN"], {}, Path())
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def play(self, kill_worker: bool, kill_database: bool, fill_disk: bool) -> None:
        self.engineer_sees_dags()
        self.roles()
        self.sandbox.set_clock(NIGHT_1)
        self.run_all("registers", [(f"ingest__{feed}", {}) for feed in REGISTERS])
        first = window(START, NIGHT_1, "dossier")
        if kill_worker:
            self.worker_dies("ingest__dossier", first, holding="raw.dossier")
        if fill_disk:
            self.disk_is_full("ingest__dossier", first)
        if kill_database:
            rated = window(START, NIGHT_1, "rating")
            self.database_dies(
                "ingest__rating", "ingest", "raw.rating", lambda: self.engineer.trigger("ingest__rating", rated)
            )
        self.run_all("night 1", self.events(START, NIGHT_1))
        self.sandbox.set_clock(NIGHT_2)
        self.run_all("night 2", self.events((NIGHT_1 + timedelta(days=1)).date(), NIGHT_2))
        if kill_database:
            self.database_dies(
                "build__warehouse", "build", "raw.rating", lambda: self.engineer.trigger("build__warehouse")
            )
        self.run_all("build", [("build__warehouse", {})])
        self.publish(kill_database)

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

    def worker_dies(self, dag_id: str, conf: Mapping[str, str], holding: str) -> None:
        """The worker of a task is killed while it waits, in the middle of its load, and the run ends well on another one."""
        with self.held(holding):
            run_id = self.engineer.trigger(dag_id, conf)
            self.until(lambda: self.waits_for(holding), 300)
            task = self.engineer.tasks(dag_id, run_id)["ingest"]
            quietly("docker", "kill", task["hostname"])
        killed = time.monotonic()
        self.say(f"{dag_id}: worker {task['hostname']} killed in mid-load (try {task['try_number']})")
        again = self.until(lambda: self.running(dag_id, run_id, after=task["try_number"]), 900)
        self.say(
            f"{dag_id}: try {again['try_number']} began {time.monotonic() - killed:.0f} s later on {again['hostname']}"
        )
        assert again["hostname"] != task["hostname"]
        assert self.engineer.wait(dag_id, run_id, timeout=600) == "success"
        quietly("docker", "start", task["hostname"])
        self.say(f"{dag_id}: the run succeeded; the worker is started again")

    def running(self, dag_id: str, run_id: str, after: int = 0) -> dict[str, Any] | None:
        task = self.engineer.tasks(dag_id, run_id)["ingest"]
        if task["try_number"] > after and task["hostname"] and task["state"] in ("running", "success"):
            return task
        assert self.engineer.run(dag_id, run_id)["state"] not in FINISHED, task
        return None

    def disk_is_full(self, dag_id: str, conf: Mapping[str, str]) -> None:
        """The run says that there is no room and where; with room again an engineer clears it, and it goes on."""
        filler = f"{LANDING}/.filler"
        # Without the small volume this would fill the machine: stop before that.
        assert int(inside("scheduler", "sh", "-c", f"df --output=size -m {LANDING} | tail -1")) < 100, "no small volume"
        inside("scheduler", "sh", "-c", f"dd if=/dev/zero of={filler} bs=64k 2>/dev/null || true")
        run_id = self.engineer.trigger(dag_id, conf)
        failed = self.until(lambda: self.in_state(dag_id, run_id, "ingest", "up_for_retry"), 300)
        told = self.engineer.log(dag_id, run_id, "ingest", failed["try_number"])
        assert "free some space" in told, told[-4000:]
        self.say(f"{dag_id}: the disk is full, and the log says so: {line_with('free some space', told)}")
        inside("scheduler", "rm", filler)
        self.goes_on(dag_id, run_id, "ingest")

    def database_dies(self, dag_id: str, task_id: str, holding: str, begin: Callable[[], str]) -> None:
        """PostgreSQL is killed while the task stands in the middle of its work, waiting for a table that somebody holds."""
        with self.held(holding):
            run_id = begin()
            self.until(lambda: self.waits_for(holding), 600)
            quietly("docker", "kill", container("postgres"))
        time.sleep(10)
        quietly("docker", "start", container("postgres"))
        self.say(f"{dag_id}: PostgreSQL killed while `{task_id}` was at {holding}, and started again after 10 s")
        self.goes_on(dag_id, run_id, task_id)

    @contextmanager
    def held(self, table: str) -> Iterator[None]:
        """Somebody holds a table, and whoever wants it waits in the middle of what it does."""
        hold = in_container(
            "postgres", *PSQL, f"begin; lock table {table} in access exclusive mode; select pg_sleep(600)"
        )
        holder = subprocess.Popen(hold, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        holds = f"select count(*) from pg_locks where granted and mode = 'AccessExclusiveLock' and relation = '{table}'::regclass"
        self.until(lambda: int(inside("postgres", *PSQL, holds)), 60)
        try:
            yield
        finally:
            let_go = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'"
            quietly(*in_container("postgres", *PSQL, let_go), check=False)  # gone where the server is
            holder.wait()

    def waits_for(self, table: str) -> int:
        waits = f"select count(*) from pg_locks where not granted and relation = '{table}'::regclass"
        return int(inside("postgres", *PSQL, waits))

    def goes_on(self, dag_id: str, run_id: str, task_id: str, timeout: float = 1500) -> None:
        """The task failed for now; an engineer clears it, as one does who does not wait for its turn, and the run succeeds."""
        began, cleared = time.monotonic(), False
        while time.monotonic() < began + timeout:
            try:
                task = self.engineer.tasks(dag_id, run_id)[task_id]
                if task["state"] in ("up_for_retry", "failed") and not cleared:
                    self.engineer.clear(dag_id, run_id, task_id)
                    cleared = True
                    self.say(f"{dag_id}: `{task_id}` {task['state']}, cleared after {time.monotonic() - began:.0f} s")
                if (state := self.engineer.run(dag_id, run_id)["state"]) in FINISHED and state != "failed":
                    self.say(f"{dag_id}: the run succeeded {time.monotonic() - began:.0f} s later")
                    return
            except TransientError:  # Airflow's own database was away too
                pass
            time.sleep(2)
        raise AssertionError(f"{dag_id} {run_id} did not go on: {self.engineer.tasks(dag_id, run_id)}")

    def in_state(self, dag_id: str, run_id: str, task_id: str, *states: str) -> dict[str, Any] | None:
        task = self.engineer.tasks(dag_id, run_id)[task_id]
        return task if task["state"] in states else None

    def until(self, look: Callable[[], Any], timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(1)
        raise AssertionError(f"nothing after {timeout:.0f} s")

    # -- the signature -------------------------------------------------------------------------------------------------

    def publish(self, kill_database: bool) -> None:
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

        def sign() -> str:
            answer = self.signer.answer(PUBLISH, run_id, "sign_off", "Approve")
            assert answer["responded_by"]["name"] == "signer"
            return run_id

        if kill_database:
            self.database_dies(PUBLISH, "publish", "publish.artifact", sign)
        else:
            sign()
        assert self.engineer.wait(PUBLISH, run_id, timeout=1200) == "success", self.engineer.tasks(PUBLISH, run_id)
        recorded = self.engineer.result(PUBLISH, run_id, "record")
        published = self.engineer.result(PUBLISH, run_id, "publish")
        assert "'signer'" in str(recorded) or '"signer"' in str(recorded), recorded
        self.say(f"signed by signer; edition {published['edition_id']} published")
        listing = self.page("/hailong/", self.viewer, 200).text
        assert f"editions/{published['edition_id']}/" in listing and "data_docs/" in listing
        self.say("the viewer sees the edition's files and the Data Docs")
        assert published["edition_id"] in inside("scheduler", "hailong", "verify", published["edition_id"])
        inside("scheduler", "hailong", "gate", "--landed")
        self.say("the edition verifies, and the gate finds nothing lost and nothing twice in what landed")
        self.as_the_sources_say()
        shown = inside("scheduler", "hailong", "explain", "--unit", "HCM.SN01", "--period", PERIOD)
        assert PERIOD in shown, shown
        assert PUBLISH in inside("scheduler", "airflow", "dags", "list", "--output", "plain")
        self.say("commands by hand reach warehouse and Airflow")

    def as_the_sources_say(self) -> None:
        """The stand-in adds up what it intended, in a calendar and with a code of its own."""
        inside("sandbox", "python", "-m", "sandbox", "truth", "--out", "/tmp/truth", "--size", self.size)
        said, found = (
            list(csv.DictReader(text.splitlines()))
            for text in (
                inside("sandbox", "cat", "/tmp/truth/index_truth.csv"),
                inside("postgres", *PSQL, f"copy ({SCORES}) to stdout with (format csv, header)"),
            )
        )
        wrong = differences(said, found)
        assert len(said) > 4000 and not wrong, f"{len(wrong)} of {len(said)} differ, first: {wrong[:8]}"
        self.say(f"all {len(said)} indices are what the sandbox says of its own data")


def quietly(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def container(service: str) -> str:
    """Of the project whose `.env` this is: the first container of a service."""
    return subprocess.run(
        [*COMPOSE, "ps", "--quiet", service], check=True, capture_output=True, text=True
    ).stdout.split()[0]  # fmt: skip


def in_container(service: str, *command: str) -> list[str]:
    return ["docker", "exec", container(service), *command]


def inside(service: str, *command: str) -> str:
    """Output of a command as the runbook has it, in a container that is up."""
    done = subprocess.run(in_container(service, *command), capture_output=True, text=True, check=False)
    assert not done.returncode, f"{command} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def line_with(text: str, log: str) -> str:
    return next(line.strip() for line in log.splitlines() if text in line)[-300:]


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
    parser.add_argument(
        "--kill-database", action="store_true", help="kill PostgreSQL during load, build and publication"
    )
    parser.add_argument("--fill-disk", action="store_true", help="no room for a landing (needs small-disk.yml)")
    arguments = parser.parse_args()
    day = Day(settings_of(arguments.env))
    day.play(arguments.kill_worker, arguments.kill_database, arguments.fill_disk)
    print("a day in containers: passed")
    sys.exit(0)


if __name__ == "__main__":
    main()
