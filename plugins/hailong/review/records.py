"""The records that each source must fix, as the newest build and the gate know them: keys, units and rules, no person.

A record counts in the period on whose days it lies: of a dossier its result or receipt, of what could not be read the day on
which it came. Everything here is wrong still: what has been corrected is in no list and in no count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from hailong.contracts import Contract
from hailong.load.ledger import open_entries
from hailong.load.raw import head_table
from hailong.periods import Period
from hailong.publish.candidate import hold_builds, newest_build
from hailong.publish.report import words as said
from hailong.review import owners, words
from hailong.review.findings import EVERYTHING, KEYS

EVALUATIONS = {
    "internal": "internal_evaluation",
    "authority": "authority_evaluation",
    "self": "self_evaluation",
    "organisation": "survey_result",
}
SINCE = sql.SQL("(b.loaded_at at time zone %(zone)s)::date as since")  # b: the batch of the version in force


@dataclass(frozen=True)
class Record:
    """One thing to fix. `on`: the day on which it counts; `since`: when the version that is wrong first came, both local."""

    owner: str
    feed: str
    rule: str
    unit_code: str | None
    unit_name: str | None
    key: str
    wrong: str
    todo: str
    on: date | None
    since: date | None
    period_code: str

    @property
    def order(self) -> tuple[str, ...]:
        return (self.feed, self.rule, self.unit_code or "", self.key, self.wrong, str(self.on))


@dataclass(frozen=True)
class Dispute:
    """A unit's objection to a record, and what became of it."""

    dispute_id: str
    feed: str
    unit_code: str | None
    unit_name: str | None
    key: str
    reason: str
    raised_on: date | None
    record: str
    state: str
    decision: str | None
    decided_on: date | None


@dataclass(frozen=True)
class Review:
    """What one owner is handed for one period. `trend`: (feed, rule, what is wrong) → records of each of `periods`."""

    owner: str
    feeds: tuple[str, ...]
    period: Period
    periods: tuple[Period, ...]
    as_of_batch: int
    records: tuple[Record, ...]
    trend: Mapping[tuple[str, str, str], tuple[int, ...]]
    disputes: tuple[Dispute, ...]


def read(
    connection: psycopg.Connection, contracts: Mapping[str, Contract], periods: tuple[Period, ...], zone: str
) -> list[Review]:
    """One review per owner of feeds, of the last of `periods`.

    PermanentError where no build ended well, TransientError while one runs.
    """
    period = periods[-1]
    hold_builds(connection)
    built = newest_build(connection, period)
    reader = _Reader(connection, contracts, periods, zone)
    kept: dict[str, list[Record]] = {contract.owner: [] for contract in contracts.values()}
    counts: dict[str, Counter[tuple[str, str, str, str]]] = {owner: Counter() for owner in kept}
    for record in reader.records():
        counts.setdefault(record.owner, Counter())[
            record.feed, record.rule, _rule_said(record), record.period_code
        ] += 1
        if record.period_code == period.code:
            kept.setdefault(record.owner, []).append(record)
    disputes = list(reader.disputes())
    reviews = []
    for owner in sorted(kept):
        feeds = tuple(sorted(feed for feed, contract in contracts.items() if contract.owner == owner))
        rules = sorted({key[:3] for key in counts[owner]})
        reviews.append(
            Review(
                owner,
                feeds,
                period,
                periods,
                built.as_of_batch,
                tuple(sorted(kept[owner], key=lambda record: record.order)),
                {rule: tuple(counts[owner][(*rule, p.code)] for p in periods) for rule in rules},
                # Of a feed that nobody knows: to whom nearly all are about.
                tuple(d for d in disputes if d.feed in feeds or (d.feed not in contracts and "dossier" in feeds)),
            )
        )
    return reviews


def _rule_said(record: Record) -> str:
    """What is wrong without the detail of one record."""
    return record.wrong.partition(":")[0]


@dataclass(frozen=True)
class _Reader:
    connection: psycopg.Connection
    contracts: Mapping[str, Contract]
    periods: tuple[Period, ...]
    zone: str

    def records(self) -> Iterator[Record]:
        """Everything that is wrong on a day of the periods, once per rule and record."""
        units: dict[str, str] = dict(
            self.connection.execute("select unit_code, unit_name from core.dim_unit").fetchall()
        )
        for row in self._rows():
            feed = row["feed"]
            if row.get("is_unit") and row["unit_code"] not in units:
                continue  # about the candidate as a whole: nothing that a source could fix
            period_code = row.get("period_code") or self._period_of(row["event_on"])
            if period_code is None:
                continue
            names = owners.of(row["owner"]) if row.get("owner") else (self.contracts[feed].owner,)
            for owner in names:
                yield Record(
                    owner, feed, row["rule"], row["unit_code"], units.get(row["unit_code"] or ""), row["key"],
                    row["wrong"], row["todo"], row.get("event_on"), row.get("since"), period_code,
                )  # fmt: skip

    def _rows(self) -> Iterator[dict[str, Any]]:
        yield from self._dossiers()
        yield from self._stale()
        yield from self._differences()
        yield from self._portal()
        yield from self._evaluations()
        for feed in self.contracts:
            yield from self._quarantined(feed)
            yield from self._landed(feed)
        yield from self._found()

    def _ask(self, statement: Any, **values: Any) -> Iterator[dict[str, Any]]:
        span = {"zone": self.zone, "since": self.periods[0].start, "until": self.periods[-1].end}
        with self.connection.cursor(row_factory=dict_row) as cursor:
            yield from cursor.stream(statement, span | values)

    def _period_of(self, day: date | None) -> str | None:
        return next((p.code for p in self.periods if day is not None and p.start <= day < p.end), None)

    def _dossiers(self) -> Iterator[dict[str, Any]]:
        for feed in ("dossier", "dossier_sync"):
            rules = [rule for rule in words.DOSSIER if (rule in words.AT_CITY) == (feed == "dossier")]
            statement = sql.SQL(
                "select f.finding as rule, f.dossier_code as key, f.unit_code, f.event_on, {since} "
                "from marts.dossier_finding as f "
                "left join {head} as h on f.dossier_code = h.record_key left join ops.batch as b on h.batch_id = b.batch_id "
                "where f.finding = any(%(rules)s) and f.event_on >= %(since)s and f.event_on < %(until)s"
            ).format(since=SINCE, head=head_table(feed))
            for row in self._ask(statement, rules=rules):
                wrong, todo = words.DOSSIER[row["rule"]]
                yield row | {"feed": feed, "wrong": wrong, "todo": todo}

    def _stale(self) -> Iterator[dict[str, Any]]:
        statement = sql.SQL(
            "select s.feed, 'stale' as rule, s.record_key as key, s.unit_code, s.event_on, "
            "(min(b.loaded_at) at time zone %(zone)s)::date as since from marts.stale_record as s "
            "left join ops.quarantine as q on s.feed = q.feed and s.record_key = q.record_key and q.batch_id > s.batch_id "
            "left join ops.batch as b on q.batch_id = b.batch_id "
            "where s.event_on >= %(since)s and s.event_on < %(until)s group by 1, 2, 3, 4, 5"
        )
        for row in self._ask(statement):
            yield row | {"wrong": words.STALE[0], "todo": words.STALE[1]}

    def _differences(self) -> Iterator[dict[str, Any]]:
        statement = sql.SQL(
            "select 'dossier_sync' as feed, 'sync.' || d.reason as rule, d.pair_code as key, r.name_vi as wrong, "
            "coalesce(d.city_unit_code, d.portal_unit_code) as unit_code, "
            "coalesce(d.city_received_on, d.portal_received_on) as event_on, "
            "(greatest(c.loaded_at, p.loaded_at) at time zone %(zone)s)::date as since from marts.sync_difference as d "
            "inner join rules.reconciliation_reason as r on d.reason = r.reason and r.is_explained "
            "left join {city} as ch on d.city_dossier_code = ch.record_key left join ops.batch as c on ch.batch_id = c.batch_id "
            "left join {portal} as ph on d.portal_dossier_code = ph.record_key "
            "left join ops.batch as p on ph.batch_id = p.batch_id "
            "where coalesce(d.city_received_on, d.portal_received_on) >= %(since)s "
            "and coalesce(d.city_received_on, d.portal_received_on) < %(until)s"
        ).format(city=head_table("dossier"), portal=head_table("dossier_sync"))
        for row in self._ask(statement):
            yield row | {"todo": words.SYNCHRONISE}

    def _portal(self) -> Iterator[dict[str, Any]]:
        statement = sql.SQL(
            "select 'portal_evaluation' as feed, 'portal.' || d.difference as rule, d.unit_code as key, d.unit_code, "
            "d.period_code, r.name_vi as name, d.portal_value, d.our_value from marts.portal_difference as d "
            "inner join rules.portal_difference as r on d.difference = r.difference where d.period_code = any(%(codes)s)"
        )
        for row in self._ask(statement, codes=[period.code for period in self.periods]):
            wrong = f"{row['name']}: {row['portal_value'].normalize():f} và {row['our_value'].normalize():f}"
            yield row | {"wrong": wrong.replace(".", ","), "todo": words.ASK_PORTAL}

    def _evaluations(self) -> Iterator[dict[str, Any]]:
        """Those that name no period of ours count when they came."""
        codes = {period.code for period in self.periods}
        for kind, feed in EVALUATIONS.items():
            statement = sql.SQL(
                "select f.finding as rule, f.record_key as key, f.unit_code, f.period_code, {since} "
                "from marts.evaluation_finding as f left join {head} as h on f.record_key = h.record_key "
                "left join ops.batch as b on h.batch_id = b.batch_id where f.evaluator_kind = %(kind)s"
            ).format(since=SINCE, head=head_table(feed))
            for row in self._ask(statement, kind=kind):
                wrong, todo = words.EVALUATION[row["rule"]]
                code = row["period_code"] if row["period_code"] in codes else None
                own = {"feed": feed, "rule": f"evaluation.{row['rule']}", "wrong": wrong, "todo": todo}
                yield row | own | {"period_code": code, "event_on": None if code else row["since"]}

    def _quarantined(self, feed: str) -> Iterator[dict[str, Any]]:
        statement = sql.SQL(
            "select q.rule as reject, q.record_key, max(q.quarantine_id) as number, "
            "(array_agg(q.detail order by q.quarantine_id desc))[1] as detail, "
            "(min(b.loaded_at) at time zone %(zone)s)::date as since "
            "from ({entries}) as q inner join ops.batch as b on q.batch_id = b.batch_id "
            "group by q.rule, q.record_key, case when q.record_key is null then q.detail end"
        ).format(entries=open_entries(feed))
        for row in self._ask(statement):
            wrong, todo = words.QUARANTINE.get(row["reject"], words.UNREADABLE)
            yield {
                "feed": feed, "rule": f"quarantine.{row['reject']}", "unit_code": None, "since": row["since"],
                "key": row["record_key"] or f"(không có mã, số cách ly {row['number']})", "event_on": row["since"],
                "wrong": f"{wrong}: {row['detail']}", "todo": todo,
            }  # fmt: skip

    def _landed(self, feed: str) -> Iterator[dict[str, Any]]:
        """Records of which a run of the gate said that they break a rule, and of which nothing newer has come since.

        A run keeps the first so many keys of a rule: where they were too many, all records are asked again, from when they came.
        """
        statement = sql.SQL(
            "select r.expectation_id as rule, f.key, null as unit_code, max(r.reason) as wrong, "
            "bool_or(cardinality(r.failing_keys) >= %(most)s) as is_cut, "
            "(min(g.started_at) at time zone %(zone)s)::date as since "
            "from dq.run as g inner join dq.result as r on g.run_id = r.run_id cross join unnest(r.failing_keys) as f (key) "
            "inner join {head} as h on f.key = h.record_key and h.op = 'upsert' and h.batch_id <= g.as_of_batch "
            "where g.scope = 'landed' and r.target = %(feed)s and not r.success and r.severity <> 'info' group by 1, 2"
        ).format(head=head_table(feed))
        named: dict[str, set[str]] = {}
        cut: dict[str, str] = {}
        for row in self._ask(statement, feed=feed, most=KEYS):
            named.setdefault(row["rule"], set()).add(row["key"])
            if row["is_cut"]:
                cut[row["rule"]] = row["wrong"]
            yield row | {"feed": feed, "event_on": row["since"], "todo": words.REPAIR}
        for rule, wrong in sorted(cut.items()):
            for row in self._breaking(feed, rule):
                if row["key"] not in named[rule]:
                    own = {"feed": feed, "rule": rule, "unit_code": None, "wrong": wrong, "todo": words.REPAIR}
                    yield own | row | {"event_on": row["since"]}

    def _breaking(self, feed: str, rule_id: str) -> Iterator[dict[str, Any]]:
        """Every record in force that came within the periods and breaks a rule on what has landed."""
        from expectations.suites import landed

        rule = next((rule for rule in landed.RULES if rule.id == rule_id), None)
        if rule is None:
            return  # of an earlier version: what its runs kept is all that is known
        statement = sql.SQL(
            "select r.record_key as key, (b.loaded_at at time zone %(zone)s)::date as since from {raw} as r "
            "inner join {head} as h on r.record_key = h.record_key and r.batch_id = h.batch_id "
            "inner join ops.batch as b on r.batch_id = b.batch_id "
            "where r.op = 'upsert' and (b.loaded_at at time zone %(zone)s)::date >= %(since)s "
            "and (b.loaded_at at time zone %(zone)s)::date < %(until)s and ({broken})"
        ).format(raw=sql.Identifier("raw", feed), head=head_table(feed), broken=sql.SQL(rule.broken))  # type: ignore[arg-type]
        yield from self._ask(statement, **landed.CONSTANTS)

    def _found(self) -> Iterator[dict[str, Any]]:
        """What is no record: feeds that are late, batches, codes, windows, units of a candidate; while the finding stands, and
        of a period also what it was published with: the source has not put it right.
        """
        statement = sql.SQL(
            "select f.expectation_id as rule, f.scope_kind, f.scope, f.owner, f.reason as wrong, f.failing_keys, "
            "(f.opened_at at time zone %(zone)s)::date as since from dq.finding_on('infinity') as f "
            "where f.owner <> %(ours)s and (f.state <> 'closed' or exists ("
            "select from publish.edition as e where e.gate_run_id = f.last_run_id and e.published_at <= f.event_at))"
        )
        for row in self._ask(statement, ours=owners.OURS):
            of_period = row["scope_kind"] == "period"
            if row["rule"].startswith(f"{row['scope']}.") and row["rule"] != f"{row['scope']}.newest_has_rows":
                continue  # records, which are listed one by one
            if row["rule"] == "feeds.no_stale" or (of_period and row["scope"] not in {p.code for p in self.periods}):
                continue
            own = {"feed": "" if of_period or row["scope"] == EVERYTHING else row["scope"], "todo": words.REPAIR}
            own |= {"period_code": row["scope"]} if of_period else {"event_on": row["since"]}
            for key in row["failing_keys"] or [row["scope"]]:
                unit = key.partition("/")[0] if of_period else None
                yield row | own | {"key": key, "unit_code": unit, "is_unit": of_period}

    def disputes(self) -> Iterator[Dispute]:
        """Disputes about records of the period, and those raised in it about a record of no period."""
        statement = sql.SQL(
            "select d.*, u.unit_name, (d.raised_at at time zone %(zone)s)::date as raised_on, "
            "(d.decided_at at time zone %(zone)s)::date as decided_on from marts.dispute as d "
            "left join core.dim_unit as u on d.unit_code = u.unit_code "
            "where coalesce(d.event_on, (d.raised_at at time zone %(zone)s)::date) >= %(from)s "
            "and coalesce(d.event_on, (d.raised_at at time zone %(zone)s)::date) < %(until)s "
            "order by d.disputed_feed, d.unit_code, d.dispute_id"
        )
        for row in self._ask(statement, **{"from": self.periods[-1].start}):
            yield Dispute(
                row["dispute_id"], row["disputed_feed"] or "", row["unit_code"], row["unit_name"], row["disputed_key"] or "",
                said.named(said.DISPUTE_REASONS, row["reason_code"]), row["raised_on"],
                said.RECORD_STATUSES[row["record_status"]], said.DISPUTE_STATES[row["state"]], row["decision_code"],
                row["decided_on"],
            )  # fmt: skip
