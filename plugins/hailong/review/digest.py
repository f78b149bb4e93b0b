"""What is new among the findings, told once to the owner of each source, in Vietnamese.

New is what was opened or opened again since the owner's last digest, or concerns this owner only since then, or became critical
since then, and still stands open. What somebody answers for, what is closed, and what an earlier digest told of is not told
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row

from hailong.notify import NOBODY, Delivery, Message, deliver, is_configured, must_reach
from hailong.review import ROLE, owners, words
from hailong.review.findings import EVERYTHING, local_day
from hailong.settings import Settings
from hailong.warehouse.connect import connect

KEYS = 10  # of a finding so many records are named; the workbook has more


@dataclass(frozen=True)
class Digest:
    """The new findings of one owner. `others`: open ones that were told before."""

    owner: str
    findings: tuple[dict[str, Any], ...]
    others: int
    last_event_id: int

    @property
    def message(self) -> Message:
        ours = self.owner == owners.OURS
        about = "về kho dữ liệu" if ours else "về nguồn dữ liệu do cơ quan quản lý"
        lines = [
            f"Kính gửi: {words.OURS if ours else self.owner}.",
            "",
            f"Kiểm tra chất lượng dữ liệu có {len(self.findings)} phát hiện mới {about}:",
        ]
        for number, row in enumerate(self.findings, start=1):
            lines += ["", *_told(number, row)]
        if self.others:
            lines += ["", f"Ngoài ra còn {self.others} phát hiện đã báo trước đây vẫn chưa khắc phục."]
        if not ours:
            lines += [
                "",
                "Đề nghị sửa tại hệ thống nguồn; lần đọc dữ liệu sau sẽ tự kiểm tra lại. Danh sách bản ghi cần sửa có trong "
                "bảng tính hằng tháng. Nếu chưa thể sửa, đề nghị cho biết lý do và thời hạn để ghi nhận.",
            ]
        return Message(
            topic=f"findings/{owners.code(self.owner)}",
            state=str(self.last_event_id),
            subject=f"Hài lòng: {len(self.findings)} phát hiện mới về chất lượng dữ liệu",
            text="\n".join(lines),
            roles=(owners.role(self.owner),),
        )


@dataclass(frozen=True)
class Sent:
    """What became of one digest; `delivery` is None in a dry run and where there is no channel."""

    digest: Digest
    delivery: Delivery | None

    @property
    def handed_over(self) -> bool:
        """By every channel there is: an owner without an address is not told by a webhook that others read."""
        attempts = self.delivery.attempts if self.delivery else ()
        return bool(attempts) and all(attempt.outcome in ("sent", "known") for attempt in attempts)


def compose(connection: psycopg.Connection, today: date) -> list[Digest]:
    """One digest per owner who has something new, in the order of the names."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "select * from dq.finding_on(%s) where state = 'open' order by finding_id", (today,)
        ).fetchall()
    told: dict[str, int] = dict(
        connection.execute("select owner, max(last_event_id) from dq.digest group by owner").fetchall()
    )
    named: dict[tuple[int, str], int] = {}  # since which event a finding, as it stands, is an owner's; or is critical
    critical = set()
    events = connection.execute(
        "select e.finding_id, e.owner, e.event_id, e.severity from dq.finding_event as e "
        "inner join dq.finding_on(%s) as f on e.finding_id = f.finding_id and e.event_id >= f.event_id "
        "where f.state = 'open' and e.owner is not null order by e.event_id",
        (today,),
    )
    for finding_id, names, event_id, severity in events:
        for key in ((finding_id, name) for name in owners.of(names)):
            if key not in named or (severity == "critical" and key not in critical):
                named[key] = event_id
            if severity == "critical":
                critical.add(key)
    found = []
    for owner in sorted({name for row in rows for name in owners.of(row["owner"])}):
        own = [row for row in rows if owner in owners.of(row["owner"])]
        new = [
            row
            for row in own
            if row["event"] in ("opened", "reopened") and named[row["finding_id"], owner] > told.get(owner, 0)
        ]
        if new:
            new.sort(key=lambda row: (row["severity"] != "critical", row["expectation_id"], row["scope"]))
            last = max(named[row["finding_id"], owner] for row in new)
            found.append(Digest(owner, tuple(new), len(own) - len(new), last))
    return found


def send(settings: Settings, dry_run: bool = False, today: date | None = None) -> list[Sent]:
    """Deliver every digest, and record those that were handed over: nothing of them is told again.

    TransientError at the end when a channel failed; what nobody could be told stays new.
    """
    with connect(settings, ROLE) as connection:
        digests = compose(connection, today or local_day(settings))
    if dry_run or not is_configured(settings):
        return [Sent(digest, None) for digest in digests]
    done = []
    for digest in digests:
        sent = Sent(digest, deliver(settings, digest.message, ROLE))
        done.append(sent)
        if sent.handed_over:
            with connect(settings, ROLE) as connection:
                connection.execute(
                    "insert into dq.digest (owner, last_event_id, findings) values (%s, %s, %s)",
                    (digest.owner, digest.last_event_id, len(digest.findings)),
                )
    must_reach([sent.delivery for sent in done if sent.delivery])
    return done


def report(done: list[Sent], dry_run: bool) -> str:
    """What is said of a run on the command line."""
    if not done:
        return "No new finding since the last digest."
    lines = []
    for sent in done:
        if dry_run:
            message = sent.digest.message
            lines += [f"To {', '.join(message.roles)}: {message.subject}", "", message.text, ""]
        elif sent.delivery:
            lines.append(f"{sent.digest.owner}: {len(sent.digest.findings)} new findings")
            lines.append(sent.delivery.message)
        else:
            lines.append(f"{sent.digest.owner}: {len(sent.digest.findings)} new findings, told to nobody")
    if not dry_run and not any(sent.delivery for sent in done):
        lines.append(NOBODY)
    return "\n".join(lines)


def _told(number: int, row: dict[str, Any]) -> list[str]:
    scope = f"kỳ {row['scope']}" if row["scope_kind"] == "period" else f"nguồn {row['scope']}"
    again = ", xuất hiện trở lại" if row["event"] == "reopened" else ""
    where = "" if row["scope"] == EVERYTHING else f" ({scope})"
    lines = [f"{number}. {words.SEVERITIES[row['severity']]}: {row['reason']}{where}{again}."]
    if keys := [key for key in row["failing_keys"] if not key.startswith(row["scope"]) or row["scope_kind"] == "feed"]:
        rest = f" và {len(keys) - KEYS} mục khác" if len(keys) > KEYS else ""
        lines.append(f"   Bản ghi, đơn vị: {', '.join(keys[:KEYS])}{rest}.")
    lines.append(f"   Số hiệu phát hiện: {row['finding_id']}; mã kiểm tra: {row['expectation_id']}.")
    return lines
