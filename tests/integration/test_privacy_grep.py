"""Nobody passes the door: people planted in every feed, in good records and bad ones, are in no file, table or message.

The officials of a feed that needs them pass as pseudonyms. Airflow's own logs and tables: tests/e2e/test_demo_road.py.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import uvicorn
import xlsxwriter
from psycopg import sql

from hailong.contracts import Column, Contract, FileDrop, PagedHttp, PortalWindows, SqlView, load_contracts
from hailong.extract.files import DroppedFile
from hailong.settings import PROJECT, Settings
from hailong.warehouse.connect import connect
from sandbox.generator import City
from sandbox.options import Options
from sandbox.server import Sandbox, build_app
from tests.conftest import PSEUDONYM_KEYS
from tests.privacy import Person, found_in, pattern, planted, search_files, search_tables

pytestmark = pytest.mark.slow

CONTRACTS = load_contracts(PROJECT / "expectations" / "contracts")
FIRST = ("code_map", "unit_register", "procedure_register")
FEEDS = (*FIRST, *(feed for feed in CONTRACTS if feed not in FIRST))
TOKEN = "Kanari-token-of-the-source"
SECRETS = tuple(entry.partition(":")[2] for entry in PSEUDONYM_KEYS.split(",")[:1])
WANTED = pattern(TOKEN, *SECRETS)
SPOILED = 24  # records at the start of each feed that are broken on purpose


# -- sources that hold people -------------------------------------------------------------------------------------------


def broken(contract: Contract, record: dict[str, Any], number: int) -> Any:
    """The record, spoiled in one of the ways that the door knows, with a person where none belongs."""
    person = Person(90_000 + number)
    of_type: dict[str, list[Any]] = {}
    for column in contract.columns:
        if column.source in record and not column.pseudonym and not column.items:
            kind = "code" if column.codes and column.codes.check else column.type
            of_type.setdefault(kind, []).append(column)
    texts = [column for column in of_type.get("text", []) if not column.key_position]
    lists = [column for column in contract.columns if column.items and column.source in record]
    key = contract.keys[0].source or ""
    ways: list[Callable[[], Any]] = [
        lambda: record | {key: None},
        lambda: record | {name: [person.name, {"cccd": person.identity}] for name in contract.personal},
    ]
    misplaced = [
        ("timestamptz", person.name), ("date", person.phone), ("numeric", person.words), ("bigint", person.email),
        ("integer", person.identity + "x"), ("boolean", person.name), ("code", person.name), ("code", person.phone),
        ("code", person.identity), ("code", person.email),
    ]  # fmt: skip
    for kind, value in misplaced:
        ways += [lambda c=column, v=value: record | {c.source: v} for column in of_type.get(kind, [])[:1]]
    for column in texts[:1]:
        ways.append(lambda c=column: record | {c.source: person.words * 200})
    for column in lists[:1]:
        ways.append(lambda c=column: record | {c.source: person.words})
        ways.append(lambda c=column: record | {c.source: [person.name]})
        ways.append(lambda c=column: record | {c.source: [dict.fromkeys(unreadable(c), person.words)]})
    if isinstance(contract.connector, PagedHttp):  # a cell holds a text, whatever it looks like
        ways += [
            lambda: person.words,  # no record at all
            lambda: [person.name, person.phone],
            lambda: record | {key: {"hoTen": person.name}},
            *(lambda c=column: record | {c.source: person.name + "\x00"} for column in texts[:1]),
            *(lambda c=column: record | {c.source: {"ten": person.name}} for column in texts[:1]),
        ]
    return ways[number % len(ways)]()


def unreadable(column: Column) -> list[str]:
    """Fields of a nested list in which a sentence cannot be read."""
    return [item.source for item in column.items if item.source and (item.type != "text" or item.codes)]


@dataclass
class Planting:
    """Plants people into the records of a feed, and spoils the first of them."""

    contract: Contract
    seen: int = 0

    def __call__(self, records: list[Any]) -> list[Any]:
        return [self.one(record) for record in records]

    def one(self, record: Any) -> Any:
        person = Person(self.seen % 50_000)
        self.seen += 1
        filled = planted(record, self.contract.personal, person)
        if self.spoils and self.seen <= SPOILED:
            return broken(self.contract, deepcopy(filled), self.seen - 1)
        return filled

    @property
    def spoils(self) -> bool:
        """Registers are needed whole, and a window of the portal is taken whole or not at all."""
        return self.contract.kind == "event" and not isinstance(self.contract.connector, PortalWindows)


@dataclass
class PlantingApp:
    """The sandbox with other people in its answers."""

    app: Any
    plantings: Mapping[str, Planting]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        planting = self.of(scope.get("path", ""))
        if planting is None:
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}
        body = b""

        async def hold(message: Any) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            answer = orjson.loads(body)
            changed = orjson.dumps(self.plant(answer, planting))
            headers = [(k, v) for k, v in start["headers"] if k != b"content-length"]
            await send(start | {"headers": [*headers, (b"content-length", str(len(changed)).encode())]})
            await send({"type": "http.response.body", "body": changed})

        await self.app(scope, receive, hold)

    def of(self, path: str) -> Planting | None:
        for planting in self.plantings.values():
            connector = planting.contract.connector
            if isinstance(connector, PagedHttp | PortalWindows) and path.startswith(
                f"/{connector.system}{connector.path}"
            ):
                return planting
        return None

    def plant(self, answer: Any, planting: Planting) -> Any:
        """Every list of objects in the answer is one of records."""
        if isinstance(answer, list) and answer and isinstance(answer[0], dict):
            return planting(answer)
        if isinstance(answer, dict):
            return {key: self.plant(value, planting) for key, value in answer.items()}
        return answer


def drop_of(contract: Contract, folder: Path, source: Path, planting: Planting) -> None:
    """The dropped files of a feed anew, with people in them."""
    assert isinstance(contract.connector, FileDrop)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob(contract.connector.pattern)):
        dropped = DroppedFile(path, contract, None, ZoneInfo("Asia/Ho_Chi_Minh"), None, datetime.now().astimezone())
        rows = [row for chunk in dropped for row in chunk if isinstance(row, dict)]
        changed = [row for row in planting(rows) if isinstance(row, dict)]
        header = list(dict.fromkeys(name for row in changed for name in row))
        lines = [header, *([cell(row.get(name)) for name in header] for row in changed)]
        if path.suffix == ".xlsx":
            with xlsxwriter.Workbook(str(folder / path.name)) as book:
                sheet = book.add_worksheet(contract.connector.sheet)
                for place, line in enumerate(lines):
                    sheet.write_row(place, 0, line)
        else:
            with (folder / f"{path.stem}.csv").open("w", encoding="utf-8-sig", newline="") as handle:
                csv.writer(handle).writerows(lines)


def cell(value: Any) -> str:
    if value is None:
        return ""
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return text.replace("\x00", "")


def view_of(contract: Contract, database: Path, source: Path, planting: Planting) -> None:
    """The view of a city database as a table, with people in it."""
    assert isinstance(contract.connector, SqlView)
    name = contract.connector.view.rpartition(".")[2]
    old = sa.create_engine(f"sqlite:///{source}")
    view = sa.Table(name, sa.MetaData(), autoload_with=old)
    with old.connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(sa.select(view))]
    changed = [row for row in planting(rows) if isinstance(row, dict)]
    header = list(dict.fromkeys(name for row in changed for name in row))
    new = sa.create_engine(f"sqlite:///{database}")
    table = sa.Table(name, sa.MetaData(), *(sa.Column(column, sa.Text) for column in header))
    with new.begin() as connection:
        table.create(connection)
        for row in changed:
            values = {name: v if isinstance(v, str | int | float | None) else str(v) for name, v in row.items()}
            connection.execute(table.insert().values(values))


@dataclass
class Road:
    """A warehouse after every feed, a build and a gate, and all that was said on the way."""

    settings: Settings
    plantings: dict[str, Planting]
    said: dict[str, str]


@pytest.fixture(scope="module")
def road(new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    folder = tmp_path_factory.mktemp("people")
    city = City(Options(size=600))
    sandbox = Sandbox(city, TOKEN, city.end, folder / "given")
    plantings = {feed: Planting(contract) for feed, contract in CONTRACTS.items()}
    config = uvicorn.Config(PlantingApp(build_app(sandbox), plantings), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    env = {}
    for contract in CONTRACTS.values():
        connector, prefix = contract.connector, f"HAILONG_SOURCE_{contract.connector.system.upper()}"
        given = folder / "given" / ("" if connector.system == "inspection" else connector.system)
        if isinstance(connector, FileDrop):
            drop_of(contract, folder / "drop" / connector.system, given, plantings[contract.feed])
            env[f"{prefix}_DROP"] = str(folder / "drop" / connector.system)
        elif isinstance(connector, SqlView):
            view_of(contract, folder / "city.sqlite", folder / "given" / "city.sqlite", plantings[contract.feed])
            env[f"{prefix}_URL"] = f"sqlite:///{folder / 'city.sqlite'}"
        else:
            env |= {f"{prefix}_URL": f"{url}/{connector.system}", f"{prefix}_TOKEN": TOKEN}
    settings = new_warehouse(**env)
    made = Road(settings, plantings, {})
    try:
        walk(made)
        yield made
    finally:
        server.should_exit = True
        thread.join(10)


def walk(road: Road) -> None:
    for feed in FEEDS:
        since = ("--since", "2026-09-15") if feed == "portal_evaluation" else ()  # a year of windows is a lot
        said(road, f"ingest {feed}", "ingest", feed, *since, "--json")
    said(road, "ingest dossier again", "ingest", "dossier")
    said(road, "census", "ingest", "rating", "--census")
    said(
        road,
        "wrong token",
        "ingest",
        "rating",
        status=1,
        HAILONG_LOG="json",
        HAILONG_SOURCE_RATING_TOKEN=TOKEN + "-old",
    )
    said(road, "build", "build", HAILONG_LOG="json")
    said(road, "gate", "gate", "--landed", status=None)
    said(road, "gate, JSON", "gate", "--landed", status=None, HAILONG_LOG="json")
    said(road, "ingest rating, JSON", "ingest", "rating", HAILONG_LOG="json")
    said(road, "status", "status", "--json")
    listed = json.loads(said(road, "quarantine", "quarantine", "list", "--limit", "1000", "--json").splitlines()[-1])
    shown = {entry["rule"]: entry["quarantine_id"] for entry in listed}
    for rule, number in shown.items():
        said(road, f"show {rule}", "quarantine", "show", str(number))
    said(road, "replay of the quarantine", "quarantine", "replay", "--by", "test")
    said(road, "replay", "replay", "dossier", "--check")
    said(road, "trace", "trace", "dossier", str(Person(90_000).name), "--landings", status=1)


def said(road: Road, title: str, *arguments: str, status: int | None = 0, **env: str) -> str:
    code = "import logging; logging.basicConfig(level=logging.INFO); from hailong.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=PROJECT,
        env={**os.environ, "DBT_LOG_LEVEL_FILE": "debug", **road.settings.env, **env},  # dbt's log is looked into as well
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert status is None or done.returncode == status, f"{title}: {done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    road.said[title] = done.stdout + done.stderr
    return done.stdout


# -- what must be true --------------------------------------------------------------------------------------------------


def test_every_feed_was_read_with_people_in_it_and_spoiled_records_of_every_kind(road: Road) -> None:
    assert all(planting.seen for planting in road.plantings.values())
    with connect(road.settings) as connection:
        rows = connection.execute(
            "select feed, sum(received_rows), sum(quarantined_rows) from ops.batch group by 1"
        ).fetchall()
        rules = {rule for (rule,) in connection.execute("select distinct rule from ops.quarantine").fetchall()}
    assert {feed for feed, _, _ in rows} == set(CONTRACTS)
    for feed, received, quarantined in rows:
        assert received > 0, feed
        if road.plantings[feed].spoils:
            assert quarantined >= 5, feed
    assert rules >= {
        "bad_date", "bad_number", "bad_text", "missing_key", "too_long", "unknown_code", "unreadable_record", "wrong_type",
    }  # fmt: skip


def test_new_fields_are_found_by_name_and_not_by_what_they_hold(road: Road) -> None:
    with connect(road.settings) as connection:
        rows = connection.execute("select feed, field from ops.batch_finding where rule = 'new_field'").fetchall()
    feeds = {feed for feed, name in rows if name == "hoTenMoi"}
    assert feeds == set(CONTRACTS)


def test_officials_pass_as_pseudonyms_and_nothing_else_of_them_does(road: Road) -> None:
    for feed, contract in CONTRACTS.items():
        for column in contract.pseudonyms:
            with connect(road.settings) as connection:
                values = connection.execute(
                    sql.SQL("select distinct {} from raw.{} where {} is not null").format(
                        *map(sql.Identifier, (column.name, feed, column.name))
                    )
                ).fetchall()
            assert values, (feed, column.name)
            assert all(re.fullmatch(r"\d{4}:[0-9a-f]{64}", value) for (value,) in values), (feed, column.name)
    assert any(contract.pseudonyms for contract in CONTRACTS.values())


def test_no_landing_folder_and_no_other_file_holds_a_person_or_a_token(road: Road) -> None:
    assert sum(1 for _ in road.settings.landing.rglob("records.parquet")) >= len(CONTRACTS)
    assert sum(1 for _ in road.settings.landing.rglob("rejects.parquet")) > 0
    assert list(search_files(road.settings.home, WANTED)) == []


def test_no_column_of_any_table_holds_a_person_or_a_token(road: Road) -> None:
    with connect(road.settings) as connection:
        looked = list(search_tables(connection, WANTED))
    rows = {table: count for table, _, count in looked}
    assert [(table, match) for table, match, _ in looked if match] == []
    for table in (
        "ops.quarantine",
        "ops.batch",
        "ops.batch_finding",
        "core.core_dossier",
        *(f"raw.{f}_head" for f in CONTRACTS),
    ):
        assert rows[table] > 0, table


def test_no_message_holds_a_person_or_a_token(road: Road) -> None:
    found = {title: found_in(text, WANTED) for title, text in road.said.items()}
    # The key that was asked for by hand is repeated to whoever asked.
    found["trace"] = [match for match in found["trace"] if match != "Kanari"]
    assert {title: matches for title, matches in found.items() if matches} == {}
    assert len("".join(road.said.values())) > 3000


# -- and the search does find them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", Person(7).all())
@pytest.mark.parametrize("form", ["plain", "decomposed", "escaped", "url", "utf-16"])
def test_the_search_finds_every_planted_value_in_a_file(tmp_path: Path, value: str, form: str) -> None:
    forms = {"decomposed": unicodedata.normalize("NFD", value), "escaped": json.dumps(value), "url": quote_plus(value)}
    text = forms.get(form, value)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text(f"… {text} …", encoding="utf-16" if form == "utf-16" else "utf-8")
    assert {path for path, _ in search_files(tmp_path, WANTED)} == {"a/b/c.txt"}


@pytest.mark.parametrize("value", Person(7).all())
def test_the_search_finds_every_planted_value_in_parquet(tmp_path: Path, value: str) -> None:
    table = pa.table({"n": [1, 2], "items": [[{"x": "nothing"}], [{"x": f"a {value}"}]]})
    pq.write_table(table, tmp_path / "records.parquet", compression="zstd")
    assert {path for path, _ in search_files(tmp_path, WANTED)} == {"records.parquet"}


@pytest.mark.parametrize("value", [*Person(7).all(), TOKEN, "Cán Bộ Mẫu 012-3", "mau000042@example.invalid"])
@pytest.mark.parametrize("kind", ["text", "jsonb", "bytea"])
def test_the_search_finds_every_planted_value_in_a_table(warehouse: Settings, value: str, kind: str) -> None:
    with connect(warehouse) as connection:
        connection.execute("create schema odd")
        connection.execute(sql.SQL("create table odd.place (n int, v {})").format(sql.SQL(kind)))  # type: ignore[arg-type]
        given: Any = {"text": f"x {value}", "jsonb": json.dumps({"a": [value]}), "bytea": f"x {value}".encode()}[kind]
        connection.execute("insert into odd.place values (1, null), (2, %s)", (given,))
        assert {table for table, match, _ in search_tables(connection, WANTED) if match} == {"odd.place"}
        connection.rollback()


def test_what_is_no_person_is_not_found() -> None:
    known = (
        "H29.10-20261001-0001",
        "2026-10-01T00:00:00",
        "000000001",
        "unit_explanation",
        "1098765432",
        "theo mẫu số 1",
    )
    for text in known:
        assert found_in(text, WANTED) == [], text
