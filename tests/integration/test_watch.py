"""The watcher of the 25th on simulated days: what it sees in the tables, whom it tells, and that it tells each thing once."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from hailong.errors import PermanentError
from hailong.notify import Delivery
from hailong.periods import Period
from hailong.publish.deadline import DeadlineState, DuePeriod, check
from hailong.publish.escalation import SCHEDULE, notify, read_schedule
from hailong.publish.missing import missing
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from tests.receivers import Hook, Mailbox, mailbox, webhook

SHA = "0" * 64
WINDOW = ("2026-11-15", "2026-12-15")  # of 2026-12: cut-off 18/12 00:00, due Thursday 24/12 17:00
CUTOFF = datetime(2026, 12, 18)
PERIOD = Period("2026-12", "month", "mid_month", date(2026, 11, 15), date(2026, 12, 15))
CLOSING = ("dossier", "portal_evaluation", "rating")
ROLES = {"engineer": "ky-su@example.invalid", "office": "van-phong@example.invalid", "head": "lanh-dao@example.invalid"}
SEEDS = {
    "publication_calendar": "calendar_code text, period_code text, period_kind text, period_start date, period_end date, "
    "cutoff_at timestamp, due_at timestamp, hard_due_at timestamp",
    "scoring_policy": "policy_id text, legal_basis text, valid_from date, valid_to date, calendar_code text",
    "calendar_day": "day date, is_working_day boolean, reason text",
}


class Story:
    """What stations leave in the tables, one call a step."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.rows = 0

    def insert(self, table: str, **values: Any) -> None:
        self.connection.execute(
            sql.SQL("insert into {} ({}) values ({})").format(
                sql.Identifier(*table.split(".")),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(sql.Placeholder() * len(values)),
            ),
            [*values.values()],
        )

    def seeds(self, settings: Settings) -> None:
        """The calendar as a build leaves it, but for the quarter and the year that end on the same day."""
        for name, columns in SEEDS.items():
            self.connection.execute(
                sql.SQL("create table {} ({})").format(sql.Identifier("rules", name), sql.SQL(columns))  # type: ignore[arg-type]
            )
            with (settings.rules / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
                for row in csv.DictReader(handle):
                    self.insert(f"rules.{name}", **{key: value or None for key, value in row.items()})
        self.connection.execute("delete from rules.publication_calendar where period_kind <> 'month'")
        self.connection.execute("grant select on all tables in schema rules to hailong_reader")

    def read(self, feed: str, until: str, loaded_at: str = "2026-12-17", since: str = "2026-11-01") -> None:
        self.rows += 1
        self.insert(
            "ops.batch", feed=feed, window_start=f"{since} 00:00+07", window_end=f"{until} 00:00+07", landing_uri="x",
            landing_sha256=f"{self.rows:064}", received_rows=0, loaded_rows=0, unchanged_rows=0, duplicate_rows=0,
            quarantined_rows=0, started_at=loaded_at, loaded_at=loaded_at, contract_version="1", code_version="1",
        )  # fmt: skip

    def build(self, status: str = "succeeded", as_of: int | None = None) -> None:
        newest = self.connection.execute("select coalesce(max(batch_id), 0) from ops.batch").fetchone()
        assert newest
        self.insert(
            "ops.build", as_of_batch=newest[0] if as_of is None else as_of, rules_sha256=SHA, full_refresh=True,
            status=status,
        )  # fmt: skip

    def awaiting(self, *units: str) -> None:
        self.connection.execute(
            """
            create table marts.index_score (period_code text, unit_code text, index_code text, status text);
            create table marts.k_score (period_code text, unit_code text, unit_name text);
            grant select on all tables in schema marts to hailong_reader;
            """
        )
        for unit in units:
            for index in "ABCDE":
                status = "awaiting_input" if index == "E" else "scored"
                self.insert("marts.index_score", period_code="2026-12", unit_code=unit, index_code=index, status=status)
            self.insert("marts.k_score", period_code="2026-12", unit_code=unit, unit_name=f"Sở {unit}")

    def candidate(self, number: int, awaiting: str | None = None, digest: str = SHA) -> str:
        name = f"2026-12.c{number}"
        self.insert(
            "publish.candidate", candidate_id=name, period_code="2026-12", calendar_code="mid_month",
            period_start=WINDOW[0], period_end=WINDOW[1], cutoff_at="2026-12-18", as_of_batch=1, build_id=1,
            rules_sha256=SHA, policy_id="p", code_version="1", late_batches=0, content_sha256=digest, requested_by="deputy",
            created_at=datetime(2026, 12, 18, number, tzinfo=UTC),
        )  # fmt: skip
        if awaiting:
            self.insert(
                "publish.candidate_index_score", candidate_id=name, period_code="2026-12", unit_code=awaiting,
                index_code="E", status="awaiting_input",
            )  # fmt: skip
        return name

    def gate(self, name: str, disposition: str, *failed: str, scope: str = "candidate", digest: str = SHA) -> None:
        self.rows += 1
        of = {"candidate_id": name, "content_sha256": digest, "period_code": "2026-12"} if scope == "candidate" else {}
        finished = datetime(2026, 12, 18, tzinfo=UTC) + timedelta(seconds=self.rows)
        self.insert(
            "dq.run", run_id=f"g{self.rows}", scope=scope, as_of_batch=0, started_at=finished, finished_at=finished,
            disposition=disposition, expectations=1, **of,
        )  # fmt: skip
        for expectation in (*failed, "said.only"):
            severity = "warning" if expectation == "said.only" else "critical"
            for target in ("k_score", "index_score"):
                self.insert(
                    "dq.result", run_id=f"g{self.rows}", expectation_id=expectation, target=target, severity=severity,
                    success=False, reason="r", owner="o",
                )  # fmt: skip

    def decide(self, name: str, decision: str, by: str = "signer", digest: str = SHA) -> None:
        self.insert(
            "publish.approval", candidate_id=name, content_sha256=digest, decision=decision, decided_by=by,
            warnings_seen=[], channel="cli",
        )  # fmt: skip

    def publish(self, name: str) -> None:
        self.insert(
            "publish.edition", edition_id="2026-12.e1", period_code="2026-12", calendar_code="mid_month",
            period_start=WINDOW[0], period_end=WINDOW[1], edition_no=1, candidate_id=name, as_of_batch=1,
            rules_sha256=SHA, policy_id="p", code_version="1", content_sha256=SHA, gate_run_id="g", published_by="x",
        )  # fmt: skip


@dataclass
class Told:
    """What came in at a run of the watcher: (recipient, subject, text) of each mail, and the webhook's messages."""

    mails: list[tuple[str, str, str]]
    posts: list[dict[str, Any]]
    deliveries: list[Delivery]

    @property
    def to(self) -> list[str]:
        return [recipient.partition("@")[0] for recipient, _, _ in self.mails]


class Morning:
    """Runs the watcher as if it were a moment and tells twice: the second time it must be silent where the first was heard."""

    def __init__(self, settings: Settings, box: Mailbox, hook: Hook) -> None:
        self.settings, self.box, self.hook = settings, box, hook

    def __call__(self, day: int, hour: int = 7, mail: bool = True, post: bool = True) -> Told:
        self.box.down, self.hook.status = not mail, 200 if post else 500
        state = check(self.settings, datetime(2026, 12, day, hour))
        told, again = self.tell(state), self.tell(state)
        assert (again.mails, again.posts) == ([], []), f"said twice on the {day}th"
        assert any(delivery.failed for delivery in told.deliveries) is not (mail and post)
        return told

    def tell(self, state: DeadlineState) -> Told:
        deliveries = notify(self.settings, state)
        mails = [(mail.recipients[0], mail.subject, mail.text) for mail in self.box.take()]
        return Told(mails, self.hook.take(), deliveries)


@pytest.fixture(scope="module")
def receivers() -> Iterator[tuple[Mailbox, Hook]]:
    with mailbox() as box, webhook() as hook:
        yield box, hook


@pytest.fixture
def watched(new_warehouse: Callable[..., Settings], receivers: tuple[Mailbox, Hook]) -> Settings:
    """A warehouse that was set up on the 1st of December, with somebody to tell."""
    box, hook = receivers
    settings = new_warehouse(
        HAILONG_SIGNERS="signer,deputy,second", HAILONG_SMTP_URL=f"smtp://127.0.0.1:{box.port}",
        HAILONG_MAIL_FROM="hai-long@example.invalid", HAILONG_WEBHOOK_URL=hook.url,
        **{f"HAILONG_MAIL_{role.upper()}": address for role, address in ROLES.items()},
    )  # fmt: skip
    with connect(settings) as connection:
        connection.execute("update ops.migration set applied_at = '2026-12-01'")
    return settings


def test_the_days_from_the_15th_to_the_25th(watched: Settings, receivers: tuple[Mailbox, Hook]) -> None:
    morning = Morning(watched, *receivers)
    with connect(watched, autocommit=True) as connection:
        story = Story(connection)
        story.seeds(watched)
        story.read("rating", "2026-12-15")
        story.read("portal_evaluation", "2026-12-16")
        story.read("dossier", "2026-12-14")
        for day in (15, 16, 17):
            assert morning(day) == Told([], [], [])

        told = morning(18, mail=False)  # the mail server is down: the webhook hears it
        assert told.to == [] and [post["roles"] for post in told.posts] == [["engineer"]]
        told = morning(19)  # … and the mail follows, without the webhook
        assert told.to == ["ky-su"] and told.posts == []
        _, subject, text = told.mails[0]
        assert subject == "[Hài lòng] Kỳ 2026-12 chưa công bố: còn 4 ngày làm việc đến hạn"
        assert "1. Nguồn dữ liệu dossier: mới đọc đến 00:00 ngày 14/12/2026, chưa đến hết ngày 14/12/2026." in text
        assert "2. Kho dữ liệu chưa được tính lần nào." in text and "3. Chưa lập bản trình ký" in text
        assert "Hạn công bố: 17:00 ngày 24/12/2026" in text and "trước ngày 25/12/2026" in text
        assert "rating" not in text and "portal" not in text
        assert morning(20).to == []  # Sunday: nothing new

        story.read("dossier", "2026-12-15", loaded_at="2026-12-21")
        story.build()
        story.awaiting("HCM.SN01", "HCM.SN02")
        told = morning(21, post=False)  # a step further, and other things are missing; the webhook answers 500
        assert told.to == ["ky-su", "van-phong"] and told.posts == []
        assert "còn 3 ngày làm việc" in told.mails[0][1]
        assert "1. Chưa lập bản trình ký của kỳ này (chạy publish__period)." in told.mails[0][2]
        assert (
            "2. 2 đơn vị chưa có kết quả kiểm tra niêm yết công khai (chỉ số E): Sở HCM.SN01 (HCM.SN01); "
            "Sở HCM.SN02 (HCM.SN02)." in told.mails[0][2]
        )

        first = story.candidate(1, awaiting="HCM.SN02")
        story.gate(first, "stop", "units.present", "k.bounds")
        told = morning(22)
        assert told.to == ["ky-su", "van-phong"] and len(told.posts) == 1  # of today's state only
        assert "không cho bản trình 2026-12.c1 đi tiếp (lượt g5), vì: k.bounds, units.present." in told.posts[0]["text"]
        assert "1 đơn vị chưa có" in told.posts[0]["text"] and "SN01" not in told.posts[0]["text"]

        second = story.candidate(2)
        story.gate(second, "warn")
        told = morning(23)
        assert told.to == ["ky-su", "van-phong", "lanh-dao"]
        assert (
            "1. Bản trình 2026-12.c2 (mã kiểm tra 0000000000000000…) đang chờ ký; người có quyền ký: signer, second."
            in (told.mails[2][2])
        )

        story.decide(second, "rejected")
        told = morning(24)
        assert len(told.to) == 3 and told.mails[0][1].endswith("đến hạn lúc 17:00 hôm nay")
        assert "signer từ chối ký bản trình 2026-12.c2" in told.mails[0][2]

        third = story.candidate(3)
        story.gate(third, "pass")
        story.decide(third, "approved", by="second")
        told = morning(24, hour=18)
        assert len(told.to) == 3 and told.mails[0][1].endswith("đã quá hạn")
        assert "Bản trình 2026-12.c3 đã được second ký nhưng chưa công bố." in told.mails[0][2]
        told = morning(25)
        assert len(told.to) == 3 and told.mails[0][1].endswith("đã quá hạn 1 ngày làm việc")

        story.publish(third)
        told = morning(25, hour=12)
        assert len(told.to) == 3 and {mail[1] for mail in told.mails} == {"[Hài lòng] Kỳ 2026-12: đã công bố"}
        assert [post["roles"] for post in told.posts] == [["engineer", "head", "office"]]
        assert morning(26).to == []
        assert check(watched, datetime(2026, 12, 26)).ok

        seen = connection.execute("select topic, roles, detail from ops.notification").fetchall()
    assert {topic for topic, _, _ in seen} == {"deadline/2026-12"}
    assert "@" not in str(seen)


def test_it_is_heard_when_nothing_ever_ran(watched: Settings, receivers: tuple[Mailbox, Hook]) -> None:
    """No feed, no build, no calendar in the database: the repository's seeds still say when it is due."""
    morning = Morning(watched, *receivers)
    told = morning(15)
    assert told.to == ["ky-su", "van-phong"] and told.mails[0][1] == "[Hài lòng] Không kiểm tra được hạn công bố"
    assert "chưa được tính xong lần nào" in told.mails[0][2]
    assert morning(17).to == []
    assert morning(18).to == ["ky-su"] * 3  # month, quarter and year end on the same day
    told = morning(23)
    assert told.to.count("lanh-dao") == 3
    assert all("dossier: chưa được nạp lần nào" in text and "chưa được tính lần nào" in text for *_, text in told.mails)
    assert morning(26).to.count("lanh-dao") == 3
    with connect(watched, autocommit=True) as connection:
        Story(connection).seeds(watched)
        assert [subject for _, subject, _ in morning(26).mails] == ["[Hài lòng] Đã kiểm tra lại được hạn công bố"] * 2
        connection.execute("drop table rules.publication_calendar")
        assert morning(26).mails[0][1] == "[Hài lòng] Không kiểm tra được hạn công bố"  # again, and heard again


def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hailong.cli", "status", *arguments],
        capture_output=True, text=True, env={**os.environ, **settings.env}, check=False, timeout=60,
    )  # fmt: skip


def test_the_command_tells_and_fails_when_it_can_not_look_or_reach_somebody(
    watched: Settings, receivers: tuple[Mailbox, Hook]
) -> None:
    box, hook = receivers
    box.down, hook.status = False, 200
    done = command(watched, "--deadline", "--notify", "--today", "2026-12-16")
    assert done.returncode == 1 and "no build has finished" in done.stderr
    assert "mail to engineer: sent" in done.stdout
    with connect(watched, autocommit=True) as connection:
        story = Story(connection)
        story.seeds(watched)
    box.take()
    done = command(watched, "--deadline", "--notify", "--today", "2026-12-16")
    assert (done.returncode, done.stderr) == (0, "")
    hook.status = 500
    transient = replace(watched, env={**watched.env, "HAILONG_TRANSIENT_EXIT": "75"})
    done = command(transient, "--deadline", "--notify", "--today", "2026-12-18", "--json")
    assert done.returncode == 75 and "webhook to engineer: FAILED" in done.stderr  # Airflow tries it again
    said = json.loads(done.stdout)
    assert [period["state"] for period in said["periods"]] == ["past_cutoff"]
    away = replace(watched, env={**watched.env, "HAILONG_DSN": "postgresql://u:geheim@127.0.0.1:1/none"})
    box.take()
    done = command(away, "--deadline", "--notify")
    assert done.returncode == 1 and "not recorded" in done.stderr and "geheim" not in done.stderr
    assert [mail.subject for mail in box.take()] == ["[Hài lòng] Không kiểm tra được hạn công bố"] * 2
    assert command(watched, "--notify").returncode == 2
    with connect(watched, autocommit=True) as connection:
        connection.execute("revoke select on rules.scoring_policy from hailong_reader")
    done = command(watched, "--deadline", "--notify", "--today", "2026-12-18")
    assert done.returncode == 1 and "permission denied" in done.stderr
    assert "InsufficientPrivilege" in box.take()[0].text


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        (lambda s: s.build("failed"), ["feed dossier", "build failed"]),
        (lambda s: s.build("running"), ["feed dossier", "build running"]),
        (lambda s: [s.read("dossier", "2026-12-15"), s.build(as_of=0)], ["build reads too little"]),
        (lambda s: [s.read("dossier", "2026-12-15"), s.build(), s.read("petition", "2026-12-15")], ["build reads too little"]),
        (lambda s: [s.read("dossier", "2026-12-15"), s.build(), s.read("petition", "2026-12-16", "2026-12-18")], []),
        (lambda s: [s.read("dossier", "2026-12-15"), s.build(), s.gate("", "stop", "x.y", scope="landed")], ["landed x.y"]),
        (lambda s: s.candidate(1), ["gate 2026-12.c1"]),
        (lambda s: [s.candidate(1), s.gate("2026-12.c1", "pass", digest="1" * 64)], ["gate 2026-12.c1"]),
        (
            lambda s: [s.candidate(1), s.gate("2026-12.c1", "pass"), s.decide("2026-12.c1", "approved", digest="1" * 64)],
            ["unsigned 2026-12.c1"],
        ),
        (
            lambda s: [s.build("failed"), s.candidate(1), s.gate("2026-12.c1", "pass"), s.decide("2026-12.c1", "rejected")],
            ["feed dossier", "build failed", "refused 2026-12.c1"],
        ),
    ],
)  # fmt: skip
def test_what_is_missing(module_warehouse: Settings, happened: Callable[[Story], object], expected: list[str]) -> None:
    with connect(module_warehouse) as connection:
        story = Story(connection)
        for feed in ("rating", "portal_evaluation"):
            story.read(feed, "2026-12-15")
        happened(story)
        found = [item.key for item in missing(connection, module_warehouse, CLOSING, PERIOD, CUTOFF)]
        connection.rollback()
    with_candidate = any("2026-12.c1" in key for key in expected)
    for key, wanted in zip(found, [*expected, *([] if with_candidate else ["candidate"])], strict=True):
        assert key.startswith(wanted), found


def test_a_feed_that_was_read_from_the_middle_of_the_period_on_is_missing(module_warehouse: Settings) -> None:
    with connect(module_warehouse) as connection:
        story = Story(connection)
        story.read("rating", "2026-12-15", since="2026-11-16")
        story.read("portal_evaluation", "2026-12-15", since="2026-11-15")
        story.read("dossier", "2026-12-10", since="2026-11-20")
        first, second, *_ = missing(connection, module_warehouse, CLOSING, PERIOD, CUTOFF)
        connection.rollback()
    assert (first.key, second.key) == ("feed dossier", "feed rating")
    assert first.vietnamese.endswith(
        "chỉ đọc từ 00:00 ngày 20/11/2026, thiếu từ ngày 15/11/2026; "
        "mới đọc đến 00:00 ngày 10/12/2026, chưa đến hết ngày 14/12/2026"
    )
    assert second.vietnamese.endswith("rating: chỉ đọc từ 00:00 ngày 16/11/2026, thiếu từ ngày 15/11/2026")
    assert "rating begins with 16/11/2026 00:00" in second.english


def test_a_signature_that_nobody_can_give_is_said(module_warehouse: Settings) -> None:
    with connect(module_warehouse) as connection:
        story = Story(connection)
        story.gate(story.candidate(1), "pass")
        alone = replace(module_warehouse, signers=("deputy",))
        (found,) = missing(connection, alone, CLOSING, PERIOD, CUTOFF)
        connection.rollback()
    assert "nobody" in found.english and "không có ai" in found.vietnamese


@pytest.mark.parametrize(
    ("state", "left", "step"),
    [
        ("past_cutoff", 4, "cut_off"), ("past_cutoff", 3, "left 3"), ("due_soon", 2, "left 3"), ("due_soon", 1, "left 1"),
        ("due_soon", 0, "left 0"), ("overdue", 0, "late 0"), ("overdue", -1, "late 1"), ("overdue", -4, "late 1"),
        ("overdue", -9, "late 5"),
    ],
)  # fmt: skip
def test_the_schedule_of_the_repository_says_whose_turn_it_is(state: str, left: int, step: str) -> None:
    period = DuePeriod(PERIOD, CUTOFF, CUTOFF, CUTOFF, None, state, left)
    name, turn = read_schedule().step(period)
    assert name == step
    assert ("head" in turn.roles) is (left < 2) and "engineer" in turn.roles


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("why: \"Due today at 17:00\"", "why: ''"), "needs roles and a why"),
        (("since: 2026-11-29, why: \"Due today", "why: \"Due today"), "since"),
        (("[engineer], since", "[], since"), "needs roles and a why"),
        (("  0: {roles: [engineer, office, head], since: 2026-11-29, why: \"The own", "  2: {roles: [engineer], "
          "since: 2026-11-29, why: \"The own"), "'late' needs the step 0"),
        (("blind:", "blond:"), "blond"),
        (("\nleft:", "\nleft: ["), "cannot be read"),
    ],
)  # fmt: skip
def test_a_schedule_that_would_leave_somebody_untold_is_refused(
    tmp_path: Path, change: tuple[str, str], why: str
) -> None:
    text = SCHEDULE.read_text(encoding="utf-8")
    assert change[0] in text
    path = tmp_path / "escalation.yaml"
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(PermanentError, match=why):
        read_schedule(path)
