"""Station 2 and 3 in one call: fetch a feed, check it against its contract, land it, load it."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import orjson
import psycopg

from hailong import lineage
from hailong.contracts import Contract, FileDrop, PagedHttp, PortalWindows, SqlView, find_contract
from hailong.errors import HailongError, PermanentError, TransientError, UsageError
from hailong.extract.again import Fingerprints, find_earlier
from hailong.extract.columnar import land
from hailong.extract.files import ColumnMapping, DroppedFile, load_mapping
from hailong.extract.http import MOST_READS, ROWS_AGAIN, Client, Pace, Pages, RetryPolicy, StartOver
from hailong.extract.portal import Snapshots, questions
from hailong.extract.privacy import Pseudonyms
from hailong.extract.records import CodeMap, Converter
from hailong.extract.shapes import Shapes
from hailong.extract.storage import Dropped, LocalFile, drop_files
from hailong.load.landing import MANIFEST, Landing, LandingWriter, file_sha256, read_landing
from hailong.load.ledger import cover_end, current_codes, loads_of_windows
from hailong.load.loader import LoadResult, load_landing
from hailong.load.raw import ROLE
from hailong.settings import Settings
from hailong.warehouse.connect import connect

Progress = Callable[[str], None]
Moment = datetime | date | str
Window = tuple[datetime, datetime]

# A window that ended so shortly before the read began reaches the present: what changed in between is missed once at
# most, and a key is gone only when it is missed twice.
PRESENT = timedelta(minutes=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestResult:
    """What one ingest did: sums over its batches (one, or one per dropped file)."""

    feed: str
    batch_ids: list[int]
    landings: list[str]
    created: bool
    received: int
    loaded: int
    unchanged: int
    duplicate: int
    quarantined: int
    message: str

    @property
    def batch_id(self) -> int:
        """The newest batch."""
        return self.batch_ids[-1]


def ingest(
    settings: Settings,
    feed: str,
    since: Moment | None = None,
    until: Moment | None = None,
    file: Path | None = None,
    mapping: Path | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
    census: bool = False,
    max_delete_share: float | None = None,
) -> IngestResult:
    """Extract one feed and load what landed.

    `since` (inclusive) and `until` (exclusive) are local unless they carry an offset. Without `since` an incremental
    feed goes on where its contiguous cover ends, less the contract's look-back; `until` is `now` and never later. A longer
    window is read in chunks, each a batch of its own; stopped and called again in the same way, it goes on at the first chunk
    that was not loaded. A file feed without `file` takes every file of its drop folder. `census` reads the keys of the
    whole feed and loads none: what is gone is noticed. UsageError for wrong calls, PermanentError and TransientError as
    they come.
    """
    contract = find_contract(settings.contracts, feed)
    clock: Callable[[], datetime] = (lambda: now) if now is not None else (lambda: datetime.now(UTC))
    zone = ZoneInfo(settings.timezone)
    bounds = _bound(since, "--since", zone), _bound(until, "--until", zone)
    if mapping and not file:
        raise UsageError("--mapping says how the columns of a --file are named: give the file too")
    if max_delete_share is not None and not 0 <= max_delete_share <= 1:
        raise UsageError(f"--max-delete-share is a share, 0 to 1, not {max_delete_share}")
    columns = load_mapping(mapping, contract) if mapping else None
    with connect(settings, role=ROLE) as connection:
        codes, last_end = _known(connection, contract)
    request = f"{bounds[0].isoformat()} – {bounds[1].isoformat() if bounds[1] else 'now'}" if bounds[0] else None
    read = Read(settings, contract, codes, clock, progress, max_delete_share, request)
    if file or isinstance(contract.connector, FileDrop):
        if census:
            raise UsageError(f"{feed}: a dropped file holds what is new, there is no census of it")
        window = _file_window(bounds)
        landings = [
            partial(_land_dropped, read, dropped, columns, window, mapping)
            for dropped in ([LocalFile(_existing(file))] if file else drop_files(settings, contract))
        ]
    elif census:
        whole = _census_window(contract, bounds, clock(), zone)
        landings = [partial(extract_remote, read, whole, census=True, to_present=True)]
    elif contract.cursor is None and not isinstance(contract.connector, PortalWindows):
        landings = [partial(extract_remote, read, None)]
    else:
        asked = _http_window(contract, bounds, last_end, clock(), zone)
        chunks = _chunks_to_do(read, asked, since is not None)
        landings = [partial(extract_remote, read, chunk) for chunk in chunks[:-1]]
        landings.append(partial(extract_remote, read, chunks[-1], to_present=until is None))
    return _load_all(settings, feed, landings, progress, stop_at_failure=not _is_dropped(contract, file))


def _is_dropped(contract: Contract, file: Path | None) -> bool:
    return file is not None or isinstance(contract.connector, FileDrop)


def _load_all(
    settings: Settings,
    feed: str,
    landings: Sequence[Callable[[], Landing]],
    progress: Progress | None,
    stop_at_failure: bool,
) -> IngestResult:
    """Land and load one after the other. A broken file does not hide those after it; a broken chunk ends a back-fill."""
    results: list[LoadResult] = []
    failed: list[HailongError] = []
    for number, fetch in enumerate(landings, 1):
        try:
            with lineage.load(settings, feed) as loaded:
                results.append(load_landing(settings, fetch().folder))
                loaded(results[-1])
                if progress:
                    part = f"[{number} of {len(landings)}] " if len(landings) > 1 else ""
                    progress(part + results[-1].message)
        except (PermanentError, TransientError) as error:
            failed.append(error)
            if stop_at_failure:
                break
            continue
        except OSError as error:
            raise TransientError(
                f"{feed}: {error.filename or settings.landing} could not be read or written ({error.strerror}): "
                "free some space or check the rights, and run it again"
            ) from error
    if len(failed) == 1:
        if results and stop_at_failure:
            done = f" ({len(results)} of {len(landings)} chunks are loaded; the same command goes on after them)"
            raise type(failed[0])(str(failed[0]) + done) from failed[0]
        raise failed[0]
    if failed:
        kind = PermanentError if any(isinstance(error, PermanentError) for error in failed) else TransientError
        raise kind(f"{feed}: {len(failed)} of {len(landings)} files failed: " + "; ".join(map(str, failed)))
    return _summed(feed, results)


@dataclass(frozen=True)
class Read:
    """What every extraction of one call shares."""

    settings: Settings
    contract: Contract
    codes: CodeMap | None
    clock: Callable[[], datetime]
    progress: Progress | None = None
    max_delete_share: float | None = None
    request: str | None = None  # a back-fill, as it was asked for: by it a stopped one is known again

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.settings.timezone)

    def converter(self, only_keys: bool = False) -> Converter:
        pseudonyms = None
        if self.contract.pseudonyms and not only_keys:
            pseudonyms = Pseudonyms.load(self.settings, self.clock().astimezone(self.zone).year)
        return Converter(self.contract, self.settings.timezone, self.codes, pseudonyms, only_keys)


def extract_remote(read: Read, window: Window | None, census: bool = False, to_present: bool = False) -> Landing:
    """Fetch a feed from its service or database into a landing folder.

    A read during which the source moved starts over, `MOST_READS` times at most. The absence of a key means something
    when the read reached the present, or is the whole of a register, and no record came in two places. `to_present`: the
    window ends now, not when the command began: chunks before it may have taken hours, in which records left the window by
    changing.
    """
    settings, contract, clock = read.settings, read.contract, read.clock
    converter = read.converter(only_keys=census)
    started = clock()
    if window and to_present:
        window = window[0], max(window[1], _second(started))
    fingerprints = Fingerprints.of(converter, settings.timezone)
    earlier = find_earlier(settings.landing, contract, fingerprints.conversion, window) if fingerprints else None
    extract_id = f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    with _source(read, window) as source, LandingWriter(settings.landing, contract, extract_id) as writer:
        for attempt in range(1, MOST_READS + 1):
            try:
                door = land(converter, source.pages(), writer, (), window, fingerprints, earlier)
                break
            except StartOver as moved:
                if attempt == MOST_READS:
                    raise TransientError(f"{moved} (read {MOST_READS} times)") from moved
                log.warning("%s; reading it again from the start", moved)
                writer.restart()
        kind = "census" if census else "full" if window is None else source.kind
        findings = [*door.findings(), *source.findings()]
        reaches_now = kind in ("full", "snapshot") or (window is not None and window[1] >= _second(started) - PRESENT)
        overlaps = any(finding["rule"] == ROWS_AGAIN for finding in findings)  # what comes twice may hide another
        return writer.finish(
            source=source.name,
            declared=source.declared(),
            window=window,
            started_at=started,
            finished_at=clock(),
            code_version=settings.code_version,
            read=kind,
            complete=reaches_now and not overlaps,
            snapshots=source.snapshots(),
            findings=findings,
            options=_options(read),
            conversion=fingerprints.conversion if fingerprints else None,
        )


def _options(read: Read) -> dict[str, Any]:
    """What a person asked for, as it goes into the manifest."""
    asked = {"max_delete_share": read.max_delete_share, "request": read.request}
    return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class Source:
    """One remote read: its pages (asked for anew each time), and what is known of it afterwards."""

    name: str
    kind: str
    pages: Callable[[], Iterable[list[Any]]]
    declared: Callable[[], int | None]
    snapshots: Callable[[], list[dict[str, Any]]] = list
    findings: Callable[[], list[dict[str, Any]]] = list


@contextmanager
def _source(read: Read, window: Window | None) -> Iterator[Source]:
    connector = read.contract.connector
    since, until = (bound.astimezone(read.zone) for bound in window) if window else (None, None)
    if isinstance(connector, SqlView):
        from hailong.extract.sql import SqlRows

        rows = SqlRows(read.settings, read.contract, since, until, read.progress)
        yield Source(
            f"{connector.system}:{connector.view}",
            "window",
            lambda: rows,
            lambda: rows.declared,
            findings=rows.findings,
        )
        return
    if isinstance(connector, FileDrop):
        raise PermanentError(f"{read.contract.feed}: {read.contract.path.name} describes files, not a service")
    settings = read.settings
    address = settings.source(connector.system)
    pace = None
    if connector.requests_per_second:
        pace = Pace(settings.home / "rate", urlsplit(address.url).netloc, connector.requests_per_second)
    retry = RetryPolicy.load(settings.env)
    with Client(connector.system, address, retry, pace=pace) as client:
        if isinstance(connector, PagedHttp):
            keys = tuple(column.source for column in read.contract.keys if column.source)
            pages = Pages(
                read.contract.feed, client, connector, since, until, read.progress, keys, Shapes(read.contract).answer
            )
            yield Source(
                f"{connector.system}{connector.path}", "window", lambda: pages, lambda: pages.declared,
                findings=lambda: [*client.findings(), *pages.findings()],
            )  # fmt: skip
        elif since and until:
            asked = questions(connector, settings.rules, since, until)
            taken = Snapshots(read.contract.feed, client, connector, asked, read.clock, read.progress)
            yield Source(
                f"{connector.system}{connector.path}", "snapshot", lambda: taken, lambda: None, lambda: taken.taken,
                lambda: [*client.findings(), *taken.findings()],
            )  # fmt: skip
        else:
            raise PermanentError(f"{read.contract.feed}: {read.contract.path.name} has no window to ask for")


def extract_file(
    read: Read,
    path: Path,
    mapping: ColumnMapping | None,
    window: Window | None,
    mapping_path: Path | None = None,
) -> Landing:
    """Read a dropped file into a landing folder.

    The folder's name follows from everything that the outcome depends on, so the same file read again is the same
    landing, and loading it again changes nothing.
    """
    settings, contract, clock = read.settings, read.contract, read.clock
    extract_id = _file_id(settings, contract, path, mapping_path, read.codes, window)
    complete = settings.landing / contract.feed / extract_id
    if (complete / MANIFEST).is_file():
        if read.progress:
            read.progress(f"{contract.feed}: {path.name} was read before, landing {extract_id}")
        return read_landing(complete)
    started = clock()
    dropped = DroppedFile(path, contract, mapping, read.zone, window, started)
    watched = (mapping.window_columns if mapping else ()) or contract.window_columns
    with LandingWriter(settings.landing, contract, extract_id) as writer:
        door = land(read.converter(), dropped, writer, watched)
        if not writer.received:
            raise PermanentError(f"{contract.feed}: {path.name} holds no record: nothing was landed")
        if window is None and contract.kind == "event":
            window = _window_of(contract, path, door.seen, watched, read.zone)
        if read.progress:
            read.progress(f"{contract.feed}: {path.name}, {writer.received:,} records")
        return writer.finish(
            source=path.name,
            declared=None,
            window=window,
            started_at=started,
            finished_at=clock(),
            code_version=settings.code_version,
            read="file",
            findings=[] if mapping else door.findings(),
        )


def _land_dropped(
    read: Read, dropped: Dropped, mapping: ColumnMapping | None, window: Window | None, mapping_path: Path | None
) -> Landing:
    with dropped.local() as path:
        return extract_file(read, path, mapping, window, mapping_path)


# -- windows --------------------------------------------------------------------------------------------------------


def _bound(value: Moment | None, option: str, zone: ZoneInfo) -> datetime | None:
    """A bound in UTC, whole seconds."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UsageError(
                f"{option} {value!r} is not a date: write 2026-10-01 or 2026-10-01T06:00 (local time)"
            ) from None
    elif not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC).replace(microsecond=0)


def _http_window(
    contract: Contract,
    bounds: tuple[datetime | None, datetime | None],
    last_end: datetime | None,
    now: datetime,
    zone: ZoneInfo,
) -> Window:
    since, until = bounds
    present = _second(now)
    if until is not None and until > present:
        raise UsageError(
            f"{contract.feed}: --until {until.astimezone(zone)} lies in the future: what comes until then would be taken for "
            "read. Leave it out to read up to now"
        )
    until = until or present
    if since is None and last_end is not None:
        since = min(last_end.astimezone(UTC), until) - timedelta(days=contract.lookback_days)
    if since is None and contract.initial_since:
        since = _bound(contract.initial_since, "initialSince", zone)
    if since is None:
        raise UsageError(f"{contract.feed} has not been loaded yet: say from when with --since 2026-01-01")
    if since >= until:
        raise UsageError(
            f"{contract.feed}: --since {since.astimezone(zone)} is not before --until {until.astimezone(zone)}"
        )
    return since, until


def _second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _census_window(
    contract: Contract, bounds: tuple[datetime | None, datetime | None], now: datetime, zone: ZoneInfo
) -> Window:
    """From the first day the contract knows of to the present: a census is of everything or it is none."""
    if bounds != (None, None):
        raise UsageError("a census is of the whole feed: leave --since and --until out")
    if contract.deletions != "absence" or not isinstance(contract.connector, PagedHttp | SqlView):
        raise UsageError(f"{contract.feed}: there is no census of it, its deletions are not noticed by absence")
    if contract.cursor is None:
        raise UsageError(f"{contract.feed}: every read of it is of the whole, so there is no census: ingest it")
    first = _bound(contract.initial_since, "initialSince", zone) or _bound("1900-01-01", "initialSince", zone)
    assert first is not None
    return first, _second(now)


def _chunks_to_do(read: Read, window: Window, is_backfill: bool) -> list[Window]:
    """The window in pieces of the contract's chunk; of a back-fill that was stopped, those that are still to do.

    A window with look-back is one piece when it is not much longer than the look-back. Each chunk of a back-fill is a batch with
    exactly that window and names the request, so the ledger says how often each was loaded for it: the run goes on at the
    first that was loaded less often than the first one.
    """
    contract = read.contract
    size = timedelta(days=contract.chunk_days)
    if isinstance(contract.connector, PortalWindows) or window[1] - window[0] <= size + timedelta(
        days=0 if is_backfill else contract.lookback_days
    ):
        return [window]
    chunks = []
    start = window[0]
    while start < window[1]:
        end = min(start + size, window[1])
        chunks.append((start, end))
        start = end
    if not is_backfill:
        return chunks
    with connect(read.settings, role=ROLE) as connection:
        times = loads_of_windows(connection, contract.feed, read.request or "", chunks)
    begin = next((place for place, count in enumerate(times) if count < times[0]), 0)
    if read.progress:
        told = f", going on at chunk {begin + 1}: those before it are loaded" if begin else ""
        read.progress(f"{contract.feed}: {len(chunks)} chunks of {contract.chunk_days} days{told}")
    return chunks[begin:]


def _file_window(bounds: tuple[datetime | None, datetime | None]) -> Window | None:
    since, until = bounds
    if since is None and until is None:
        return None
    if since is None or until is None:
        raise UsageError("a file has both ends of its window or none: give --since and --until together, or neither")
    if since >= until:
        raise UsageError(f"--since {since.isoformat()} is not before --until {until.isoformat()}")
    return since, until


def _window_of(
    contract: Contract, path: Path, seen: dict[str, tuple[Any, Any]], watched: tuple[str, ...], zone: ZoneInfo
) -> Window:
    """Window of a file from its own values: the last moment, or the last day, is inside."""
    lows, highs = [], []
    for low, high in seen.values():
        if isinstance(low, datetime):
            lows.append(low.replace(microsecond=0))
            highs.append(high.replace(microsecond=0) + timedelta(seconds=1))
        else:
            lows.append(datetime.combine(low, time(), zone).astimezone(UTC))
            highs.append(datetime.combine(high + timedelta(days=1), time(), zone).astimezone(UTC))
    if not lows:
        raise PermanentError(
            f"{contract.feed}: {path.name} has no value in {', '.join(watched)}, so its window is unknown: "
            "give --since and --until"
        )
    return min(lows), max(highs)


# -- what is known before -------------------------------------------------------------------------------------------


def _known(connection: psycopg.Connection, contract: Contract) -> tuple[CodeMap | None, datetime | None]:
    """The code map in force (None for a feed without coded columns), and where the feed stands."""
    coded = any(c.codes and c.codes.check for column in contract.columns for c in (column, *column.items))
    try:
        codes = current_codes(connection) if coded else None
        last_end = cover_end(connection, contract.feed)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        raise PermanentError(
            f"the warehouse is not set up ({str(error).splitlines()[0]}): run `hailong db migrate`"
        ) from None
    if coded and not codes:
        raise PermanentError(
            f"{contract.feed} holds source codes and the code map is empty: "
            "run `hailong ingest unit_register`, `hailong ingest procedure_register`, `hailong ingest code_map` first"
        )
    return codes, last_end


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    return path


def _file_id(
    settings: Settings,
    contract: Contract,
    path: Path,
    mapping_path: Path | None,
    codes: CodeMap | None,
    window: Window | None,
) -> str:
    parts = [
        file_sha256(path),
        file_sha256(mapping_path) if mapping_path else None,
        file_sha256(contract.path),
        sorted([*kind, *sorted(known)] for kind, known in codes.items()) if codes is not None else None,
        settings.timezone,
        settings.code_version,
        [bound.isoformat() for bound in window] if window else None,
    ]
    return f"file-{hashlib.sha256(orjson.dumps(parts)).hexdigest()[:24]}"


def _summed(feed: str, results: list[LoadResult]) -> IngestResult:
    return IngestResult(
        feed=feed,
        batch_ids=[result.batch_id for result in results],
        landings=[result.landing for result in results],
        created=any(result.created for result in results),
        received=sum(result.received for result in results if result.created),
        loaded=sum(result.loaded for result in results if result.created),
        unchanged=sum(result.unchanged for result in results if result.created),
        duplicate=sum(result.duplicate for result in results if result.created),
        quarantined=sum(result.quarantined for result in results if result.created),
        message="\n".join(result.message for result in results),
    )
