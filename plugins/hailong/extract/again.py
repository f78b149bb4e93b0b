"""Records that come again byte for byte become the rows that they became before.

A look-back read brings forty-five days of records of which one day is new. What a record becomes depends on its bytes and on the
conversion (contract, code map, pseudonym key, code of this package) and on nothing else; so a landing keeps a keyed
fingerprint of each record's bytes, and the next read takes the row from there. The landing that comes out is the same as
without (a property test compares the two), and what stands in the warehouse is not asked.

The key is the pseudonym key, which is stored nowhere here: without it a fingerprint tells nothing of the person behind it. A
feed with personal fields and without such a key has no fingerprints.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

import hailong
from hailong.contracts import Contract, PagedHttp
from hailong.errors import PermanentError
from hailong.extract.records import Converter
from hailong.load.landing import FINGERPRINT, FINGERPRINT_BYTES, MANIFEST, Landing, read_landing

MOST_ROWS = 2_000_000  # of an earlier landing that are looked up, twelve bytes each
LOOKED_AT = 50  # landings before this one among which the one to take rows from is chosen
HELD = 3  # row groups in memory


class Fingerprints:
    """Fingerprints under one conversion; `conversion` names it, and rows of another one are never taken."""

    def __init__(self, converter: Converter, timezone: str) -> None:
        keyed = converter.pseudonyms
        self._key = keyed.secret_of("fingerprint") if keyed else b""
        made_by = (_code(), converter.contract.path.read_bytes(), _codes(converter), timezone.encode())
        pseudonyms = (keyed.key_id.encode(), self._key) if keyed else ()
        self.conversion = _sha256(*(_sha256(part) for part in (*made_by, *pseudonyms))).hex()

    @classmethod
    def of(cls, converter: Converter, timezone: str) -> Fingerprints | None:
        """None where there are none: feeds that are not paged, that hold persons and no key, and a census."""
        contract = converter.contract
        is_safe = converter.pseudonyms is not None or not contract.personal
        if converter.only_keys or not is_safe or not isinstance(contract.connector, PagedHttp):
            return None
        return cls(converter, timezone)

    def take(self, records: Iterable[Any]) -> Any:
        """Two numbers for each record's bytes: an array (records, 2)."""
        keyed = hashlib.sha256(self._key).copy

        def of(record: Any) -> bytes:
            told = keyed()
            told.update(record)
            return told.digest()

        return np.frombuffer(b"".join(map(of, records)), np.int64).reshape(-1, 4)[:, :2]


def _codes(converter: Converter) -> bytes:
    codes = converter.codes
    return repr(None if codes is None else sorted((*key, *sorted(found)) for key, found in codes.items())).encode()


@cache
def _code() -> bytes:
    """All that converts, in any version but this: a change must not leave rows of before."""
    paths = sorted(Path(hailong.__file__).parent.rglob("*.py"))
    libraries = f"{sys.version} {pa.__version__} {orjson.__version__} {msgspec.__version__} {np.__version__}"
    return _sha256(libraries.encode(), *(_sha256(path.read_bytes()) for path in paths))


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def as_column(prints: Any) -> pa.Array:
    """The column of a landing for fingerprints, (records, 2)."""
    kind = pa.binary(FINGERPRINT_BYTES)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(prints), [None, pa.py_buffer(np.ascontiguousarray(prints))])


def _of_column(column: Any) -> Any:
    """The fingerprints of a column of a landing, (rows, 2); anything where there is none."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(whole):
        return np.empty((0, 2), np.int64)
    return np.frombuffer(whole.buffers()[1], np.int64).reshape(-1, 2)[whole.offset : whole.offset + len(whole)]


class Earlier:
    """Rows of an earlier landing of the feed, found by fingerprint. Memory: twelve bytes a row, and a few row groups."""

    def __init__(self, landing: Landing) -> None:
        self._path = landing.records
        self._file: Any = pq.ParquetFile(self._path)
        metadata = self._file.metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._held: OrderedDict[int, pa.RecordBatch] = OrderedDict()
        halves, places, begin = [], [], 0
        for number, size in enumerate(sizes):
            if begin + size > MOST_ROWS:
                break
            column = self._file.read_row_group(number, columns=[FINGERPRINT], use_threads=False).column(0)
            places.append((np.flatnonzero(column.is_valid().to_numpy()) + begin).astype(np.int32))
            halves.append(_of_column(column)[places[-1] - begin, 0])
            begin += size
        prints, rows = (np.concatenate(found) if found else np.empty(0, np.int64) for found in (halves, places))
        order = np.argsort(prints, kind="stable")
        self._prints, self._rows = prints[order], rows[order]

    def take(self, prints: Any) -> tuple[Any, pa.RecordBatch | None]:
        """(which of the fingerprints are known, their rows in the same order), with the numbers of then."""
        known = np.zeros(len(prints), bool)
        if not len(self._prints) or not len(prints):
            return known, None
        at = np.searchsorted(self._prints, prints[:, 0])
        at[at == len(self._prints)] = 0
        likely = np.flatnonzero(self._prints[at] == prints[:, 0])
        rows = self._rows[at[likely]]
        group = np.searchsorted(self._starts, rows, side="right") - 1
        wanted, hits = np.unique(group, return_counts=True)
        if len(wanted) > HELD:  # in another order than then: only what lies together is worth the reading
            wanted = wanted[np.argsort(hits, kind="stable")[-HELD:]]
        pieces, places = [], []
        for number in wanted.tolist():
            here = group == number
            piece = self._group(number).take(pa.array(rows[here] - self._starts[number]))
            is_same = (_of_column(piece.column(FINGERPRINT)) == prints[likely[here]]).all(axis=1)
            pieces.append(piece if is_same.all() else piece.filter(pa.array(is_same)))
            places.append(likely[here][is_same])
        if not sum(map(len, places)):
            return known, None
        at = np.concatenate(places)
        known[at] = True
        if len(pieces) == 1:
            return known, pieces[0]
        return known, pa.concat_batches(pieces).take(pa.array(np.argsort(at)))

    def _group(self, number: int) -> pa.RecordBatch:
        if number not in self._held:
            while len(self._held) >= HELD:
                self._held.popitem(last=False)
            table = self._file.read_row_group(number, use_threads=False)
            self._held[number] = table.combine_chunks().to_batches()[0]
        self._held.move_to_end(number)
        return self._held[number]


def find_earlier(
    root: Path, contract: Contract, conversion: str, window: tuple[datetime, datetime] | None
) -> Earlier | None:
    """Rows of the newest landing of the feed that was converted in the same way and whose window overlaps this one most."""
    best: tuple[float, Path] | None = None
    folders = sorted(((root / contract.feed).glob(f"2*/{MANIFEST}")), reverse=True)
    for path in islice(folders, LOOKED_AT):
        try:
            manifest = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        if manifest.get("conversion") != conversion or not manifest.get("records"):
            continue
        shared = _shared(manifest, window)
        if shared > 0 and (best is None or shared > best[0]):
            best = shared, path.parent
    if best is None:
        return None
    try:
        return Earlier(read_landing(best[1]))
    except (PermanentError, OSError, pa.ArrowException):
        return None  # what cannot be read is converted again


def _shared(manifest: dict[str, Any], window: tuple[datetime, datetime] | None) -> float:
    """Seconds that the windows have in common."""
    if window is None or manifest["window_start"] is None:
        return float(window is None and manifest["window_start"] is None)
    start, end = (datetime.fromisoformat(manifest[name]) for name in ("window_start", "window_end"))
    return (min(end, window[1]) - max(start, window[0])).total_seconds()
