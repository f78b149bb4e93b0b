"""Findings of the gate: one per rule and scope, open until a run no longer sees it or a person closes it.

An acknowledgement says who knows of a finding, why it stays and until which day. It stops repeated digests and stands beside
the warning on the sign-off. It decides nothing: a critical failure stops the gate, and a warning must be quoted by the signer,
acknowledged or not. Of a period it covers the units that failed then: another one opens the finding again. (Of a feed it covers
what comes each night, where the records are always others.) What a signer quoted is closed in his name when it is published.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import dict_row

from hailong.errors import PermanentError, UsageError
from hailong.periods import parse_period
from hailong.review import ROLE
from hailong.settings import Settings
from hailong.warehouse.connect import connect

LOCK = 104_003  # one writer of runs and findings at a time
STATES = ("open", "acknowledged", "closed")
EVERYTHING = "*"  # the scope of an expectation on all feeds together
RAN_OUT = "the acknowledgement ran out"
NOT_KNOWN = "not among what was acknowledged: "
KEYS = 100  # of a failure, at most
SEVERE = ("critical", "warning")  # what makes a finding; info is recorded in `dq.result` only


@dataclass(frozen=True)
class Failure:
    """What a run saw of one rule in one scope."""

    expectation_id: str
    scope: str
    severity: str
    owner: str
    reason: str
    observed: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Tally:
    """What a run did to the findings. `known`: failed before and stay open; `acknowledged`: somebody answers for them."""

    new: int = 0
    known: int = 0
    acknowledged: int = 0
    closed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    @property
    def message(self) -> str:
        return f"findings: {self.new} new, {self.known} known, {self.acknowledged} acknowledged, {self.closed} closed"


def local_day(settings: Settings, now: datetime | None = None) -> date:
    return (now or datetime.now(UTC)).astimezone(ZoneInfo(settings.timezone)).date()


def record(
    connection: psycopg.Connection,
    run_id: str,
    scope_kind: str,
    failures: Sequence[Failure],
    passed: Collection[tuple[str, str]],
    today: date,
) -> Tally:
    """Write what a run means for the findings, in the transaction that records the run; the caller holds `LOCK`.

    `passed`: (expectation, scope) that the run looked at and that does not fail: only that closes a finding.
    """
    standing = {
        (row["expectation_id"], row["scope"]): row for row in _on(connection, today) if row["scope_kind"] == scope_kind
    }
    counts = dict.fromkeys(("new", "known", "acknowledged", "closed"), 0)
    for failure in failures:
        if failure.severity not in SEVERE:
            continue
        found = standing.get((failure.expectation_id, failure.scope))
        event, why, counted = _next(found, _unknown(connection, found, failure) if found else [])
        finding_id = found["finding_id"] if found else _identify(connection, failure, scope_kind)
        counts[counted] += 1
        connection.execute(
            "insert into dq.finding_event (finding_id, event, why, run_id, severity, owner, reason, observed, failing_keys) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                finding_id, event, why, run_id, failure.severity, failure.owner, failure.reason, failure.observed,
                list(failure.keys),
            ),
        )  # fmt: skip
    for key in sorted(set(passed) & standing.keys()):
        if standing[key]["state"] != "closed":
            counts["closed"] += 1
            connection.execute(
                "insert into dq.finding_event (finding_id, event, run_id) values (%s, 'closed', %s)",
                (standing[key]["finding_id"], run_id),
            )
    return Tally(**counts)


def _unknown(connection: psycopg.Connection, found: dict[str, Any], failure: Failure) -> list[str]:
    """Units that fail now and did not when a period's finding was acknowledged; none where too many failed to know."""
    if found["state"] != "acknowledged" or found["scope_kind"] != "period":
        return []
    row = connection.execute(
        "select failing_keys from dq.finding_event where finding_id = %s and event_id < %s "
        "and event in ('opened', 'seen', 'reopened') order by event_id desc limit 1",
        (found["finding_id"], found["event_id"]),
    ).fetchone()
    known = row[0] if row else []
    return sorted(set(failure.keys) - set(known)) if len(known) < KEYS else []


def _next(found: dict[str, Any] | None, unknown: Sequence[str]) -> tuple[str, str | None, str]:
    """(event, why, what it counts as) of a rule that fails now; `unknown`: keys that its acknowledgement does not cover."""
    if found is None:
        return "opened", None, "new"
    if found["state"] == "closed":
        return "reopened", None, "new"
    if found["state"] == "acknowledged" and unknown:
        return "reopened", NOT_KNOWN + ", ".join(unknown), "new"
    if found["state"] == "acknowledged":
        return "seen", None, "acknowledged"
    if found["event"] == "acknowledged":
        return "reopened", RAN_OUT, "new"
    return "seen", None, "known"


def _identify(connection: psycopg.Connection, failure: Failure, scope_kind: str) -> int:
    row = connection.execute(
        "insert into dq.finding (expectation_id, scope_kind, scope) values (%s, %s, %s) returning finding_id",
        (failure.expectation_id, scope_kind, failure.scope),
    ).fetchone()
    assert row
    return int(row[0])


def _on(connection: psycopg.Connection, today: date) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from dq.finding_on(%s) order by finding_id", (today,)).fetchall()


def acknowledged(
    connection: psycopg.Connection, scope_kind: str, failing: Collection[tuple[str, str]], today: date
) -> dict[str, list[dict[str, Any]]]:
    """By expectation, those of these (expectation, scope) that somebody answers for today."""
    known: dict[str, list[dict[str, Any]]] = {}
    for row in _on(connection, today):
        key = (row["expectation_id"], row["scope"])
        if row["state"] == "acknowledged" and row["scope_kind"] == scope_kind and key in failing:
            known.setdefault(row["expectation_id"], []).append(row)
    return known


def close_published(settings: Settings, edition_id: str) -> int:
    """Close what the signer of an edition quoted, in his name: it was published with it, and nobody is left to do anything until
    a restatement sees it again. Returns how many were still open; an edition of before findings has none. Safe to repeat.
    """
    with connect(settings, ROLE) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        signed = connection.execute(
            "select e.period_code, a.decided_by, a.warnings_seen, e.gate_run_id from publish.edition as e "
            "inner join publish.approval as a on a.candidate_id = e.candidate_id and a.decision = 'approved' "
            "where e.edition_id = %s order by a.decided_at desc limit 1",
            (edition_id,),
        ).fetchone()
        if signed is None:
            return 0
        period, by, quoted, run_id = signed
        closed = [
            row["finding_id"]
            for row in _on(connection, local_day(settings))
            if row["scope_kind"] == "period" and row["scope"] == period and row["state"] != "closed"
            and row["expectation_id"] in quoted and row["last_run_id"] == run_id
        ]  # fmt: skip
        for finding_id in closed:
            connection.execute(
                "insert into dq.finding_event (finding_id, event, by, why) values (%s, 'closed', %s, %s)",
                (finding_id, by, f"quoted by the signer and published as {edition_id}"),
            )
    return len(closed)


# -- by people ----------------------------------------------------------------------------------------------------------


def find(
    settings: Settings,
    state: str | None = None,
    owner: str | None = None,
    period: str | None = None,
    today: date | None = None,
) -> list[dict[str, Any]]:
    """Findings in one state (default: all that are not closed; `all`: every one), of an owner, of a period.

    Of a period are those of its candidates, and those of feeds that failed on one of its days.
    """
    if state not in (None, "all", *STATES):
        raise UsageError(f"--state {state!r} is none: write {', '.join(STATES)} or all")
    window = parse_period(settings.rules, period) if period else None
    with connect(settings, ROLE) as connection:
        rows = _on(connection, today or local_day(settings))
        failed_then = set()
        if window:
            failed_then = {
                finding_id
                for (finding_id,) in connection.execute(
                    "select distinct finding_id from dq.finding_event where event in ('opened', 'seen', 'reopened') "
                    "and (at at time zone %s)::date >= %s and (at at time zone %s)::date < %s",
                    (settings.timezone, window.start, settings.timezone, window.end),
                ).fetchall()
            }
        if owner and owner not in (owners := sorted({row["owner"] for row in rows})):
            raise UsageError(f"--owner {owner!r} has no finding; owners that have: {', '.join(owners) or 'none'}")
    return [
        row
        for row in rows
        if (row["state"] != "closed" if state is None else state in ("all", row["state"]))
        and (owner is None or row["owner"] == owner)
        and (
            window is None
            or (row["scope"] == window.code if row["scope_kind"] == "period" else row["finding_id"] in failed_then)
        )
    ]


def show(settings: Settings, finding_id: int, today: date | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A finding as it stands, and everything that happened to it."""
    with connect(settings, ROLE) as connection:
        found = _one(connection, finding_id, today or local_day(settings))
        with connection.cursor(row_factory=dict_row) as cursor:
            events = cursor.execute(
                "select event_id, at, event, by, why, until, run_id, severity, observed, failing_keys from dq.finding_event "
                "where finding_id = %s order by event_id",
                (finding_id,),
            ).fetchall()
    return found, events


def acknowledge(
    settings: Settings, finding_id: int, by: str, why: str, until: date, today: date | None = None
) -> dict[str, Any]:
    """Somebody answers for a finding until a local day, that day included; the finding as it stands then.

    UsageError without a name, a reason or a day to come; PermanentError when it is closed or unknown.
    """
    day = today or local_day(settings)
    by, why = _said(by, why)
    if until < day:
        raise UsageError(f"--until {until} is past: name the last day on which you answer for it, {day} or later")
    return _write(settings, finding_id, "acknowledged", by, why, until, day)


def close(settings: Settings, finding_id: int, by: str, why: str, today: date | None = None) -> dict[str, Any]:
    """A person closes a finding; the next run in which it fails opens it again. PermanentError when it is closed or unknown."""
    by, why = _said(by, why)
    return _write(settings, finding_id, "closed", by, why, None, today or local_day(settings))


def _said(by: str, why: str) -> tuple[str, str]:
    if not by.strip() or not why.strip():
        raise UsageError("say who and why, so that it can be read in a year: --by 'Nguyễn Văn A' --why 'reason'")
    return by.strip(), why.strip()


def _write(
    settings: Settings, finding_id: int, event: str, by: str, why: str, until: date | None, today: date
) -> dict[str, Any]:
    with connect(settings, ROLE) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        found = _one(connection, finding_id, today)
        if found["state"] == "closed":
            raise PermanentError(
                f"finding {finding_id} ({found['expectation_id']}, {found['scope']}) is closed since "
                f"{found['event_at']:%Y-%m-%d}: nothing to do until a run of the gate opens it again"
            )
        connection.execute(
            "insert into dq.finding_event (finding_id, event, by, why, until) values (%s, %s, %s, %s, %s)",
            (finding_id, event, by, why, until),
        )
        return _one(connection, finding_id, today)


def _one(connection: psycopg.Connection, finding_id: int, today: date) -> dict[str, Any]:
    found = next((row for row in _on(connection, today) if row["finding_id"] == finding_id), None)
    if found is None:
        raise PermanentError(f"there is no finding {finding_id}: `hailong findings list --state all` shows the numbers")
    return found
