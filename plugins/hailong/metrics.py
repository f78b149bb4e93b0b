"""How the warehouse stands, for Prometheus: feeds, builds, gate, findings, and the days to the deadline.

Read from the database, not counted in the process: a night that never ran has a value here too. What is not known has no sample,
which an alert can ask for with `absent()`; no value stands for "unknown".
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry, Gauge, generate_latest, write_to_textfile

from hailong.contracts import load_contracts
from hailong.load.ledger import feed_status
from hailong.publish.deadline import check
from hailong.settings import Settings
from hailong.warehouse.connect import connect

LAST_BATCH = """
select distinct on (feed) feed, received_rows, loaded_rows, quarantined_rows, loaded_at - started_at as took
from ops.batch
where read_kind <> 'replay'
order by feed, batch_id desc
"""
BUILDS = """
select status, finished_at, finished_at - started_at as took from ops.build
where schema_prefix = '' and status <> 'running'
order by build_id desc
limit 1
"""
LAST_GOOD_BUILD = "select max(finished_at) from ops.build where schema_prefix = '' and status = 'succeeded'"
GATES = """
select distinct on (scope, period_code) scope, coalesce(period_code, '') as period_code, disposition, finished_at
from dq.run
order by scope, period_code, finished_at desc
"""
FINDINGS = "select severity, owner, state, count(*) from dq.finding_on(%s) where state <> 'closed' group by 1, 2, 3"


def registry(settings: Settings, now: datetime | None = None) -> CollectorRegistry:
    """All gauges at a moment (aware; default now). PermanentError or TransientError when the warehouse cannot be asked."""
    now = now or datetime.now(UTC)
    found = CollectorRegistry()
    _feeds(settings, found, now)
    _builds_and_gate(settings, found, now)
    _deadlines(settings, found, now)
    _say(found, "written_timestamp_seconds", "When these figures were read.", now.timestamp())
    return found


def text(settings: Settings, now: datetime | None = None) -> str:
    """The text format of Prometheus."""
    return generate_latest(registry(settings, now)).decode()


def write(settings: Settings, path: Path, now: datetime | None = None) -> None:
    """The same as a file, put in place whole, for the node exporter's textfile collector (its name must end in .prom)."""
    write_to_textfile(str(path), registry(settings, now))


def _gauge(found: CollectorRegistry, name: str, told: str, *labels: str) -> Gauge:
    return Gauge(f"hailong_{name}", told, labels, registry=found)


def _say(found: CollectorRegistry, name: str, told: str, value: float) -> None:
    """A figure without labels. Made only once its value is known: until then it would say 0."""
    _gauge(found, name, told).set(value)


def _feeds(settings: Settings, found: CollectorRegistry, now: datetime) -> None:
    age = _gauge(found, "feed_age_seconds", "Age of the newest that was read of a feed.", "feed")
    allowed = _gauge(found, "feed_allowed_age_seconds", "How old that may be by the contract.", "feed")
    open_entries = _gauge(found, "feed_quarantine_open", "Records in quarantine that wait.", "feed")
    stale = _gauge(found, "feed_stale_records", "Records in force whose newer version lies in quarantine.", "feed")
    received = _gauge(found, "feed_last_batch_received_rows", "Records of the newest batch.", "feed")
    loaded = _gauge(found, "feed_last_batch_loaded_rows", "Versions that the newest batch added.", "feed")
    share = _gauge(found, "feed_last_batch_quarantined_ratio", "Share of the newest batch in quarantine.", "feed")
    took = _gauge(found, "feed_last_batch_seconds", "From the start of reading the newest batch to its commit.", "feed")
    with connect(settings, role="hailong_loader") as connection:
        rows = feed_status(connection, load_contracts(settings.contracts), now)
        batches = connection.execute(LAST_BATCH).fetchall()
    for row in rows:
        feed = row["feed"]
        allowed.labels(feed).set(row["hours_allowed"] * 3600)
        open_entries.labels(feed).set(row["quarantine_open"])
        stale.labels(feed).set(row["stale"])
        if row["read_until"] is not None:
            age.labels(feed).set((now - row["read_until"]).total_seconds())
    for feed, rows_received, rows_loaded, quarantined, duration in batches:
        received.labels(feed).set(rows_received)
        loaded.labels(feed).set(rows_loaded)
        took.labels(feed).set(duration.total_seconds())
        if rows_received:
            share.labels(feed).set(quarantined / rows_received)


def _builds_and_gate(settings: Settings, found: CollectorRegistry, now: datetime) -> None:
    gate = _gauge(
        found, "gate_last", "1 for what the newest run of the gate decided.", "scope", "period", "disposition"
    )
    gate_at = _gauge(found, "gate_last_timestamp_seconds", "When it ended.", "scope", "period")
    findings = _gauge(found, "findings", "Findings that are not closed.", "severity", "owner", "state")
    with connect(settings, role="hailong_reader") as connection:
        build = connection.execute(BUILDS).fetchone()
        last_good = connection.execute(LAST_GOOD_BUILD).fetchone()
        gates = connection.execute(GATES).fetchall()
        counted = connection.execute(FINDINGS, (now.astimezone(ZoneInfo(settings.timezone)).date(),)).fetchall()
    if build:
        _say(found, "build_last_ok", "1: the newest build that ended succeeded; 0: it failed.", build[0] == "succeeded")
        _say(found, "build_last_seconds", "How long it took.", build[2].total_seconds())
    if last_good and last_good[0]:
        _say(found, "build_last_success_timestamp_seconds", "When a build last succeeded.", last_good[0].timestamp())
    for scope, period, disposition, finished_at in gates:
        gate.labels(scope, period, disposition).set(1)
        gate_at.labels(scope, period).set(finished_at.timestamp())
    for severity, owner, state, number in counted:
        findings.labels(severity, owner, state).set(number)


def _deadlines(settings: Settings, found: CollectorRegistry, now: datetime) -> None:
    state = _gauge(found, "period_state", "1 for the state of a period whose cut-off has passed.", "period", "state")
    left = _gauge(found, "period_working_days_left", "Working days to the due day of an unpublished period.", "period")
    due = _gauge(found, "period_due_timestamp_seconds", "Due moment of an unpublished period.", "period")
    lacks = _gauge(found, "period_missing", "How many things an unpublished period lacks.", "period")
    zone = ZoneInfo(settings.timezone)
    watched = check(settings, now.astimezone(zone).replace(tzinfo=None))
    told = "1: the database cannot say what is due (no build yet, or the calendar ended)."
    _say(found, "calendar_blind", told, watched.blind is not None)
    for period in watched.periods:
        state.labels(period.period_code, period.state).set(1)
        if period.state != "published":
            left.labels(period.period_code).set(period.working_days_left)
            due.labels(period.period_code).set(period.due_at.replace(tzinfo=zone).timestamp())
            lacks.labels(period.period_code).set(len(period.missing))
