"""The whole road on a small sandbox, by a real scheduler and two people: nights, build, gate, signature, edition; twice.

Then three months and their quarter with the watcher on the days from the 15th to the 25th, and a past that changes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import docx
import openpyxl
import psycopg
import pyarrow.parquet
import pypdf
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from rich.console import Console

from expectations import gate
from hailong import sandbox_process
from hailong.airflow_api import RefusedError
from hailong.demo import DAGS, END, PERIOD, REQUESTER, SIGNER, demo
from hailong.publish.edition import digests_of
from hailong.publish.report import words
from hailong.publish.restate import CAUSES
from hailong.publish.verify import verify
from hailong.settings import Settings
from hailong.stack import Stack
from hailong.warehouse.connect import airflow_uri, connect
from hailong.warehouse.embedded import free_port
from tests.integration.test_increments import load
from tests.receivers import Hook, Mailbox, mailbox, webhook

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).resolve().parents[2]
SIZE = 3000


@dataclass
class Played:
    """A warehouse after two demos, and what each of them said."""

    settings: Settings
    first: str
    second: str
    ledger: list[tuple[Any, ...]]  # per feed after the first demo: loaded, batches
    airflow: list[tuple[Any, ...]]  # Airflow's runs: dag, state, who, how often


def query(settings: Settings, text: str, *values: object) -> list[tuple[Any, ...]]:
    with connect(settings, role="hailong_reader") as connection:
        return connection.execute(text.encode(), values).fetchall()


def play(settings: Settings) -> str:
    said = io.StringIO()
    demo(settings, Console(file=said, width=180), size=SIZE)
    return said.getvalue()


LEDGER = (
    "select feed, sum(loaded_rows), sum(unchanged_rows), sum(received_rows) from ops.batch group by feed order by feed"
)


@pytest.fixture(scope="module")
def played(new_warehouse: Callable[..., Settings]) -> Iterator[Played]:
    settings = new_warehouse()
    metadata = airflow_uri(settings, "postgresql")
    try:
        first = play(settings)
        ledger = query(settings, LEDGER)
        second = play(settings)
        with psycopg.connect(metadata) as connection:
            runs = connection.execute(
                "select dag_id, state, triggering_user_name, count(*) from dag_run group by 1, 2, 3 order by 1"
            ).fetchall()
        yield Played(settings, first, second, ledger, runs)
    finally:
        Stack(settings).down()
        sandbox_process.stop(settings)
        with connect(settings, autocommit=True) as connection:
            name = sql.Identifier(str(conninfo_to_dict(metadata)["dbname"]))
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))


def test_a_real_scheduler_ran_every_dag_for_the_requester(played: Played) -> None:
    assert {(dag_id, state, user) for dag_id, state, user, _ in played.airflow} == {
        (dag_id, "success", REQUESTER) for dag_id in DAGS
    }


def test_the_edition_was_signed_by_somebody_else_than_asked_for_it(played: Played) -> None:
    rows = query(
        played.settings,
        "select e.edition_id, c.requested_by, a.decided_by, a.decision, a.channel, a.content_sha256 = c.content_sha256,"
        " e.content_sha256 = c.content_sha256 from publish.edition as e join publish.candidate as c using (candidate_id)"
        " join publish.approval as a using (candidate_id)",
    )
    assert rows == [(f"{PERIOD}.e1", REQUESTER, SIGNER, "approved", "airflow", True, True)]
    assert f"'{REQUESTER}', who asked for it, may not sign" in played.first


def test_a_second_demo_loads_nothing_twice_and_publishes_no_second_edition(played: Played) -> None:
    before = {feed: (loaded, unchanged) for feed, loaded, unchanged, _ in played.ledger}
    after = {feed: (loaded, unchanged) for feed, loaded, unchanged, _ in query(played.settings, LEDGER)}
    assert {feed: loaded for feed, (loaded, _) in before.items()} == {
        feed: loaded for feed, (loaded, _) in after.items()
    }
    assert after["dossier"][1] >= before["dossier"][0] / 2  # read again, found unchanged
    assert query(played.settings, "select count(*) from publish.edition") == [(1,)]
    assert query(played.settings, "select count(*) from publish.approval") == [(1,)]
    assert "nothing was loaded twice, and no second edition was published" in played.second
    assert "no second edition" not in played.first


def test_the_edition_says_what_the_sandbox_intended(played: Played, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "truth", "--out", str(tmp_path), "--size", str(SIZE), "--end", str(END)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    with (tmp_path / "index_truth.csv").open(encoding="utf-8", newline="") as handle:
        truth = {
            (row["unit_code"], row["index_code"]): (row["status"], Decimal(row["value"]) if row["value"] else None)
            for row in csv.DictReader(handle)
            if row["period_code"] == PERIOD
        }
    published = {
        (unit, index): (status, value)
        for unit, index, status, value in query(
            played.settings, "select unit_code, index_code, status, value from publish.index_score"
        )
    }
    assert len(truth) > 900
    assert published == truth


def test_the_report_is_in_place_and_recorded_with_its_checksum(played: Played) -> None:
    artifacts = query(played.settings, "select edition_id, name, bytes, sha256 from publish.artifact")
    assert any(name.endswith(".xlsx") for _, name, _, _ in artifacts)
    for edition_id, name, size, digest in artifacts:
        content = (played.settings.editions / edition_id / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)


def test_the_demo_shows_what_it_did_and_where_to_look(played: Played) -> None:
    for text in (f"{PERIOD}.e1", "satisfied", "Ledger", "dossier", "Report", "Data Docs", "make up", "passwords.json"):
        assert text in played.first, text
    report = next((played.settings.editions / f"{PERIOD}.e1").glob("*.xlsx"))
    assert report.is_file()


def test_nothing_the_demo_started_is_left(played: Played) -> None:
    assert Stack(played.settings).running() == ()
    assert sandbox_process.stop(played.settings) is False


# -- what was said stays said: three months and their quarter, then the past changes ---------------------------------------

MONTHS, QUARTER = ("2026-07", "2026-08", "2026-09"), "2026-Q3"
LAST = MONTHS[-1]  # ends with the quarter: cut-off 18/09 00:00, due Thursday 24/09 17:00
RESTATED = "2026-08"
REASON = "Đơn vị nộp bù và đính chính hồ sơ tháng 8"
MAILED = {
    "engineer": "ky-su@example.invalid", "office": "van-phong@example.invalid", "head": "lanh-dao@example.invalid",
}  # fmt: skip
# When the warehouse was set up: periods due before are not owed. LONG_AFTER: none is, so what Airflow's own deadline does at
# the trigger of a run whose due moment is long past (it looks by the real clock) tells nobody.
BEFORE, LONG_AFTER = "2026-09-01", "9000-01-01"


@dataclass(frozen=True)
class Heard:
    """One run of the watcher: how it ended, (recipient, subject, text) of each mail, the webhook's messages."""

    state: str
    mails: list[tuple[str, str, str]]
    posts: list[dict[str, Any]]

    def of(self, period: str) -> dict[str, str]:
        """Recipient → subject, of the mails about a period."""
        return {to.partition("@")[0]: subject for to, subject, _ in self.mails if f"Kỳ {period}" in subject}

    def text(self, period: str) -> str:
        (text,) = {text for _, subject, text in self.mails if f"Kỳ {period}" in subject}
        return text


@dataclass
class Corrected:
    """Editions before the past changed, and what the people saw."""

    files: dict[str, dict[str, str]]
    stopped: tuple[str, set[str], list[Any]]  # a run that the gate stopped: state, tasks that succeeded, editions
    heard: dict[str, Heard]  # by the simulated moment of the watcher
    questions: dict[str, str] = field(default_factory=dict)  # candidate → what its signer read
    refused: set[int] = field(default_factory=set)  # what Airflow answered who may not sign
    ends: Counter[str] = field(default_factory=Counter)  # of the runs that somebody signed


class Office:
    """The people of the centre around one Airflow, their mail server and their webhook."""

    def __init__(self, settings: Settings, stack: Stack, box: Mailbox, hook: Hook, story: Corrected) -> None:
        self.settings, self.stack, self.box, self.hook, self.story = settings, stack, box, hook, story
        self.asks, self.signs = stack.client(REQUESTER), stack.client(SIGNER)

    def asked(self, dag_id: str, *confs: dict[str, str]) -> list[tuple[str, str]]:
        """Trigger side by side; (run, candidate) of each when it waits for its signature."""
        runs = [self.asks.trigger(dag_id, conf) for conf in confs]
        waiting = []
        for run_id in runs:
            question = self.asks.wait_for_question(dag_id, run_id, "sign_off")
            assert question is not None, run_id
            candidate = str(self.asks.result(dag_id, run_id, "candidate")["candidate_id"])
            self.story.questions[candidate] = question["body"]
            waiting.append((run_id, candidate))
        return waiting

    def signed(self, dag_id: str, waiting: list[tuple[str, str]], rejected: str = "") -> None:
        """Who asked and who may only look are refused; the signer signs, or rejects one; all runs end."""
        for run_id, candidate in waiting:
            for nobody in (self.asks, self.stack.client("viewer")):
                with pytest.raises(RefusedError) as refused:
                    nobody.answer(dag_id, run_id, "sign_off", "Approve")
                self.story.refused.add(refused.value.status)
            self.signs.answer(dag_id, run_id, "sign_off", "Reject" if candidate == rejected else "Approve")
        self.story.ends.update(self.asks.wait(dag_id, run_id) for run_id, _ in waiting)

    def watch(self, *moments: str) -> None:
        """What the watcher's own DAG says as if it were these days of September at 7, or these moments."""
        self._deadlines_are_through()
        self._set_up(BEFORE)
        self.box.take(), self.hook.take()
        for moment in moments:
            today = f"2026-09-{moment}" if "T" in moment else f"2026-09-{moment}T07:00"
            state = self.asks.wait(
                "watch__deadline", self.asks.trigger("watch__deadline", {"today": today, "tell": True}), pause=0.2
            )
            mails = [(",".join(mail.recipients), mail.subject, mail.text) for mail in self.box.take()]
            self.story.heard[moment] = Heard(state, mails, self.hook.take())
        self._set_up(LONG_AFTER)

    def _set_up(self, moment: str) -> None:
        with connect(self.settings) as connection:
            connection.execute("update ops.migration set applied_at = %s", (moment,))

    def _deadlines_are_through(self) -> None:
        left = (
            "select (select count(*) from deadline where not missed and deadline_time < now())"
            " + (select count(*) from callback where state in ('pending', 'queued', 'running'))"
        )
        until = time.monotonic() + 60
        with psycopg.connect(airflow_uri(self.settings, "postgresql"), autocommit=True) as connection:
            while connection.execute(left).fetchone() != (0,):
                assert time.monotonic() < until, "Airflow's own deadlines are not through"
                time.sleep(0.2)


def change_the_past(settings: Settings) -> None:
    """Of August: two dossiers come late, one is deleted at the source, one gets another result."""
    with connect(settings) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "select r.* from raw.dossier as r inner join facts.fct_a_timeliness as a on r.record_key = a.dossier_code "
            "inner join core.core_dossier as d on a.dossier_code = d.dossier_code and r.batch_id = d.batch_id "
            "where a.point = 1 and a.result_on >= '2026-07-20' and a.result_on < '2026-08-10' and not a.result_is_date "
            "and r.due_at is not null order by r.record_key limit 3"
        ).fetchall()
    kept = [
        {name: value for name, value in row.items() if name not in ("batch_id", "record_key", "op", "version_hash")}
        for row in rows
    ]
    late = {
        f"{rows[0]['record_key']}-nop-bu-{n}": kept[0]
        | {"dossier_code": f"{rows[0]['record_key']}-nop-bu-{n}", "due_at": kept[0]["received_at"]}
        for n in (1, 2)
    }
    load(settings, "dossier", late)
    load(settings, "dossier", {rows[1]["record_key"]: None})
    load(settings, "dossier", {rows[2]["record_key"]: kept[2] | {"finished_at": kept[2]["due_at"] + timedelta(days=1)}})


def change_the_rules(rules: Path) -> None:
    """Half a point within the days of grace, in the Decision's parameters; and a model that counts it twice."""
    for file, was, is_now in (
        ("seeds/scoring_policy_parameter.csv", ",a_point_within_grace,0,", ",a_point_within_grace,0.5,"),
        ("macros/timeliness.sql", "{{ rules }}.a_point_within_grace", "least(1, 2 * {{ rules }}.a_point_within_grace)"),
    ):
        text = (rules / file).read_text(encoding="utf-8")
        assert text.count(was) == 1, file
        (rules / file).write_text(text.replace(was, is_now), encoding="utf-8")


def stop_at_the_gate(office: Office) -> None:
    """Somebody changed a K behind the program's back: the gate stops the month in the middle. Then it is as it was."""
    changed = "update marts.k_score set k = k + %s where period_code = %s and unit_code = any(%s)"
    units = [
        unit
        for (unit,) in query(
            office.settings, "select unit_code from marts.k_score where period_code = %s and k < 20", LAST
        )
    ]
    assert units
    with connect(office.settings) as connection:
        connection.execute(changed, (1, LAST, units))
    run_id = office.asks.trigger("publish__period", {"period": LAST})
    state = office.asks.wait("publish__period", run_id)
    tasks = office.asks.tasks("publish__period", run_id)
    editions = query(office.settings, "select edition_id from publish.edition where period_code = %s", LAST)
    passed = {name for name, task in tasks.items() if task["state"] == "success"}
    office.story.stopped = (state, passed, editions)
    office.watch("19", "20", "21")
    with connect(office.settings) as connection:
        connection.execute(changed, (-1, LAST, units))


@pytest.fixture(scope="module")
def corrected(played: Played, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corrected]:
    settings, rules = played.settings, tmp_path_factory.mktemp("rules") / "rules"
    shutil.copytree(settings.rules, rules, ignore=shutil.ignore_patterns("target", "logs"))
    dags = ("publish__period", "restate__period", "build__warehouse", "watch__deadline")
    with mailbox() as box, webhook() as hook:
        environment = {
            "HAILONG_SIGNERS": SIGNER, "HAILONG_RULES": str(rules), "HAILONG_SMTP_URL": f"smtp://127.0.0.1:{box.port}",
            "HAILONG_MAIL_FROM": "hai-long@example.invalid", "HAILONG_WEBHOOK_URL": hook.url,
            **{f"HAILONG_MAIL_{role.upper()}": address for role, address in MAILED.items()},
        }  # fmt: skip
        stack = Stack(settings, api_port=free_port(), scheduled=False, environment=environment)
        try:
            stack.up(expected_dags=dags)
            office = Office(settings, stack, box, hook, Corrected({}, ("", set(), []), {}))
            for dag_id in dags:
                office.asks.unpause(dag_id)
            office.watch("15", "16", "17", "18")
            stop_at_the_gate(office)
            waiting = office.asked("publish__period", *({"period": period} for period in (*MONTHS, QUARTER)))
            office.watch("22", "23")
            office.signed("publish__period", waiting, rejected=f"{LAST}.c2")
            office.watch("24", "24T18:00")
            office.signed("publish__period", office.asked("publish__period", {"period": LAST}))
            office.watch("25", "25T12:00")
            story = office.story
            story.files = {f"{name}.e1": digests_of(settings.editions / f"{name}.e1") for name in (*MONTHS, QUARTER)}
            change_the_past(settings)
            change_the_rules(rules)
            assert office.asks.wait("build__warehouse", office.asks.trigger("build__warehouse", {})) == "success"
            asked = office.asked("restate__period", {"period": RESTATED, "reason": REASON})
            office.signed("restate__period", asked)
            yield story
        finally:
            stack.down()


def test_what_the_gate_stops_is_not_published(corrected: Corrected) -> None:
    state, passed, editions = corrected.stopped
    assert (state, passed, editions) == ("failed", {"candidate"}, [])


def test_the_watcher_tells_each_change_from_the_15th_to_the_25th_once(corrected: Corrected) -> None:
    heard = corrected.heard
    one, two, three = ["ky-su"], ["ky-su", "van-phong"], ["ky-su", "van-phong", "lanh-dao"]
    for day in ("15", "16", "17", "20", "25T12:00"):
        assert (heard[day].mails, heard[day].posts) == ([], []), day
    owed = "[Hài lòng] Kỳ {} chưa công bố: {}"
    for day, roles, when, periods in (
        ("18", one, "còn 4 ngày làm việc đến hạn", [LAST, QUARTER]),
        ("19", one, "còn 4 ngày làm việc đến hạn", [LAST]),
        ("21", two, "còn 3 ngày làm việc đến hạn", [LAST, QUARTER]),
        ("22", two, "còn 2 ngày làm việc đến hạn", [LAST, QUARTER]),
        ("23", three, "còn 1 ngày làm việc đến hạn", [LAST, QUARTER]),
        ("24", three, "đến hạn lúc 17:00 hôm nay", [LAST]),
        ("24T18:00", three, "đã quá hạn", [LAST]),
    ):
        for period in (LAST, QUARTER):
            wanted = dict.fromkeys(roles, owed.format(period, when)) if period in periods else {}
            if (day, period) == ("24", QUARTER):
                wanted = dict.fromkeys(three, f"[Hài lòng] Kỳ {QUARTER}: đã công bố")
            assert heard[day].of(period) == wanted, (day, period)
    assert heard["25"].of(LAST) == dict.fromkeys(three, f"[Hài lòng] Kỳ {LAST}: đã công bố")
    for day, period, said in (
        ("18", LAST, "Chưa lập bản trình ký của kỳ này (chạy publish__period)"),
        ("18", LAST, "theo Điều 15 Quyết định số 104/2024/QĐ-UBND phải trước ngày 25/09/2026"),
        ("18", QUARTER, "Hạn công bố: 17:00 ngày 24/09/2026"),
        ("19", LAST, f"Kiểm tra chất lượng không cho bản trình {LAST}.c1 đi tiếp"),
        ("21", QUARTER, "Chưa lập bản trình ký"),
        ("22", LAST, "đang chờ ký; người có quyền ký: signer"),
        ("23", QUARTER, f"Bản trình {QUARTER}.c1"),
        ("24", LAST, f"signer từ chối ký bản trình {LAST}.c2; cần khắc phục và lập bản trình mới"),
        ("24T18:00", LAST, f"signer từ chối ký bản trình {LAST}.c2"),
        ("25", LAST, f"bản {LAST}.e1"),
    ):
        assert said in heard[day].text(period), (day, period)
    # Only while something is overdue is the watcher's own run a failed one.
    assert {day for day, said in heard.items() if said.state != "success"} == {"24T18:00"}
    # Every mail is one of these, none came twice, and the webhook heard each change once, with the roles of its mails.
    mails = [mail for said in heard.values() for mail in said.mails]
    assert len(mails) == len(set(mails)) == 29
    assert {to for to, _, _ in mails} == set(MAILED.values())
    for day, said in heard.items():
        posts = {post["topic"]: {MAILED[role].partition("@")[0] for role in post["roles"]} for post in said.posts}
        assert len(posts) == len(said.posts), day
        told = {f"deadline/{period}": set(said.of(period)) for period in (LAST, QUARTER) if said.of(period)}
        assert posts == told, day


def test_every_candidate_was_decided_by_the_signer_alone_who_read_each_warning(
    played: Played, corrected: Corrected
) -> None:
    assert corrected.refused == {403}
    assert corrected.ends == {"success": len(corrected.questions)}
    decided = query(
        played.settings,
        "select a.candidate_id, a.decision, c.requested_by, a.decided_by, a.channel, a.content_sha256 = c.content_sha256,"
        " a.warnings_seen, c.content_sha256 from publish.approval as a inner join publish.candidate as c using (candidate_id)"
        " where c.period_code <> %s",
        PERIOD,
    )
    assert {(row[0], row[1]) for row in decided} == {
        ("2026-07.c1", "approved"), ("2026-08.c1", "approved"), ("2026-09.c2", "rejected"), ("2026-09.c3", "approved"),
        ("2026-Q3.c1", "approved"), ("2026-08.c2", "approved"),
    }  # fmt: skip
    assert {row[2:6] for row in decided} == {(REQUESTER, SIGNER, "airflow", True)}
    warned = query(
        played.settings,
        "select distinct run.candidate_id, result.expectation_id from dq.run as run inner join dq.result as result"
        " using (run_id) where not result.success and result.severity = 'warning'",
    )
    assert warned
    for candidate, *_, seen, digest in decided:
        told = corrected.questions[candidate]
        assert digest in told and f"người đề nghị: {REQUESTER}" in told
        assert set(seen) == {name for of, name in warned if of == candidate}, candidate
        assert all(f"Cảnh báo `{name}`" in told for name in seen), candidate


def test_three_months_and_their_quarter_stay_byte_for_byte_when_the_past_changes(
    played: Played, corrected: Corrected
) -> None:
    for edition_id, files in corrected.files.items():
        assert files, edition_id
        assert digests_of(played.settings.editions / edition_id) == files, edition_id
    assert any(name.startswith("du-lieu-mo/") for name in corrected.files[f"{QUARTER}.e1"])
    assert not any(name.startswith("du-lieu-mo/") for name in corrected.files[f"{RESTATED}.e1"])
    assert verify(played.settings, chain=True).holds


@pytest.mark.parametrize("edition_id", [f"{RESTATED}.e1", f"{RESTATED}.e2", f"{LAST}.e1", f"{QUARTER}.e1"])
def test_the_files_of_an_edition_open_and_say_what_it_says(
    played: Played, corrected: Corrected, edition_id: str
) -> None:
    folder = played.settings.editions / edition_id
    scores = query(
        played.settings, "select unit_code, k from publish.k_score where edition_id = %s order by 1", edition_id
    )
    book = openpyxl.load_workbook(folder / f"bao-cao_{edition_id}.xlsx", read_only=True)
    ranked = {row[2]: row[9] for row in book["Xếp hạng"].iter_rows(min_row=4, values_only=True)}
    assert ranked == {unit: "—" if k is None else float(k) for unit, k in scores} and len(scores) > 100
    paper = docx.Document(str(folder / f"bao-cao_{edition_id}.docx"))
    written = "\n".join(
        [*(p.text for p in paper.paragraphs), *(cell.text for table in paper.tables for cell in table._cells)]
    )
    printed = " ".join(page.extract_text() for page in pypdf.PdfReader(folder / f"bao-cao_{edition_id}.pdf").pages)
    for text in (written, " ".join(printed.split())):
        assert edition_id in text
        assert all(cause in text for cause in words.CAUSES.values()) is edition_id.endswith("e2")
    points = pyarrow.parquet.read_table(folder / "points.parquet").to_pylist()
    sums = dict(
        query(
            played.settings,
            "select unit_code, numerator from publish.index_score where edition_id = %s and index_code = 'A'"
            " and numerator is not null",
            edition_id,
        )
    )
    added = Counter[str]()
    for row in points:
        if row["index_code"] == "A" and row["status"] == "counted":
            added[row["unit_code"]] += row["point"]
    assert {unit: added[unit] for unit in sums} == sums and any(sums.values())
    if edition_id.startswith(QUARTER):
        package = json.loads((folder / "du-lieu-mo" / "datapackage.json").read_text(encoding="utf-8"))
        assert package["resources"]
        for resource in package["resources"]:
            paths = [resource["path"]] if isinstance(resource["path"], str) else resource["path"]
            assert all((folder / "du-lieu-mo" / path).stat().st_size for path in paths), resource["name"]
        units = {
            path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in (folder / "du-lieu-mo" / "don-vi").glob("*.json")
        }
        assert {name: told["k_score"]["unit_code"] for name, told in units.items()} == {
            unit: unit for unit, _ in scores
        }
        assert pypdf.PdfReader(folder / f"niem-yet_{edition_id}.pdf").pages


def test_the_restatement_says_why_each_number_changed(played: Played, corrected: Corrected) -> None:
    told = corrected.questions[f"{RESTATED}.c2"]
    assert REASON in told and f"thay ấn bản {RESTATED}.e1" in told
    diff = query(
        played.settings,
        "select index_code, cause, contribution, was, now, unit_code from publish.edition_diff where edition_id = %s",
        f"{RESTATED}.e2",
    )
    of_a = {
        cause: {unit: round(by, 12) for index, why, by, *_, unit in diff if (index, why) == ("A", cause)}
        for cause in CAUSES
    }  # quotients: the two halves may differ in the last of 15 digits
    # Of three dossiers, and of every unit that was late within the grace: half a point by the rule, as much by the model.
    assert all(0 < len(of_a[cause]) <= 2 for cause in CAUSES[:3]), of_a
    assert len(of_a["rule"]) > 10 and of_a["rule"] == of_a["code"] and min(of_a["rule"].values()) > 0
    counts = Counter(cause for _, cause, *_ in diff)
    named = ("về muộn", "bị xoá", "được sửa", "đổi quy tắc", "đổi chương trình")
    assert [int(n) for name in named for n in re.findall(f"{name} (\\d+)", told)] == [counts[cause] for cause in CAUSES]
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for index, _, contribution, was, now, unit in diff:
        sums.setdefault((unit, index), [now - was, Decimal(0)])[1] += contribution
    assert {index for _, index in sums} >= {"A", "K"}
    assert all(whole == parts for whole, parts in sums.values()), sums
    header = "select reason, supersedes from publish.edition where edition_id = %s"
    assert query(played.settings, header, f"{RESTATED}.e2") == [(REASON, f"{RESTATED}.e1")]


def test_a_quarter_whose_month_was_corrected_is_a_finding(played: Played, corrected: Corrected) -> None:
    gate.run_landed(played.settings)
    assert query(
        played.settings, "select scope from dq.finding where expectation_id = 'published.parts_as_counted'"
    ) == [(QUARTER,)]
