"""`hailong demo`: the main job end to end, through a real scheduler and Airflow's API, as two people would do it.

Two nights are played, because a due date that is overwritten between two readings is part of the domain: the first
reading knows what it was. A second demo reads the whole span once more and finds nothing new to load or publish.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from hailong import sandbox_process
from hailong.airflow_api import AirflowApi, RefusedError
from hailong.contracts import load_contracts
from hailong.errors import HailongError, PermanentError
from hailong.load.ledger import feed_status, ledger_summary
from hailong.sandbox_process import SandboxServer
from hailong.settings import Settings
from hailong.shown import feed_table
from hailong.stack import Stack, tail
from hailong.warehouse.connect import connect
from hailong.warehouse.embedded import Embedded, free_port
from hailong.warehouse.migrations import migrate

PERIOD = "2026-11"
START, END = date(2026, 6, 15), date(2026, 11, 18)
REGISTERS = ("unit_register", "procedure_register", "code_map")
# Longest first. These are read from the first day of the demo; the others from the first day of the Decision, or as dropped.
EVENTS = ("dossier", "dossier_sync", "rating", "portal_evaluation")
OTHERS = (
    "petition", "posting_check", "authority_evaluation", "internal_evaluation", "self_evaluation", "survey_result",
    "unit_explanation", "unit_action", "record_dispute",
)  # fmt: skip
DAGS = (*(f"ingest__{feed}" for feed in (*REGISTERS, *EVENTS, *OTHERS)), "build__warehouse", "publish__period")
COUNTS = ("received", "loaded", "unchanged", "duplicate", "quarantined")
REQUESTER, SIGNER = "engineer", "signer"
ENDED_BADLY = ("failed", "up_for_retry", "removed")  # a retry would come minutes later


@dataclass(frozen=True)
class Run:
    """A triggered DAG run."""

    dag_id: str
    run_id: str
    label: str


class RunFailed(HailongError):
    """A DAG run did not succeed; the message has the task and the end of its log."""


def demo(settings: Settings, console: Console, size: int = 60000, keep: bool = False) -> None:
    """Play the demo and show where to look. What it started is stopped at the end, unless `keep`; the data stay."""
    began = time.monotonic()
    with ExitStack() as started:
        started.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _terminated))
        if not keep:
            started.callback(_stop, settings, console)
        try:
            Demo(settings, console, size, keep).play()
        except BaseException:
            if keep:
                started.callback(_stop, settings, console)
            raise
        console.print(f"[dim]The demo took {time.monotonic() - began:.0f} s.[/]")


def _terminated(*_: object) -> NoReturn:
    raise SystemExit(143)


def _stop(settings: Settings, console: Console) -> None:
    with console.status("stopping what the demo started"):
        Stack(settings).down()
        sandbox_process.stop(settings)
        if not settings.dsn:
            Embedded(settings.home).down()


class Demo:
    """One demo over one `HAILONG_HOME`."""

    def __init__(self, settings: Settings, console: Console, size: int, keep: bool) -> None:
        self.settings = settings
        self.console = console
        self.size = size
        self.keep = keep

    def play(self) -> None:
        night_2 = datetime.combine(END, datetime.max.time()).replace(microsecond=0)
        night_1 = night_2 - timedelta(days=35)
        self.console.rule("[bold]Hài lòng: nightly data to a published edition")
        with self._step("PostgreSQL and schema"):
            Stack(self.settings).down()  # one that is up knows other sources
            migrate(self.settings)
        again = self._loaded_until(night_2)
        with self._step(f"sandbox with about {self.size:,} dossiers, {START:%d/%m/%Y} to {END:%d/%m/%Y}"):
            self.sandbox = sandbox_process.start(
                self.settings, size=self.size, end=END, clock=night_2 if again else night_1
            )
        with self._step("Airflow: scheduler, DAG processor, API server") as tell:
            stack = self._stack(self.sandbox)
            stack.up(expected_dags=DAGS, tell=tell)
            self.stack, self.api = stack, stack.client(REQUESTER)
            self.api.abandon(DAGS)
            for dag_id in DAGS:
                self.api.unpause(dag_id)
        before, loaded_before = self._editions(), self._loaded()
        self._nights(again, night_1, night_2)
        self._run_all("build", [("build__warehouse", {}, "build__warehouse")])
        self._publish()
        self._show_result(before, loaded_before)
        if not self.keep:  # nothing of the demo's shall start by the clock in a later `make up`
            for dag_id in DAGS:
                self.api.pause(dag_id)

    # -- stages ------------------------------------------------------------------------------------------------------

    def _nights(self, again: bool, night_1: datetime, night_2: datetime) -> None:
        if again:
            self.console.print("  Loaded before: the whole span is read once more, nothing may be loaded twice.")
            self._run_all("the night again", [*self._registers(), *self._events(START, night_2)])
            return
        if not self._loaded_until(night_1):
            self._run_all("night 1: registers", self._registers())
            self._run_all(f"night 1 ({night_1:%d/%m/%Y}): events", self._events(START, night_1))
        self.sandbox.set_clock(night_2)
        self._run_all(f"night 2 ({night_2:%d/%m/%Y}): events", self._events(_midnight_after(night_1), night_2))

    def _registers(self) -> list[tuple[str, dict[str, str], str]]:
        return [(f"ingest__{feed}", {}, feed) for feed in REGISTERS]

    def _events(self, since: date, night: datetime) -> list[tuple[str, dict[str, str], str]]:
        """All of them side by side. The portal is asked for every period again, because its scores of past ones still
        move; the last night reaches the present, as every night does, so that what was read is fresh.
        """
        runs = []
        for feed in EVENTS:
            window = {"since": (START if feed == "portal_evaluation" else since).isoformat()}
            if night.date() < END or feed == "portal_evaluation":
                window["until"] = _midnight_after(night).isoformat()
            runs.append((f"ingest__{feed}", window, feed))
        return [*runs, *((f"ingest__{feed}", {}, feed) for feed in OTHERS)]

    def _publish(self) -> None:
        """Trigger as one person, sign as another, as Airflow's own API lets them."""
        dag_id = "publish__period"
        run = self._trigger(self.api, dag_id, {"period": PERIOD}, f"publish {PERIOD}")
        with self._step(f"{dag_id} {PERIOD}: candidate and gate, asked for by '{REQUESTER}'"):
            question = self.api.wait_for_question(
                dag_id, run.run_id, "sign_off", tell=lambda tasks: self._refuse_failed(run, tasks)
            )
        if question is None:
            self._finish([run], {})
            return
        self._box(Markdown(f"**{question['subject']}**\n\n{question['body'].strip()}"), "to be signed")
        try:
            self.api.answer(dag_id, run.run_id, "sign_off", "Approve")
        except RefusedError as refusal:
            if refusal.status != 403:
                raise
            self.console.print(f"  '{REQUESTER}', who asked for it, may not sign: refused by Airflow (403).")
        else:
            raise PermanentError(f"'{REQUESTER}' could sign what '{REQUESTER}' asked for: the sign-off is not safe")
        answer = self.stack.client(SIGNER).answer(dag_id, run.run_id, "sign_off", "Approve")
        self.console.print(f"  Approved by '{answer['responded_by']['id']}' through Airflow's API.")
        with self._step("record of the signature, edition, report") as tell:
            self._finish([run], {}, tell)

    # -- DAG runs ----------------------------------------------------------------------------------------------------

    def _run_all(self, title: str, wanted: Sequence[tuple[str, Mapping[str, Any], str]]) -> None:
        with self._step(title) as tell:
            runs = [self._trigger(self.api, dag_id, conf, label) for dag_id, conf, label in wanted]
            self._finish(runs, {run.run_id: time.monotonic() for run in runs}, tell)

    def _trigger(self, api: AirflowApi, dag_id: str, conf: Mapping[str, Any], label: str) -> Run:
        return Run(dag_id, api.trigger(dag_id, conf), label)

    def _finish(
        self,
        runs: Sequence[Run],
        begun: Mapping[str, float],
        tell: Callable[[str], None] | None = None,
        timeout: float = 900,
    ) -> None:
        """Wait for all; prints each as it ends, with what its task counted. RunFailed at the first that fails."""
        waiting = list(runs)
        deadline = time.monotonic() + timeout
        while waiting:
            for run in list(waiting):
                state = self.api.run(run.dag_id, run.run_id)["state"]
                if state != "success":
                    self._refuse_failed(run, self.api.tasks(run.dag_id, run.run_id))
                    if state == "failed":
                        raise RunFailed(f"{run.dag_id} ({run.label}) failed: see {self.stack.logs}")
                    continue
                waiting.remove(run)
                seconds = f"{time.monotonic() - begun[run.run_id]:3.0f} s" if run.run_id in begun else "     "
                self.console.print(f"  [green]✓[/] {run.label:<24} {seconds}  {escape(self._counts(run))}")
            if time.monotonic() > deadline:
                names = ", ".join(run.label for run in waiting)
                raise RunFailed(f"not finished after {timeout:.0f} s: {names}. Logs: {self.stack.logs}")
            if tell:
                tell(", ".join(run.label for run in waiting))
            time.sleep(0.5)

    def _refuse_failed(self, run: Run, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        for task_id, task in tasks.items():
            if task["state"] in ENDED_BADLY:
                folder = self.stack.logs / f"dag_id={run.dag_id}" / f"run_id={run.run_id}" / f"task_id={task_id}"
                log = folder / f"attempt={max(task['try_number'], 1)}.log"
                raise RunFailed(
                    f"{run.dag_id} ({run.label}) failed in task '{task_id}' ({task['state']}). "
                    f"Its log, {log}, ends with:\n{readable(tail(log, 40))}"
                )

    def _counts(self, run: Run) -> str:
        task_id = {"build__warehouse": "build", "publish__period": "publish"}.get(run.dag_id, "ingest")
        result = self.api.result(run.dag_id, run.run_id, task_id)
        if not isinstance(result, dict):
            return ""
        if task_id == "ingest":
            counts = {name: result[name] for name in COUNTS[1:]}
            shown = [f"{count:,} {name}" for name, count in counts.items() if count or name in ("loaded", "unchanged")]
            return f"{sum(counts.values()):,} received: {', '.join(shown)}"
        if task_id == "build":
            return f"as of batch {result['as_of_batch']}: {result['nodes']} nodes, {result['constraints']} keys proved"
        return f"edition {result['edition_id']}, {'published' if result['created'] else 'stood already'}"

    # -- what is in the warehouse ------------------------------------------------------------------------------------

    def _stack(self, sandbox: SandboxServer) -> Stack:
        environment = {**sandbox.env, "HAILONG_SIGNERS": SIGNER}
        # The address that people know is for a stack that stays; a passing one is in nobody's way.
        port = None if self.keep else free_port()
        return Stack(self.settings, api_port=port, scheduled=False, environment=environment)

    def _loaded_until(self, moment: datetime) -> bool:
        """True when every event feed has been loaded up to this local moment."""
        with connect(self.settings, role="hailong_reader") as connection:
            found = connection.execute(
                "select count(distinct feed) from ops.batch where feed = any(%s)"
                " and window_end >= (%s::timestamp at time zone %s)",
                (list(EVENTS), moment, self.settings.timezone),
            ).fetchone()
        return found is not None and found[0] == len(EVENTS)

    def _editions(self) -> set[str]:
        with connect(self.settings, role="hailong_reader") as connection:
            return {row[0] for row in connection.execute("select edition_id from publish.edition").fetchall()}

    def _loaded(self) -> tuple[int, int]:
        """(records received, records loaded) over the whole ledger."""
        with connect(self.settings, role="hailong_reader") as connection:
            rows = ledger_summary(connection)
        return sum(row["received"] for row in rows), sum(row["loaded"] for row in rows)

    def _show_result(self, before: set[str], loaded_before: tuple[int, int]) -> None:
        with connect(self.settings, role="hailong_reader") as connection:
            edition = connection.execute(
                "select e.edition_id, e.content_sha256, e.published_by, e.candidate_id, r.docs_uri"
                " from publish.edition as e left join dq.run as r on r.run_id = e.gate_run_id"
                " where e.period_code = %s order by e.edition_no desc limit 1",
                (PERIOD,),
            ).fetchone()
            if edition is None:
                raise PermanentError(f"no edition of {PERIOD} after the run: see `hailong status`")
            edition_id, digest, published_by, candidate_id, docs = edition
            rows = connection.execute(
                "select peer_group_name, rank_in_group, unit_name, a, b, c, d, e, k, verdict from publish.k_score"
                " where edition_id = %s and rank_in_group is not null order by peer_group, rank_in_group, unit_code",
                (edition_id,),
            ).fetchall()
            verdicts = connection.execute(
                "select status, coalesce(verdict, '–'), count(*) from publish.k_score where edition_id = %s"
                " group by 1, 2 order by 3 desc",
                (edition_id,),
            ).fetchall()
            signed = connection.execute(
                "select decided_by from publish.approval where candidate_id = %s and decision = 'approved'"
                " order by decided_at desc limit 1",
                (candidate_id,),
            ).fetchone()
            ledger = ledger_summary(connection)
        with connect(self.settings, role="hailong_loader") as connection:
            feeds = feed_status(connection, load_contracts(self.settings.contracts), datetime.now(UTC))
        title = f"{PERIOD}, edition {edition_id}: best and worst of each group"
        self.console.print(k_table(title, rows), soft_wrap=False)
        self.console.print(", ".join(f"{count} {status}/{verdict}" for status, verdict, count in verdicts))
        self.console.print(ledger_table(ledger), soft_wrap=False)
        self.console.print(feed_table(feeds, ZoneInfo(self.settings.timezone)), soft_wrap=False)
        received, loaded = (now - then for now, then in zip(self._loaded(), loaded_before, strict=True))
        if edition_id in before:
            told = "nothing was loaded twice" if not loaded else f"{loaded:,} were new"
            self.console.print(
                f"[bold]Of {received:,} records read again {told}, and no second edition was published:[/] "
                f"{edition_id} already says exactly this."
            )
        self._show_where(edition_id, digest, published_by, signed[0] if signed else "?", docs)

    def _show_where(self, edition_id: str, digest: str, published_by: str, signer: str, docs: str | None) -> None:
        lines = [
            f"Edition    [bold]{edition_id}[/], asked for by {published_by}, signed by {signer}, sha256 {digest[:16]}…",
            *(f"Report     {path}" for path in sorted((self.settings.editions / edition_id).glob("*"))),
            f"Data Docs  {docs or self.settings.data_docs}",
            "Unread     hailong quarantine list        Where a record went: hailong trace dossier KEY",
            f"Ledger     hailong status        Why a number: hailong explain --unit HCM.SN01 --period {PERIOD}",
        ]
        if self.keep:
            lines.append(f"Airflow    {self.stack.url} (running; stop everything with `make down`)")
        else:
            lines.append("Airflow    stopped; `make up` starts it again and prints its address")
        lines.append(f"Log in     {REQUESTER} or {SIGNER}, passwords in {self.stack.passwords_file}")
        self.console.rule("where to look")
        for line in lines:
            self.console.print(line)

    def _box(self, content: RenderableType, title: str) -> None:
        self.console.print(Panel(content, title=title), soft_wrap=False)

    def _step(self, title: str) -> _Step:
        return _Step(self.console, title)


class _Step:
    """A stage: a moving line while it runs, a fixed one with its duration when it is done."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title

    def __enter__(self) -> Callable[[str], None]:
        self.began = time.monotonic()
        self.status = self.console.status(self.title)
        if self.console.is_terminal:
            self.status.start()
        else:
            self.console.print(f"… {self.title}")
        return lambda text: self.status.update(f"{self.title}: {text}")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.status.stop()
        if kind is None:
            self.console.print(f"[bold green]✓[/] {self.title} [dim]({time.monotonic() - self.began:.0f} s)[/]")


def k_table(title: str, rows: Sequence[Sequence[Any]], each: int = 3) -> Table:
    """Rows (group, rank, unit, a, b, c, d, e, k, verdict) in rank order: the first and the last of each group."""
    table = Table(title=title, title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("unit")
    for name in ("A", "B", "C", "D", "E", "K"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for group in dict.fromkeys(row[0] for row in rows):
        members = [row for row in rows if row[0] == group]
        table.add_section()
        table.add_row("", f"[bold]{escape(str(group))}[/] ({len(members)} ranked)")
        shown: list[Sequence[Any] | None] = list(members)
        if len(members) > 2 * each:
            shown = [*members[:each], None, *members[-each:]]
        for row in shown:
            if row is None:
                table.add_row("…")
                continue
            _, rank, unit, *indices, k, verdict = row
            table.add_row(str(rank), escape(unit), *map(shown_value, indices), shown_k(k), verdict or "")
    return table


def ledger_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Totals per feed."""
    names = ("batches", *COUNTS)
    table = Table(title="Ledger (received = loaded + unchanged + duplicate + quarantined)", title_justify="left")
    table.add_column("feed")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row["feed"], *(f"{row[name]:,}" for name in names))
    return table


def shown_value(value: Decimal | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def shown_k(value: Decimal | None) -> str:
    """Two decimals, and as many as needed where two would show the threshold itself."""
    if value is None:
        return "–"
    text = f"{value:.2f}"
    return text if text != "20.00" or value == 20 else f"{value.normalize():f}"


def _midnight_after(moment: datetime) -> date:
    return moment.date() + timedelta(days=1)


def readable(log: str) -> str:
    """Airflow's task log is one JSON object a line: keep time and text."""
    lines = []
    for line in log.splitlines():
        try:
            entry = json.loads(line)
            lines.append(f"{str(entry.get('timestamp', ''))[11:19]} {entry.get('event', line)}")
        except (ValueError, AttributeError):
            lines.append(line)
    return "\n".join(lines)
