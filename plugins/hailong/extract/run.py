"""Station 2 and 3 in one call: fetch a feed, check it against its contract, land it, load it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import psycopg

from hailong.contracts import Contract, FileDrop, PagedHttp, PortalWindows, find_contract
from hailong.errors import HailongError, PermanentError, TransientError, UsageError
from hailong.extract.columnar import land
from hailong.extract.files import ColumnMapping, DroppedFile, load_mapping
from hailong.extract.http import Client, Pages
from hailong.extract.portal import Snapshots, windows
from hailong.extract.records import CodeMap, Converter
from hailong.load.landing import MANIFEST, Landing, LandingWriter, file_sha256, read_landing
from hailong.load.ledger import current_codes, last_window_end
from hailong.load.loader import LoadResult, load_landing
from hailong.load.raw import ROLE
from hailong.settings import Settings
from hailong.warehouse.connect import connect

Progress = Callable[[str], None]
Moment = datetime | date | str
Window = tuple[datetime, datetime]


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
) -> IngestResult:
    """Extract one feed and load what landed.

    `since` (inclusive) and `until` (exclusive) are local unless they carry an offset. Without `since` an incremental
    feed goes on where it stopped, less the contract's look-back; `until` is `now`. A file feed without `file` takes
    every file of its drop folder. UsageError for wrong calls, PermanentError and TransientError as they come.
    """
    contract = find_contract(settings.contracts, feed)
    clock: Callable[[], datetime] = (lambda: now) if now is not None else (lambda: datetime.now(UTC))
    zone = ZoneInfo(settings.timezone)
    bounds = _bound(since, "--since", zone), _bound(until, "--until", zone)
    if mapping and not file:
        raise UsageError("--mapping says how the columns of a --file are named: give the file too")
    columns = load_mapping(mapping, contract) if mapping else None
    with connect(settings, role=ROLE) as connection:
        codes, last_end = _known(connection, contract)
    if file or isinstance(contract.connector, FileDrop):
        window = _file_window(bounds)
        files = [_existing(file)] if file else drop_files(settings, contract)
        landings = [
            partial(extract_file, settings, contract, path, columns, codes, window, clock, mapping, progress)
            for path in files
        ]
    else:
        asked = None if contract.kind == "register" else _http_window(contract, bounds, last_end, clock(), zone)
        landings = [partial(extract_http, settings, contract, asked, codes, clock, progress)]
    results: list[LoadResult] = []
    failed: list[HailongError] = []
    for fetch in landings:
        try:
            results.append(load_landing(settings, fetch().folder))
        except (PermanentError, TransientError) as error:  # a broken file must not hide those after it
            failed.append(error)
            continue
        except OSError as error:
            raise TransientError(
                f"{feed}: {error.filename or settings.landing} could not be read or written ({error.strerror}): "
                "free some space or check the rights, and run it again"
            ) from error
        if progress:
            progress(results[-1].message)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        kind = PermanentError if any(isinstance(error, PermanentError) for error in failed) else TransientError
        raise kind(f"{feed}: {len(failed)} of {len(landings)} files failed: " + "; ".join(map(str, failed)))
    return _summed(feed, results)


def extract_http(
    settings: Settings,
    contract: Contract,
    window: Window | None,
    codes: CodeMap | None,
    clock: Callable[[], datetime],
    progress: Progress | None = None,
) -> Landing:
    """Fetch a feed from its service into a landing folder."""
    connector = contract.connector
    started = clock()
    zone = ZoneInfo(settings.timezone)
    with Client(connector.system, settings.source(connector.system)) as client:
        source: Iterable[list[Any]]
        if isinstance(connector, PagedHttp):
            since, until = (bound.astimezone(zone) for bound in window) if window else (None, None)
            source = Pages(contract.feed, client, connector, since, until, progress)
        elif isinstance(connector, PortalWindows) and window:
            asked = windows(settings.rules, window[0].astimezone(zone), window[1].astimezone(zone))
            source = Snapshots(client, connector, asked, clock, progress)
        else:
            raise PermanentError(f"{contract.feed}: the connector in {contract.path.name} has no window to ask for")
        extract_id = f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        with LandingWriter(settings.landing, contract, extract_id) as writer:
            land(Converter(contract, settings.timezone, codes), source, writer)
            return writer.finish(
                source=f"{connector.system}{connector.path}",
                declared=source.declared if isinstance(source, Pages) else None,
                window=window,
                started_at=started,
                finished_at=clock(),
                code_version=settings.code_version,
            )


def extract_file(
    settings: Settings,
    contract: Contract,
    path: Path,
    mapping: ColumnMapping | None,
    codes: CodeMap | None,
    window: Window | None,
    clock: Callable[[], datetime],
    mapping_path: Path | None = None,
    progress: Progress | None = None,
) -> Landing:
    """Read a dropped file into a landing folder.

    The folder's name follows from everything that the outcome depends on, so the same file read again is the same
    landing, and loading it again changes nothing.
    """
    extract_id = _file_id(settings, contract, path, mapping_path, codes, window)
    complete = settings.landing / contract.feed / extract_id
    if (complete / MANIFEST).is_file():
        if progress:
            progress(f"{contract.feed}: {path.name} was read before, landing {extract_id}")
        return read_landing(complete)
    started = clock()
    zone = ZoneInfo(settings.timezone)
    dropped = DroppedFile(path, contract, mapping, zone, window, started)
    watched = (mapping.window_columns if mapping else ()) or contract.window_columns
    with LandingWriter(settings.landing, contract, extract_id) as writer:
        seen = land(Converter(contract, settings.timezone, codes), dropped, writer, watched).seen
        if not writer.received:
            raise PermanentError(f"{contract.feed}: {path.name} holds no record: nothing was landed")
        if window is None and contract.kind == "event":
            window = _window_of(contract, path, seen, watched, zone)
        if progress:
            progress(f"{contract.feed}: {path.name}, {writer.received:,} records")
        return writer.finish(
            source=path.name,
            declared=None,
            window=window,
            started_at=started,
            finished_at=clock(),
            code_version=settings.code_version,
        )


def drop_folder(settings: Settings, system: str) -> Path:
    """Where files of a system are dropped: HAILONG_SOURCE_<SYSTEM>_DROP, else `drop/<system>` in HAILONG_HOME."""
    given = settings.env.get(f"HAILONG_SOURCE_{system.upper()}_DROP")
    return Path(given).absolute() if given else settings.home / "drop" / system


def drop_files(settings: Settings, contract: Contract) -> list[Path]:
    """Files of the feed in its drop folder, by name; PermanentError when there is none."""
    connector = contract.connector
    if not isinstance(connector, FileDrop):
        raise UsageError(f"{contract.feed} is not a file feed: give --file")
    folder = drop_folder(settings, connector.system)
    found = sorted(path for path in folder.glob(connector.pattern) if path.is_file())
    if not found:
        raise PermanentError(
            f"{contract.feed}: no file {connector.pattern} in {folder}: put one there, give --file, or set "
            f"HAILONG_SOURCE_{connector.system.upper()}_DROP to the folder where they are dropped"
        )
    return found


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
    until = until or now.astimezone(UTC).replace(microsecond=0)
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
        last_end = last_window_end(connection, contract.feed)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        raise PermanentError(
            f"the warehouse is not set up ({str(error).splitlines()[0]}): run `hailong db migrate`"
        ) from None
    if coded and not codes:
        raise PermanentError(
            f"{contract.feed} holds source codes and the code map is empty: "
            "ingest unit_register, procedure_register, code_map first"
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
        received=sum(result.received for result in results),
        loaded=sum(result.loaded for result in results if result.created),
        unchanged=sum(result.unchanged for result in results if result.created),
        duplicate=sum(result.duplicate for result in results if result.created),
        quarantined=sum(result.quarantined for result in results if result.created),
        message="\n".join(result.message for result in results),
    )
