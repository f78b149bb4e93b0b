"""The pages of the bench: dossiers of the sandbox, encoded once, served from a file by a small server of their own.

The server answers from a memory map, so that it is not the brake; it takes POST with a page number in the body and
ignores the window that is asked for. `/x10/…` serves every page ten times under other dossier codes.
"""

from __future__ import annotations

import asyncio
import mmap
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from sandbox.generator import City
from sandbox.options import Options, moment
from sandbox.records import DossierFeed
from sandbox.registers import code_records, procedure_records, unit_records

SIZE = 1000
DAYS = 30  # all dossiers changed within these, so that one read and one look-back hold them
KEY = b'"MaHoSo":"'
REGISTERS = {
    "LayDanhSachTTHC": ("DanhSachTTHC", procedure_records),
    "LayDanhMucCoQuan": ("DanhSachCoQuan", unit_records),
    "LayDanhMucMa": ("DanhSachMa", code_records),
}


def make(folder: Path, count: int) -> dict[str, Any]:
    """Write the pages of `count` dossiers (once); returns {rows, bytes, pages, start, end}: local moments without offset."""
    about = folder / f"{count}.json"
    if about.is_file():
        return dict(orjson.loads(about.read_bytes()))
    folder.mkdir(parents=True, exist_ok=True)
    city = City(Options(size=count * 5 // 4, span_months=1, bad_records=0))
    feed = DossierFeed(city, city.end)
    low, high = feed.window(city.end - DAYS * 86_400, city.end + 1)
    if high - low < count:
        raise SystemExit(f"the sandbox made {high - low} dossiers of the last {DAYS} days, {count} are needed")
    offsets = [0]
    with (folder / f"{count}.bin").open("wb") as out:
        for first in range(low, low + count, SIZE):
            out.write(orjson.dumps(feed.page(first, min(first + SIZE, low + count)))[1:-1])
            offsets.append(out.tell())
    end: datetime = moment(city.end) + timedelta(seconds=1)
    found = {
        "rows": count,
        "bytes": offsets[-1],
        "offsets": offsets,
        "start": (end - timedelta(days=DAYS)).isoformat(),
        "end": end.isoformat(),
    }
    about.write_bytes(orjson.dumps(found))
    return found


class Server(asyncio.Protocol):
    """Just enough HTTP/1.1 for the clients of the bench."""

    def __init__(self, pages: mmap.mmap, offsets: list[int], rows: int) -> None:
        self._pages, self._offsets, self._rows = pages, offsets, rows
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out = transport

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head = self._waiting[:end]
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(self._waiting) < end + 4 + length:
                return
            body = self._waiting[end + 4 : end + 4 + length]
            self._waiting = self._waiting[end + 4 + length :]
            parts = self._answer(head.split(b" ", 2)[1].decode(), body)
            size = sum(map(len, parts))
            self._out.writelines(
                [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size, *parts]
            )

    def _answer(self, path: str, body: bytes) -> list[bytes | memoryview]:
        asked = orjson.loads(body or b"{}")
        name = path.rpartition("/")[2]
        page = int(asked.get("Trang", 1))
        if name in REGISTERS:
            field, records = REGISTERS[name]
            found = records()
            size = int(asked.get("SoBanGhi", SIZE))
            listed = orjson.dumps(found[(page - 1) * size : page * size])[1:-1]
            return _wrapped(field, len(found), page, listed)
        copies = int(path.split("/")[1][1:]) if path.startswith("/x") else 1
        count = len(self._offsets) - 1
        copy, number = divmod(page - 1, count)
        if copy >= copies:
            return _wrapped("DanhSachHoSo", self._rows * copies, page, b"")
        start, end = self._offsets[number : number + 2]
        items: bytes | memoryview = memoryview(self._pages)[start:end]
        if copy:
            items = bytes(items).replace(KEY, KEY + b"%d-" % copy)
        return _wrapped("DanhSachHoSo", self._rows * copies, page, items)


def _wrapped(field: str, total: int, page: int, items: bytes | memoryview) -> list[bytes | memoryview]:
    head = b'{"error_code":"0","error_message":"","TongSo":%d,"Trang":%d,"%s":[' % (total, page, field.encode())
    return [head, items, b"]}"]


async def serve(folder: Path, count: int) -> None:
    """Answer until stopped; the port is the first line of standard output."""
    about = orjson.loads((folder / f"{count}.json").read_bytes())
    with (folder / f"{count}.bin").open("rb") as handle:
        pages = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Server(pages, about["offsets"], count), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
