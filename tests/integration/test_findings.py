"""A finding over many nights: opened once, known, answered for, closed, opened again; told once to whom it concerns."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import count

import psycopg
import pytest

from expectations import gate
from expectations.suites import landed as landed_suite
from hailong.errors import PermanentError, TransientError, UsageError
from hailong.review import digest, findings
from hailong.review.findings import Failure, Tally
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from tests.integration.test_gate import _insert, add_batch
from tests.receivers import mailbox, webhook

MONDAY = date(2026, 11, 2)
OFFICE, RATERS = "Văn phòng Ủy ban nhân dân Thành phố", "Sở Nội vụ Thành phố"
RULE = ("dossier.receipt_year", "dossier")
_numbers = count(1)


def failure(
    rule: tuple[str, str] = RULE, severity: str = "warning", owner: str = OFFICE, keys: Iterable[str] = ("D1",)
) -> Failure:
    return Failure(*rule, severity, owner, "Năm tiếp nhận không hợp lý", "1 of 1 rows", tuple(keys))


def night(
    settings: Settings,
    *failures: Failure,
    passed: Iterable[tuple[str, str]] = (),
    today: date = MONDAY,
    kind: str = "feed",
) -> Tally:
    """A run of the gate that saw these failures."""
    run_id = f"landed.b1.g{next(_numbers)}"
    with connect(settings, "hailong_gate") as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (findings.LOCK,))
        connection.execute(
            "insert into dq.run (run_id, scope, as_of_batch, started_at, finished_at, disposition, expectations) "
            "values (%s, 'landed', 1, now(), now(), 'warn', 1)",
            (run_id,),
        )
        return findings.record(connection, run_id, kind, failures, set(passed), today)


def history(settings: Settings, finding_id: int) -> list[str]:
    return [event["event"] for event in findings.show(settings, finding_id, MONDAY)[1]]


def test_a_finding_has_one_life_over_many_nights(warehouse: Settings) -> None:
    def state(day: date) -> str:
        (found,) = findings.find(warehouse, "all", today=day)
        return str(found["state"])

    assert night(warehouse, failure()) == Tally(new=1)
    assert night(warehouse, failure(keys=("D1", "D2"))) == night(warehouse, failure()) == Tally(known=1)
    (found,) = findings.find(warehouse)
    number = found["finding_id"]
    assert (found["failures"], found["failing_keys"], found["owner"]) == (3, ["D1"], OFFICE)
    assert history(warehouse, number) == ["opened", "seen", "seen"]

    until = date(2026, 11, 5)
    known = findings.acknowledge(warehouse, number, "Nguyễn Văn A", "nguồn sửa trong tuần", until, MONDAY)
    assert (known["state"], known["by"], known["until"]) == ("acknowledged", "Nguyễn Văn A", until)
    assert night(warehouse, failure(), today=until) == Tally(acknowledged=1)
    assert state(until) == "acknowledged" and findings.find(warehouse, "open", today=until) == []
    after = date(2026, 11, 6)
    assert state(after) == "open"  # it ran out, with or without a run
    assert night(warehouse, failure(), today=after) == Tally(new=1)
    assert night(warehouse, failure(), today=after) == Tally(known=1)

    assert night(warehouse, passed=[RULE], today=after) == Tally(closed=1)
    assert night(warehouse, passed=[RULE], today=after) == Tally()
    assert state(after) == "closed" and findings.find(warehouse, today=after) == []
    assert night(warehouse, failure(), today=after) == Tally(new=1)
    assert findings.close(warehouse, number, "Trần Thị B", "đã sửa", after)["state"] == "closed"
    assert night(warehouse, failure(severity="critical"), today=after) == Tally(new=1)
    (found,) = findings.find(warehouse, today=after)
    assert (found["finding_id"], found["state"], found["severity"]) == (number, "open", "critical")
    assert history(warehouse, number) == [
        "opened", "seen", "seen", "acknowledged", "seen", "reopened", "seen", "closed", "reopened", "closed", "reopened",
    ]  # fmt: skip
    _, events = findings.show(warehouse, number, after)
    assert [event["why"] for event in events if event["why"]] == ["nguồn sửa trong tuần", findings.RAN_OUT, "đã sửa"]


def test_an_acknowledgement_covers_the_units_of_a_period_that_failed_then_and_every_night_of_a_feed(
    warehouse: Settings,
) -> None:
    period = ("units.blocked", "2026-10")
    night(warehouse, failure(period, keys=("HCM.P1", "HCM.P2")), kind="period")
    night(warehouse, failure())
    ours, feed = (row["finding_id"] for row in findings.find(warehouse, today=MONDAY))
    for number in (ours, feed):
        findings.acknowledge(warehouse, number, "Nguyễn Văn A", "đã biết", date(2026, 11, 20), MONDAY)
    assert night(warehouse, failure(period, keys=("HCM.P2",)), kind="period") == Tally(acknowledged=1)
    # Known then, though not of the night before.
    assert night(warehouse, failure(period, keys=("HCM.P1",)), kind="period") == Tally(acknowledged=1)
    assert night(warehouse, failure(keys=("D7", "D8"))) == Tally(acknowledged=1)
    assert night(warehouse, failure(period, keys=("HCM.P1", "HCM.P9", "HCM.P3")), kind="period") == Tally(new=1)
    assert findings.show(warehouse, ours, MONDAY)[1][-1]["why"] == findings.NOT_KNOWN + "HCM.P3, HCM.P9"
    assert [row["finding_id"] for row in findings.find(warehouse, "open", today=MONDAY)] == [ours]

    # Where a hundred failed, which others did is not on record: they are covered.
    many = tuple(f"HCM.X{number:03}" for number in range(findings.KEYS))
    night(warehouse, failure(period, keys=many), kind="period")
    findings.acknowledge(warehouse, ours, "Nguyễn Văn A", "đã biết", date(2026, 11, 20), MONDAY)
    assert night(warehouse, failure(period, keys=("HCM.P1",)), kind="period") == Tally(acknowledged=1)


def test_only_a_run_that_looked_closes_and_info_makes_no_finding(warehouse: Settings) -> None:
    other = ("dossier.receipt_year", "rating")
    assert night(warehouse, failure(), failure(other)) == Tally(new=2)
    assert night(warehouse, failure(severity="info", rule=("days.judged", "dossier"))) == Tally()
    assert night(warehouse, passed=[other]) == Tally(closed=1)
    assert [row["scope"] for row in findings.find(warehouse, today=MONDAY)] == ["dossier"]
    assert night(warehouse, passed=[RULE], kind="period") == Tally()  # another kind of scope


def test_lists_by_state_owner_and_period(warehouse: Settings) -> None:
    night(warehouse, failure(), failure(("rating.key", "rating"), owner=RATERS))
    night(warehouse, failure(("units.blocked", "2026-10")), kind="period")
    assert {row["scope"] for row in findings.find(warehouse, owner=OFFICE)} == {"dossier", "2026-10"}
    assert [row["scope"] for row in findings.find(warehouse, period="2026-10") if row["scope_kind"] == "period"] == [
        "2026-10"
    ]
    assert [row for row in findings.find(warehouse, period="2025-01")] == []
    with pytest.raises(UsageError, match="owners that have: Sở Nội vụ"):
        findings.find(warehouse, owner="Sở Y tế")
    with pytest.raises(UsageError, match="open, acknowledged, closed or all"):
        findings.find(warehouse, "shut")


def test_what_must_be_refused_is_refused(warehouse: Settings) -> None:
    night(warehouse, failure())
    (found,) = findings.find(warehouse)
    number = found["finding_id"]
    with pytest.raises(PermanentError, match=r"no finding 999.*findings list"):
        findings.acknowledge(warehouse, 999, "x", "y", MONDAY, MONDAY)
    with pytest.raises(UsageError, match="is past"):
        findings.acknowledge(warehouse, number, "x", "y", date(2026, 11, 1), MONDAY)
    for by, why in ((" ", "y"), ("x", "")):
        with pytest.raises(UsageError, match="who and why"):
            findings.acknowledge(warehouse, number, by, why, MONDAY, MONDAY)
        with pytest.raises(UsageError, match="who and why"):
            findings.close(warehouse, number, by, why, MONDAY)
    findings.close(warehouse, number, "x", "y", MONDAY)
    for again in (
        lambda: findings.close(warehouse, number, "x", "y", MONDAY),
        lambda: findings.acknowledge(warehouse, number, "x", "y", MONDAY, MONDAY),
    ):
        with pytest.raises(PermanentError, match="is closed since"):
            again()
    assert history(warehouse, number) == ["opened", "closed"]


@pytest.mark.parametrize(
    ("events", "statement", "told"),
    [
        ((), "insert into dq.finding_event (finding_id, event, by, why) values (1, 'closed', 'x', 'y')", "not opened"),
        (("night",), "insert into dq.finding_event (finding_id, event, run_id, severity, owner, reason) "
         "select 1, 'reopened', run_id, 'warning', 'o', 'r' from dq.run", "refused, because it is opened"),
        (("night",), "insert into dq.finding_event (finding_id, event, by, why) values (1, 'acknowledged', 'x', 'y')", "person"),
        (("night",), "insert into dq.finding_event (finding_id, event, by) values (1, 'closed', 'x')", "run_or_a_person"),
        (("night",), "update dq.finding_event set severity = 'warning'", "append-only"),
        (("night",), "delete from dq.finding", "append-only"),
        (("night",), "truncate dq.result", "append-only"),
        (("night",), "update dq.run set disposition = 'pass'", "append-only"),
    ],
)  # fmt: skip
def test_history_cannot_be_written_otherwise(
    warehouse: Settings, events: tuple[str], statement: str, told: str
) -> None:
    if events:
        night(warehouse, failure())
    with connect(warehouse, "hailong_gate", autocommit=True) as connection:
        if not events:
            connection.execute("insert into dq.finding (expectation_id, scope_kind, scope) values ('x', 'feed', 'y')")
        with pytest.raises(psycopg.Error, match=told):
            connection.execute(statement)  # type: ignore[arg-type]


def test_the_gate_writes_findings_with_its_run_and_an_acknowledgement_decides_nothing(warehouse: Settings) -> None:
    wanted = {"findings.new_field", "batches.raw_agrees", "batches.adds_up"}
    suite = [check for check in landed_suite.suite() if check.id in wanted]
    with connect(warehouse, autocommit=True) as connection:
        for feed in landed_suite.REGISTERS:
            add_batch(connection, feed, f"{feed:x<64}".encode().hex()[:64], received=0, loaded=0)
        batch = add_batch(connection, "rating", "d" * 64, received=0, loaded=0)
        row = {"batch_id": batch, "feed": "rating", "rule": "new_field", "field": "mauMoi", "records": 3, "detail": "x"}
        _insert(connection, "ops.batch_finding", row)

        def run(day: int) -> gate.Run:
            return gate.run_landed(warehouse, suite, now=datetime(2026, 11, day, 20, tzinfo=UTC))

        first = run(1)
        assert (first.disposition, first.tally) == ("warn", Tally(new=1)), first.failed
        (found,) = findings.find(warehouse, today=MONDAY)
        assert (found["expectation_id"], found["scope"], found["owner"]) == ("findings.new_field", "rating", RATERS)
        assert found["failing_keys"] == [f"rating/{batch}/new_field mauMoi"] and found["last_run_id"] == first.run_id
        findings.acknowledge(warehouse, found["finding_id"], "Nguyễn Văn A", "sẽ sửa", date(2026, 11, 4), MONDAY)
        second = run(2)
        assert (second.disposition, second.tally) == ("warn", Tally(acknowledged=1))
        (warning,) = json.loads(second.as_json())["warnings"]
        assert warning["known"] == "rating: Nguyễn Văn A đã biết, đến hết ngày 04/11/2026: sẽ sửa"
        # A newer batch without it closes the finding; what that batch lacks in raw stops, known or not.
        add_batch(connection, "rating", "e" * 64, received=2, loaded=2)
        third = run(3)
        assert (third.disposition, third.tally) == ("stop", Tally(new=1, closed=1))
        (worse,) = findings.find(warehouse, today=MONDAY)
        findings.acknowledge(warehouse, worse["finding_id"], "Nguyễn Văn A", "sẽ sửa", date(2026, 11, 9), MONDAY)
        assert run(4).disposition == "stop"


def equipped(settings: Settings, **env: str) -> Settings:
    return replace(settings, env={**settings.env, "HAILONG_MAIL_FROM": "hai-long@example.invalid", **env})


def numbers(done: list[digest.Sent]) -> dict[str, list[int]]:
    return {sent.digest.owner: [row["finding_id"] for row in sent.digest.findings] for sent in done}


def test_a_digest_tells_each_owner_once_what_is_new(warehouse: Settings) -> None:
    many = tuple(f"D{n:02d}" for n in range(14))
    night(
        warehouse, failure(keys=many), failure(("dossier.key", "dossier"), "critical"),
        failure(("rating.key", "rating"), owner=RATERS), failure(("flow.carried", "*"), owner="data-engineering"),
    )  # fmt: skip
    assert (
        len(digest.send(warehouse, today=MONDAY)) == 3
    )  # there is no channel: nobody is told, and nothing is recorded
    with mailbox() as box:
        settings = equipped(
            warehouse,
            HAILONG_SMTP_URL=f"smtp://127.0.0.1:{box.port}",
            HAILONG_MAIL_OWNER_VAN_PHONG_UY_BAN_NHAN_DAN_THANH_PHO="van.phong@example.invalid",
            HAILONG_MAIL_ENGINEER="ky.su@example.invalid",
        )
        assert len(digest.send(settings, dry_run=True, today=MONDAY)) == 3 and box.mails == []
        done = digest.send(settings, today=MONDAY)
        assert {sent.digest.owner: sent.handed_over for sent in done} == {
            OFFICE: True, RATERS: False, "data-engineering": True,
        }  # fmt: skip
        assert "HAILONG_MAIL_OWNER_SO_NOI_VU_THANH_PHO is not set" in digest.report(done, dry_run=False)
        assert len(box.mails) == 2
        text = next(sent.digest.message.text for sent in done if sent.digest.owner == OFFICE)
        assert "có 2 phát hiện mới" in text and "D09 và 4 mục khác" in text
        assert text.index("Nghiêm trọng") < text.index("Cảnh báo")

        night(warehouse, failure(keys=many), passed=[("dossier.key", "dossier")])
        assert set(numbers(digest.send(settings, today=MONDAY))) == {RATERS}  # still owed, and nothing of the others
        night(warehouse, failure(("dossier.key", "dossier"), "critical"))
        done = digest.send(settings, today=MONDAY)
        assert len(numbers(done)[OFFICE]) == 1 and done[-1].digest.others == 1
        assert "xuất hiện trở lại" in done[-1].digest.message.text
        assert "còn 1 phát hiện đã báo trước đây" in done[-1].digest.message.text

        night(warehouse, failure(("dossier.late", "dossier")))
        (new,) = (row for row in findings.find(warehouse, today=MONDAY) if row["expectation_id"] == "dossier.late")
        findings.acknowledge(warehouse, new["finding_id"], "x", "y", MONDAY, MONDAY)
        assert OFFICE not in numbers(digest.send(settings, today=MONDAY))  # somebody knows already
        assert len(box.mails) == 3


def test_an_owner_who_joins_a_finding_and_one_that_became_critical_are_told(warehouse: Settings) -> None:
    both = f"{OFFICE}; {RATERS}"
    with mailbox() as box, webhook() as hook:
        settings = equipped(
            warehouse,
            HAILONG_SMTP_URL=f"smtp://127.0.0.1:{box.port}",
            HAILONG_WEBHOOK_URL=hook.url,
            HAILONG_MAIL_OWNER_VAN_PHONG_UY_BAN_NHAN_DAN_THANH_PHO="van.phong@example.invalid",
        )

        def told() -> dict[str, bool]:
            return {sent.digest.owner: sent.handed_over for sent in digest.send(settings, today=MONDAY)}

        night(warehouse, failure())
        assert told() == {OFFICE: True}
        night(warehouse, failure(owner=both))
        # Whoever reads the webhook is not the department: without its address it stays owed.
        assert told() == told() == {RATERS: False}
        settings = equipped(settings, HAILONG_MAIL_OWNER_SO_NOI_VU_THANH_PHO="noi.vu@example.invalid")
        assert told() == {RATERS: True}
        night(warehouse, failure(owner=both))
        assert told() == {}
        night(warehouse, failure(owner=both, severity="critical"))
        assert told() == {OFFICE: True, RATERS: True}
        night(warehouse, failure(owner=both, severity="critical"))
        assert told() == {}


def test_a_digest_that_failed_is_told_by_the_next_run(warehouse: Settings) -> None:
    night(warehouse, failure())
    with webhook() as hook:
        settings = equipped(warehouse, HAILONG_WEBHOOK_URL=hook.url)
        hook.status = 503
        with pytest.raises(TransientError, match="not everybody was told"):
            digest.send(settings, today=MONDAY)
        hook.status = 200
        hook.calls.clear()
        assert digest.send(settings, today=MONDAY)[0].handed_over
        assert len(hook.calls) == 1
        assert digest.send(settings, today=MONDAY) == []


def test_the_command_line_shows_answers_for_and_closes(
    warehouse: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hailong.cli import main

    monkeypatch.setattr(Settings, "load", classmethod(lambda cls, env=None: warehouse))

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["findings", *arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err

    assert run("list") == (0, "No such finding.\n")
    night(warehouse, failure())
    status, text = run("list", "--json")
    number = str(json.loads(text)[0]["finding_id"])
    assert status == 0
    who: tuple[str, ...] = ("--by", "Nguyễn Văn A", "--why", "sẽ sửa")
    cases: tuple[tuple[tuple[str, ...], int, str], ...] = (
        (("list",), 0, "dossier.receipt_year"),
        (("ack", number, *who, "--until", "mai"), 2, "is not a day"),
        (("ack", number, *who, "--until", "2020-01-01"), 2, "is past"),
        (("ack", number, *who, "--until", "2999-12-31"), 0, "acknowledged until 2999-12-31 by Nguyễn Văn A"),
        (("list", "--state", "open"), 0, "No such finding"),
        (("show", number), 0, "Nguyễn Văn A"),
        (("show", "77"), 1, "no finding 77"),
        (("close", number, *who), 0, "closed by Nguyễn Văn A"),
        (("close", number, *who), 1, "is closed since"),
        (("list", "--state", "shut"), 2, "open, acknowledged, closed or all"),
        (("digest", "--dry-run"), 0, "No new finding"),
        (("workbook", "--period", "2026-10", "--owner", "Sở Y tế", "--out", "/tmp"), 2, "owns no feed"),
        (("workbook", "--period", "2026-10", "--out", "/tmp"), 1, "hailong build"),
    )
    for arguments, expected, told in cases:
        status, text = run(*arguments)
        assert status == expected and told in text, (arguments, status, text)
