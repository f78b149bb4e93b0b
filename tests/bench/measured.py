"""What is measured, each in a process of its own: `python -m tests.bench.measured ours|minimum`.

Prints one line of JSON: seconds from the first request to the commit (imports left out), peak memory of the process, and
what came of it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson


def peak_memory() -> int:
    """Bytes of memory that this process held at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status does not tell the peak memory")


def ours() -> Callable[[], dict[str, Any]]:
    """`hailong ingest dossier`: HTTP, contract, landing folder, load, commit."""
    from hailong.extract.run import ingest
    from hailong.settings import Settings

    settings = Settings.load()
    settings.code_version  # noqa: B018  # asks git, once

    def run() -> dict[str, Any]:
        result = ingest(
            settings,
            "dossier",
            since=os.environ.get("BENCH_SINCE"),
            now=datetime.fromisoformat(os.environ["BENCH_NOW"]),
        )
        landings = settings.landing / "dossier" / Path(result.landings[-1]).name
        return {
            "received": result.received,
            "loaded": result.loaded,
            "unchanged": result.unchanged,
            "quarantined": result.quarantined,
            "batches": len(result.batch_ids),
            "landing_bytes": sum(path.stat().st_size for path in landings.iterdir()),
        }

    return run


def minimum() -> Callable[[], dict[str, Any]]:
    """The same pages read (one ahead, as ours), decoded and binary-COPYed, nothing else: the contract's fields as text."""
    import adbc_driver_postgresql.dbapi as adbc
    import httpx
    import pyarrow as pa

    from hailong.contracts import find_contract
    from hailong.settings import Settings

    settings = Settings.load()
    contract = find_contract(settings.contracts, "dossier")
    fields = [column.source for column in contract.columns if column.source]
    lists = {column.source for column in contract.columns if column.items}
    schema = pa.schema([(field, pa.string()) for field in fields])
    url = f"{settings.source('tthc').url}/TraCuuHoSo"

    def column(records: list[dict[str, Any]], field: str) -> pa.Array:
        values = [record[field] for record in records]
        if field in lists:
            values = [orjson.dumps(value).decode() for value in values]
        else:
            values = [value if value is None or value.__class__ is str else str(value) for value in values]
        return pa.array(values, pa.string())

    def run() -> dict[str, Any]:
        rows = 0
        with httpx.Client() as client, ThreadPoolExecutor(1) as ahead:

            def page(number: int) -> dict[str, Any]:
                asked = orjson.dumps({"Trang": number, "SoBanGhi": 1000})
                found: dict[str, Any] = orjson.loads(client.post(url, content=asked).content)
                return found

            def batches() -> Iterator[Any]:
                nonlocal rows
                number, coming = 1, ahead.submit(page, 1)
                while True:
                    answer = coming.result()
                    records = answer["DanhSachHoSo"]
                    rows += len(records)
                    number += 1
                    done = rows >= answer["TongSo"]
                    if not done:
                        coming = ahead.submit(page, number)
                    yield pa.RecordBatch.from_arrays([column(records, field) for field in fields], schema=schema)
                    if done:
                        return

            assert settings.dsn
            with adbc.connect(settings.dsn) as connection, connection.cursor() as cursor:
                kinds = ", ".join(f'"{field}" text' for field in fields)
                cursor.execute(f"create table bench_minimum ({kinds})")  # names of our own contract
                reader = pa.RecordBatchReader.from_batches(schema, batches())
                cursor.adbc_ingest("bench_minimum", reader, mode="append")
                connection.commit()
        return {"received": rows, "loaded": rows}

    return run


if __name__ == "__main__":
    work = {"ours": ours, "minimum": minimum}[sys.argv[1]]()
    before, cpu = time.perf_counter(), time.process_time()
    told = work()
    seconds = time.perf_counter() - before
    print(orjson.dumps({"seconds": seconds, "cpu": time.process_time() - cpu, "memory": peak_memory()} | told).decode())
