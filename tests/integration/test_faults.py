"""Whatever a source does wrong: nothing half there, nothing lost, and the next good read ends where a clean one would.

Each cell is one fault on one feed, through HTTP into PostgreSQL. A read that fails leaves neither landing nor batch. Of one
that succeeds every received record is loaded, unchanged, duplicate or quarantined. After the fault is gone, reading again gives
the tables of a warehouse that never saw it.
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from hailong.errors import HailongError, PermanentError, TransientError
from hailong.extract.run import IngestResult, ingest
from hailong.load.landing import REJECTS, read_landing
from hailong.load.ledger import open_entries
from hailong.settings import PROJECT, Settings
from hailong.warehouse.connect import connect
from sandbox.faults import KINDS, PERSON
from tests.conftest import settings_for

NOW = datetime(2026, 11, 18, 17, tzinfo=UTC)  # the stand-in's end, to the second after
REGISTERS = ("unit_register", "procedure_register", "code_map")
PAGE_SIZES = {"dossier": 150, "rating": 30, "portal_evaluation": 100, "unit_action": 20}
PATHS = {
    "dossier": "TraCuuHoSo",
    "rating": "rating",
    "portal_evaluation": "handling-satisfaction",
    "unit_action": "/api/actions",
}
SYSTEMS = {"dossier": "tthc", "rating": "rating", "portal_evaluation": "portal", "unit_action": "unit_office"}
SINCE = {"portal_evaluation": date(2026, 11, 10)}  # else from before the first record
ENV = {
    "HAILONG_HTTP_RETRY_WAIT": "0.001",
    "HAILONG_PSEUDONYM_KEY": "2026:" + base64.b64encode(b"k" * 32).decode(),
}


# -- a stand-in, and warehouses that are emptied again -----------------------------------------------------------


@dataclass
class World:
    """One stand-in, and warehouses that know its registers: `fresh` empties the feeds of the one in a slot."""

    url: str
    token: str
    fresh: Callable[..., Settings]
    clean: dict[str, Contents] = field(default_factory=dict)

    def faults(self, text: str) -> None:
        self._call("POST", {"faults": text})

    def report(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", None)["faults"]
        return found

    def _call(self, method: str, body: dict[str, Any] | None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.request(method, f"{self.url}/_sandbox/faults", json=body, headers=headers, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def clean_contents(self, feed: str) -> Contents:
        """What a warehouse holds that read the feed once, without faults."""
        if feed not in self.clean:
            settings = self.fresh("other")
            read(settings, feed)
            self.clean[feed] = contents(settings, feed)
        return self.clean[feed]


def small_pages(folder: Path) -> Path:
    """The contracts with small pages, so that a feed of the tests has several, one group of the portal beside
    satisfaction, and a back-fill in one piece."""
    target = folder / "contracts"
    shutil.copytree(PROJECT / "expectations" / "contracts", target)
    for feed, size in PAGE_SIZES.items():
        path = target / f"{feed}.yaml"
        found, count = re.subn(r"pageSize: \d+", f"pageSize: {size}", path.read_text(encoding="utf-8"))
        assert count == 1, feed
        found = re.sub(r"(?m)^ +(- \{property: chunkDays,|requestsPerSecond:) .*\n", "", found)
        found = re.sub(r"(?m)^      calendarGroups:\n( +- .*\n)+", "      calendarGroups: [transparency]\n", found)
        found = re.sub(
            r"(?m)^customProperties:\n", "customProperties:\n  - {property: chunkDays, value: 9999}\n", found
        )
        path.write_text(found, encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def world(
    start_sandbox: Callable[..., Any], new_warehouse: Callable[..., Settings], server_dsn: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:  # fmt: skip
    sandbox = start_sandbox("--size", "600", "--bad-records", "12")
    env = {**sandbox.env, **ENV, "HAILONG_CONTRACTS": str(small_pages(tmp_path_factory.mktemp("contracts")))}
    slots: dict[str, Settings] = {}

    def fresh(slot: str = "first", **more: str) -> Settings:
        if slot not in slots:
            slots[slot] = new_warehouse(**env)
            for feed in REGISTERS:
                ingest(slots[slot], feed, now=NOW)
        dsn = str(slots[slot].dsn)
        for feed in PAGE_SIZES:
            forget(dsn, feed)
        return settings_for(dsn, tmp_path_factory.mktemp("home"), **{**env, **more})

    yield World(sandbox.url, sandbox.env["HAILONG_SOURCE_TTHC_TOKEN"], fresh)


def forget(dsn: str, feed: str) -> None:
    """Empty a feed again, which nobody may do but the owner of the server: much quicker than another database."""
    with psycopg.connect(dsn) as conn:
        tables = [table for (table,) in conn.execute(
            "select c.oid::regclass::text from pg_class as c where c.relkind in ('r', 'p') and (c.oid = any(array["
            "to_regclass('ops.quarantine_release'), to_regclass('ops.quarantine'), to_regclass('ops.batch_finding'),"
            " to_regclass('ops.snapshot'), to_regclass('ops.batch'), to_regclass('raw.' || %(feed)s),"
            " to_regclass('raw.' || %(feed)s || '_head')]) or c.oid in (select inhrelid from pg_inherits"
            " where inhparent = to_regclass('raw.' || %(feed)s)))", {"feed": feed},
        )]  # fmt: skip
        guards = conn.execute(
            "select tgrelid::regclass::text, tgname from pg_trigger where tgenabled = 'A' and tgrelid::regclass::text = any(%s)",
            (tables,),
        ).fetchall()
        for table in tables:
            conn.execute(sql.SQL("alter table {} disable trigger user").format(named(table)))
        conn.execute(sql.SQL("delete from {}").format(sql.Identifier("raw", feed)))
        conn.execute(sql.SQL("delete from {}").format(sql.Identifier("raw", f"{feed}_head")))
        for table in ("batch_finding", "snapshot", "quarantine", "batch"):
            conn.execute(sql.SQL("delete from {} where feed = %s").format(sql.Identifier("ops", table)), (feed,))
        for table, guard in guards:
            conn.execute(sql.SQL("alter table {} enable always trigger {}").format(named(table), sql.Identifier(guard)))


def named(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


@pytest.fixture(autouse=True)
def no_fault_stays(world: World) -> Iterator[None]:
    yield
    world.faults("")


def read(settings: Settings, feed: str, **options: Any) -> IngestResult:
    return ingest(settings, feed, since=SINCE.get(feed, date(2026, 6, 1)), **{"now": NOW, **options})


# -- what a warehouse holds ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contents:
    """Versions in force and open quarantine of a feed, without the batches that brought them.

    Of the quarantine what was said of a record last; records without a key count as the last read found them.
    """

    versions: dict[str, dict[str, Any]]
    quarantine: frozenset[tuple[Any, ...]]


def contents(settings: Settings, feed: str) -> Contents:
    table = sql.Identifier("raw", feed)
    with connect(settings) as conn:
        rows = conn.execute(
            sql.SQL(
                "select record_key, to_jsonb(r) - 'batch_id' from (select distinct on (record_key) * from {}"
                " order by record_key, batch_id desc) as r where op = 'upsert'"
            ).format(table)
        ).fetchall()
        held = conn.execute(
            sql.SQL(
                "select record_key, rule, detail, payload_minimised from (select q.*, rank() over (partition by record_key"
                " order by batch_id desc) as age, max(batch_id) over () as newest from ({}) as q) as q"
                " where age = 1 and (record_key is not null or batch_id = newest)"
            ).format(open_entries(feed))
        ).fetchall()
    return Contents(dict(rows), frozenset(held))


def count(settings: Settings, statement: str, *values: Any) -> int:
    with connect(settings) as conn:
        row = conn.execute(statement, values).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


def findings(settings: Settings, feed: str) -> dict[str, int]:
    with connect(settings) as conn:
        rows = conn.execute("select rule, records from ops.batch_finding where feed = %s order by batch_id", (feed,))
        return {rule: records for rule, records in rows}


def check_ledger(settings: Settings, feed: str) -> None:
    """Every received record has one fate, and the ledger says what the tables and the landing folders hold."""
    with connect(settings) as conn:
        batches = conn.execute(
            "select batch_id, landing_uri, received_rows, loaded_rows, unchanged_rows, duplicate_rows, quarantined_rows,"
            " tombstone_rows, read_kind from ops.batch where feed = %s order by batch_id",
            (feed,),
        ).fetchall()
        keys: set[str] = set()
        for batch, uri, received, loaded, unchanged, duplicate, quarantined, tombstones, kind in batches:
            assert received == loaded + unchanged + duplicate + quarantined
            landing = read_landing(Path(unquote(urlsplit(uri).path)))
            landed = pq.read_table(landing.records, columns=["record_key"]).column(0).to_pylist()
            rejected = pq.read_table(landing.folder / REJECTS, columns=["seq"]).num_rows
            assert (received, quarantined) == (len(landed) + rejected, rejected)
            rows = conn.execute(
                sql.SQL("select record_key, op from {} where batch_id = %s").format(sql.Identifier("raw", feed)),
                (batch,),
            ).fetchall()
            assert sum(op == "upsert" for _, op in rows) == loaded
            assert sum(op == "delete" for _, op in rows) == tombstones
            keys |= {key for key, op in rows if op == "upsert"}
            if kind == "census":  # it counts keys, also of records that are in quarantine
                keys |= {
                    key for (key,) in conn.execute("select record_key from ops.quarantine where feed = %s", (feed,))
                }
            assert set(landed) <= keys, "a landed record is nowhere in raw"
            held = conn.execute("select count(*) from ops.quarantine where batch_id = %s", (batch,)).fetchone()
            assert held == (quarantined,)


def nothing_there(settings: Settings, feed: str) -> bool:
    """Neither batch nor row nor anything in the landing area, not even half a folder."""
    rows = count(settings, "select count(*) from ops.batch where feed = %s", feed)
    held = count(settings, "select count(*) from ops.quarantine where feed = %s", feed)
    folder = settings.landing / feed
    return (
        rows == held == 0 and not contents(settings, feed).versions and not (folder.exists() and any(folder.iterdir()))
    )


# -- the matrix ------------------------------------------------------------------------------------------------------

EVENTS = ("dossier", "rating")
ALL = (*EVENTS, "portal_evaluation", "unit_action")
NO_ANSWER = r"no answer .*[Tt]ry again later"
BUSY = r"answered {} .*[Tt]ry again later"
MOVED = r"while it was being read.*try again"


@dataclass(frozen=True)
class Cell:
    """A fault and what must come of it. `error` with what it `says`, or a read that succeeds: `same` tables at once or not
    (None: either), with the findings of `finds`, and `rules` in quarantine that a clean read does not have."""

    fault: str
    feeds: tuple[str, ...] = ALL
    error: type[HailongError] | None = None
    says: str = ""
    same: bool | None = True
    finds: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


QUICK = (("HAILONG_HTTP_TIMEOUT", "0.5"),)
CELLS = [
    Cell("429=0@2"),
    Cell("429x*=0@2", error=TransientError, says=BUSY.format(429)),
    Cell("500x3@2"),
    Cell("500x*@2", error=TransientError, says=BUSY.format(500)),
    Cell("503x5@1"),
    Cell("timeout@2", env=QUICK),
    Cell("timeoutx*@2", ("rating",), error=TransientError, says=NO_ANSWER, env=QUICK),
    Cell("reset@2"),
    Cell("cut@2"),
    Cell("cutx*@2", error=TransientError, says=NO_ANSWER),
    Cell("truncated@2"),
    Cell("truncatedx*@2", error=TransientError, says=r"JSON that breaks off .*[Tt]ry again later"),
    Cell("wrong-lengthx2=-40@1"),
    Cell("wrong-length=40@2"),
    Cell("wrong-lengthx*=-40@2", EVENTS, error=TransientError, says=r"[Tt]ry again later"),
    Cell("html@2", error=PermanentError, says=r"not JSON \(text/html.*check the address"),
    Cell("error-body@2", error=PermanentError, says=r"the source refused|no list|the portal refused"),
    Cell("token-expired@2", error=PermanentError, says=r"answered 401: .*check HAILONG_SOURCE_\w+_TOKEN"),
    Cell("page-repeated@2"),
    Cell("page-repeatedx*@3", error=TransientError, says=MOVED),
    Cell("page-masked@2"),
    Cell("page-maskedx*@3", error=TransientError, says=MOVED),
    Cell("page-missing@last", EVENTS),
    Cell("page-missing@2", EVENTS),
    Cell("page-missingx*@last", EVENTS, error=TransientError, says=MOVED),
    Cell("page-short@2", EVENTS),
    Cell("page-short@last", EVENTS),
    Cell("page-shortx*@last", EVENTS, error=TransientError, says=MOVED),
    Cell("shift=-1@2", EVENTS),
    Cell("shiftx*=-1@2", EVENTS, same=None),  # always the same list: it is the source's own
    Cell("shift=-1@2,shift=-2@7,shift=3@13", EVENTS, error=TransientError, says=MOVED),
    Cell("shift=1@2", EVENTS, same=None),
    Cell("shift=1@last", EVENTS, same=None),
    Cell("total-changes@2", EVENTS),
    Cell("total-changesx*@2", EVENTS, error=TransientError, says=MOVED),
    Cell("duplicate-keys", EVENTS),
    Cell("duplicate-keys@2", EVENTS),
    Cell("unstable-sort@2", EVENTS, same=None),
    Cell("cursor-back=2", EVENTS, same=False),
    Cell("new-field", finds=("new_field",)),
    Cell("missing-field", ALL[:1], error=PermanentError, says=r"MaHoSo .*changed its shape.*ask its owner"),
    Cell("missing-field=id", ("rating",), error=PermanentError, says=r"field id .*changed its shape.*ask its owner"),
    Cell("missing-field=NgayTiepNhan", ("dossier",), same=False, finds=("missing_field",)),
    Cell("missing-field=thoiGian", ("rating",), same=False, finds=("missing_field",)),
    Cell("missing-field=ChuHoSo", ("dossier",), same=None, finds=("missing_field",)),  # test records are known by it
    Cell("missing-field=departmentName", ("portal_evaluation",), same=False),
    Cell("type-changed", same=False, rules=("wrong_type",)),
    Cell("huge-field", same=False, rules=("too_long",)),
    Cell("invalid-utf8", same=False, rules=("bad_text",)),
    Cell("invalid-utf8=MaHoSo", ("dossier",), same=False, rules=("bad_text",)),
    Cell("date-forms", EVENTS, same=False, rules=("bad_date",)),
]
CASES = [pytest.param(feed, cell, id=f"{cell.fault}-{feed}") for cell in CELLS for feed in cell.feeds]


@pytest.mark.parametrize(("feed", "cell"), CASES)
def test_after_a_fault(world: World, feed: str, cell: Cell) -> None:
    clean = world.clean_contents(feed)
    settings = world.fresh(**dict(cell.env))
    world.faults(",".join(f"{PATHS[feed]}:{fault}" for fault in cell.fault.split(",")))
    if cell.error:
        with pytest.raises(HailongError) as failure:
            read(settings, feed)
        told = str(failure.value)
        assert type(failure.value).__mro__.index(cell.error) <= 1, repr(failure.value)
        assert re.search(cell.says, told), told
        if cell.fault.startswith("missing-field"):
            assert told.startswith(feed), told
        else:
            assert told.startswith(SYSTEMS[feed]), told
            assert re.search(r"from 20260601000000 to 2026|20\d\d-\d\d-\d\d to 2026-", told), f"no window: {told}"
            assert re.search(r"page \d|were declared", told), f"no page: {told}"
        assert nothing_there(settings, feed)
    else:
        result = read(settings, feed)
        assert result.received == result.loaded + result.unchanged + result.duplicate + result.quarantined
        check_ledger(settings, feed)
        held = contents(settings, feed)
        if cell.same is not None:
            assert (held == clean) is cell.same
        assert set(cell.finds) <= set(findings(settings, feed))
        assert {rule for _, rule, *_ in held.quarantine - clean.quarantine} >= set(cell.rules)
        assert PERSON not in str(held)
    assert [told for told in world.report() if not told["fired"]] == []

    world.faults("")
    read(settings, feed)
    check_ledger(settings, feed)
    assert without_doubtful(contents(settings, feed), clean) == clean
    assert count(settings, "select coalesce(sum(tombstone_rows), 0) from ops.batch") == 0


def without_doubtful(held: Contents, clean: Contents) -> Contents:
    """Contents without the versions that only the fault let in: their records lie in quarantine, here as in a clean run."""
    doubtful = {entry[0] for entry in held.quarantine & clean.quarantine}
    kept = {key: row for key, row in held.versions.items() if key in clean.versions or key not in doubtful}
    return Contents(kept, held.quarantine)


def test_every_fault_is_in_the_matrix() -> None:
    """A fault that is added has a cell, here or in a test of its own below."""
    used = {re.split(r"[=@]|x[\d*]", cell.fault)[0] for cell in CELLS}
    assert set(KINDS) == used | {"clock-skew", "hard-delete", "late-delete"}


# -- faults that need a story ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", EVENTS)
def test_a_clock_that_is_off_is_told_and_changes_nothing(world: World, feed: str) -> None:
    """The source's clock against that of this machine, whatever `now` the read was given."""
    for ahead, told in ((0, False), (900, True), (-900, True)):
        settings = world.fresh()
        world.faults(f"clock-skew={ahead}")
        read(settings, feed)
        assert ("clock_skew" in findings(settings, feed)) is told
        assert contents(settings, feed) == world.clean_contents(feed)
        assert all(rule["fired"] for rule in world.report())


@pytest.mark.parametrize("feed", EVENTS)
def test_older_copies_never_replace_newer_ones(world: World, feed: str) -> None:
    settings = world.fresh()
    read(settings, feed)
    world.faults("cursor-back=2")
    result = read(settings, feed)
    assert world.report()[0]["fired"]
    assert result.loaded == 0
    assert findings(settings, feed)["cursor_went_back"] > 0
    check_ledger(settings, feed)
    assert contents(settings, feed).versions == world.clean_contents(feed).versions
    world.faults("")
    assert read(settings, feed).loaded == 0
    assert contents(settings, feed) == world.clean_contents(feed)


@pytest.mark.parametrize("feed", EVENTS)
def test_deleted_records_are_gone_after_two_complete_reads_and_come_back_when_they_do(world: World, feed: str) -> None:
    settings = world.fresh()
    read(settings, feed)
    clean = contents(settings, feed)
    world.faults("hard-delete=3")
    with pytest.raises(PermanentError, match="--max-delete-share") if feed == "rating" else nullcontext():
        read(settings, feed)  # three of a hundred are more than a source may delete unasked
    share = {"max_delete_share": 0.1}
    if feed == "rating":
        read(settings, feed, **share)
    assert contents(settings, feed) == clean, "one read proves nothing"
    read(settings, feed, **share)
    check_ledger(settings, feed)
    gone = set(clean.versions) - set(contents(settings, feed).versions)
    assert 0 < len(gone) <= 3
    assert count(settings, "select sum(tombstone_rows) from ops.batch where feed = %s", feed) == len(gone)

    other = world.fresh("other")
    read(other, feed)
    assert contents(other, feed).versions == contents(settings, feed).versions
    assert world.report()[0]["fired"]
    world.faults("")
    read(settings, feed)
    check_ledger(settings, feed)
    assert contents(settings, feed) == clean


@pytest.mark.parametrize("feed", EVENTS)
def test_old_records_that_vanish_are_found_by_a_census_only(world: World, feed: str) -> None:
    settings = world.fresh()
    read(settings, feed)
    clean = contents(settings, feed)
    world.faults("late-delete=2")
    share = {"now": NOW, "max_delete_share": 0.1}
    for _ in range(2):  # the look-back does not reach them
        ingest(settings, feed, **share)
    assert contents(settings, feed).versions == clean.versions
    for _ in range(2):
        ingest(settings, feed, census=True, **share)
    assert world.report()[0]["fired"]
    check_ledger(settings, feed)
    gone = set(clean.versions) - set(contents(settings, feed).versions)
    assert 0 < len(gone) <= 2
    other = world.fresh("other")
    read(other, feed)
    assert contents(other, feed).versions == contents(settings, feed).versions
    world.faults("")
    read(settings, feed)
    assert contents(settings, feed) == clean


@pytest.mark.parametrize("feed", EVENTS)
@pytest.mark.parametrize(
    "fault", ["page-missing@last", "page-missing@2", "unstable-sort", "shift=1", "shift=-1", "duplicate-keys@2"]
)
def test_a_page_fault_never_makes_a_tombstone(world: World, feed: str, fault: str) -> None:
    settings = world.fresh()
    read(settings, feed)
    for number in (2, 3, 4):
        world.faults(f"{PATHS[feed]}:{fault}" if "@" in fault else f"{PATHS[feed]}:{fault}@{number}")
        read(settings, feed, max_delete_share=1.0)
        assert all(rule["fired"] for rule in world.report())
        check_ledger(settings, feed)
    assert contents(settings, feed) == world.clean_contents(feed)
    assert count(settings, "select sum(tombstone_rows) from ops.batch") == 0


def test_a_fault_in_the_night_leaves_what_was_there(world: World) -> None:
    """The second read fails: versions, cover and quarantine stay as the first one left them."""
    settings = world.fresh()
    read(settings, "dossier")
    before = count(settings, "select count(*) from ops.batch")
    for fault in ("cutx*@3", "page-missingx*@last", "token-expired@2", "html@4"):
        world.faults(fault)
        with pytest.raises(HailongError):
            read(settings, "dossier")
        assert world.report()[0]["fired"]
        assert count(settings, "select count(*) from ops.batch") == before
        assert contents(settings, "dossier") == world.clean_contents("dossier")
    assert len([path for path in (settings.landing / "dossier").iterdir()]) == 1


def test_several_faults_in_one_read(world: World) -> None:
    settings = world.fresh()
    world.faults("500x2@1,cut@2,429=0@3,truncated@4,page-repeated@5,page-missing@last,new-field,duplicate-keys")
    read(settings, "dossier")
    assert [told for told in world.report() if not told["fired"]] == []
    check_ledger(settings, "dossier")
    assert contents(settings, "dossier") == world.clean_contents("dossier")


def test_the_runbook_explains_every_fault() -> None:
    """Its table names the faults of the stand-in, each with what happens and what to do."""
    text = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")
    section = text.split("## Faults and what happens", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")
    ]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(named) == sorted(KINDS)
    assert all(len(row) == 4 and all(row) for row in rows)
