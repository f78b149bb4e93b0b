"""docs/add-a-feed.md is true: its blocks, word for word, make a feed of each known kind that is read and built."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from psycopg import sql

from hailong.contracts import load_contracts
from hailong.extract.run import ingest
from hailong.load.ledger import feed_status
from hailong.settings import PROJECT, Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from hailong.warehouse.migrations import migrate
from tests.conftest import Sandbox

pytestmark = pytest.mark.slow

DOC = PROJECT / "docs" / "add-a-feed.md"
CONTRACT = "expectations/contracts/hotline_call.yaml"
MODEL = "dbt_project/models/staging/stg_hotline__call.sql"
SOURCES, DESCRIPTIONS = "dbt_project/models/staging/_sources.yml", "dbt_project/models/staging/_staging.yml"
TOKEN = "token-of-the-hotline"
KINDS = {"paged_http": "hotline_call", "sql_view": "hotline_call_view", "file_drop": "hotline_call_file"}


def blocks() -> dict[str, list[str]]:
    """The YAML and SQL blocks of the page by what their first line names."""
    found: dict[str, list[str]] = {}
    for place, text in re.findall(r"```(?:yaml|sql)\n(?:#|--) (\S+)\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL):
        found.setdefault(place, []).append(text)
    return found


def add_feed(contracts: Path, project: Path, kind: str) -> None:
    """Do what the page says, for one kind of connector."""
    told, feed = blocks(), KINDS[kind]
    contract = told[CONTRACT][0]
    if kind != "paged_http":
        other = next(text for text in told["connector"] if f"kind: {kind}" in text)
        contract, replaced = re.subn(r"  - property: connector\n(?:    .*\n)+", lambda _: other, contract)
        assert replaced == 1
    (contracts / f"{feed}.yaml").write_text(re.sub(r"\bhotline_call\b", feed, contract), "utf-8")
    model = feed.replace("hotline_call", "stg_hotline__call")
    place = project / "models" / "staging"
    (place / f"{model}.sql").write_text(told[MODEL][0].replace("'hotline_call'", f"'{feed}'"), "utf-8")
    sources = (place / "_sources.yml").read_text("utf-8")
    line = told[SOURCES][0].replace("hotline_call", feed)
    (place / "_sources.yml").write_text(sources.replace("  - name: ops\n", f"{line}  - name: ops\n", 1), "utf-8")
    with (place / "_staging.yml").open("a", encoding="utf-8") as handle:
        handle.write(told[DESCRIPTIONS][0].replace("stg_hotline__call", model))


def calls(unit: str) -> list[dict[str, Any]]:
    """Six calls of the last week; the last one is about a unit that nobody knows."""
    days = [f"{datetime.now(UTC) - timedelta(days=7 - number):%Y%m%d}" for number in range(6)]
    return [
        {
            "maCuocGoi": f"C{number:03d}", "maCoQuan": unit if number < 5 else "KHÔNG CÓ",
            "thoiDiemTraLoi": f"{days[number]}080000", "capNhat": f"{days[number]}090000",
            "nguoiGoi": "Người Gọi Mẫu 1", "soDienThoai": "0900000042", "noiDung": "Nội dung cuộc gọi",
        }
        for number in range(6)
    ]  # fmt: skip


@pytest.fixture
def service() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A hotline over HTTP: its address and its calls."""
    records: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            known = parts.path == "/api/calls" and self.headers["Authorization"] == f"Bearer {TOKEN}"
            page, size = int(query.get("page", 1)), int(query.get("size", 1))
            since, until = (re.sub(r"\D", "", query.get(name, ""))[:14] for name in ("updatedFrom", "updatedTo"))
            found = [record for record in records if since <= re.sub(r"\D", "", record["capNhat"]) < until]
            items = found[(page - 1) * size : page * size]
            body = json.dumps({"total": len(found), "page": page, "items": items}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", records
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page_adds_a_feed_of_each_kind_that_is_read_built_and_scheduled(
    new_warehouse: Callable[..., Settings],
    start_sandbox: Callable[..., Sandbox],
    service: tuple[str, list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    contracts, project = tmp_path / "contracts", tmp_path / "dbt_project"
    shutil.copytree(PROJECT / "expectations" / "contracts", contracts)
    shutil.copytree(PROJECT / "dbt_project", project, ignore=shutil.ignore_patterns("target", "logs"))
    for kind in KINDS:
        add_feed(contracts, project, kind)
    url, records = service
    database, drop = tmp_path / "hotline.sqlite", tmp_path / "drop"
    settings = new_warehouse(
        **start_sandbox("--size", "600").env,
        HAILONG_CONTRACTS=str(contracts), HAILONG_RULES=str(project),
        HAILONG_SOURCE_HOTLINE_URL=url, HAILONG_SOURCE_HOTLINE_TOKEN=TOKEN,
        HAILONG_SOURCE_HOTLINE_DATABASE_URL=f"sqlite:///{database}", HAILONG_SOURCE_HOTLINE_FILES_DROP=str(drop),
    )  # fmt: skip
    migrate(settings)
    for feed in ("code_map", "unit_register", "procedure_register"):
        ingest(settings, feed)
    with connect(settings) as connection:
        unit, target = connection.execute(
            "select source_code, target_code from raw.code_map where system = 'tthc' and code_kind = 'unit'"
            " and target_code is not null order by source_code limit 1"
        ).fetchone() or (None, None)
    records += calls(str(unit))
    write_view(database, records)
    drop.mkdir()
    with (drop / "cuoc_goi_202610.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(records[0]))
        writer.writeheader()
        writer.writerows(records)

    for feed in KINDS.values():
        result = ingest(settings, feed)
        assert (result.received, result.loaded, result.quarantined) == (6, 5, 1), feed
        again = ingest(settings, feed)
        # A file that was read before is known by its content.
        assert (again.loaded, again.unchanged) == (0, 5) if feed != KINDS["file_drop"] else not again.created, feed
    build(settings)

    with connect(settings) as connection:
        for feed in KINDS.values():
            view = feed.replace("hotline_call", "stg_hotline__call")
            query = sql.SQL("select call_id, unit_code from staging.{} order by 1").format(sql.Identifier(view))
            assert connection.execute(query).fetchall() == [(f"C{n:03d}", target) for n in range(5)], feed
        status = {row["feed"]: row for row in feed_status(connection, load_contracts(contracts), datetime.now(UTC))}
    assert all(status[feed]["fresh"] and status[feed]["quarantine_open"] == 1 for feed in KINDS.values())
    assert not [feed for feed in KINDS.values() if status[feed]["findings"]], (
        "every field has its place in the contract"
    )
    assert scheduled(settings, tmp_path) == {
        "ingest__hotline_call", "ingest__hotline_call_view", "ingest__hotline_call_file",
        "census__hotline_call", "census__hotline_call_view",
    }  # fmt: skip


def write_view(database: Path, records: list[dict[str, Any]]) -> None:
    engine = sa.create_engine(f"sqlite:///{database}")
    table = sa.Table("cuoc_goi", sa.MetaData(), *(sa.Column(name, sa.Text) for name in records[0]))
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), records)
        connection.execute(sa.text("create view v_cuoc_goi as select * from cuoc_goi"))
    engine.dispose()


def scheduled(settings: Settings, home: Path) -> set[str]:
    """The DAGs that are there because of the new contracts."""
    env = {
        "PATH": os.environ["PATH"], "HOME": str(home), "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "HAILONG_CONTRACTS": str(settings.contracts),
    }  # fmt: skip
    command = [sys.executable, str(PROJECT / "tests" / "dags" / "describe_dags.py"), str(PROJECT / "dags")]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=PROJECT, timeout=120, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == {}
    return {dag_id for dag_id in found["dags"] if "hotline" in dag_id}


def test_before_the_schema_knows_it_every_command_says_what_to_do(warehouse: Settings, tmp_path: Path) -> None:
    contracts = tmp_path / "contracts"
    shutil.copytree(PROJECT / "expectations" / "contracts", contracts)
    (contracts / "hotline_call.yaml").write_text(blocks()[CONTRACT][0], "utf-8")
    given = tmp_path / "calls.csv"
    given.write_text("maCuocGoi,maCoQuan,capNhat\nC1,X,20261001080000\n", "utf-8")
    for arguments in (
        ["status"], ["quarantine", "list"], ["trace", "hotline_call", "C1"],
        ["ingest", "hotline_call", "--file", str(given), "--since", "2026-10-01", "--until", "2026-10-02"],
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "hailong.cli", *arguments], cwd=PROJECT, capture_output=True, text=True,
            env={**os.environ, **warehouse.env, "HAILONG_CONTRACTS": str(contracts)}, timeout=120,
        )  # fmt: skip
        assert done.returncode == 1, arguments
        assert "Traceback" not in done.stderr, arguments
        assert "hotline_call" in done.stderr or "code_map" in done.stderr, arguments
        assert "hailong db migrate" in done.stderr or "hailong ingest code_map" in done.stderr, done.stderr
