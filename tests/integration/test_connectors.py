"""Whole feeds over the roads that have servers of their own: objects over S3, files over SFTP, a view of a PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import paramiko
import psycopg
import pytest
import sqlalchemy as sa
from moto.core import set_initial_no_auth_action_count
from moto.server import ThreadedMotoServer
from psycopg import sql

from hailong.contracts import SqlView, load_contracts
from hailong.errors import PermanentError, TransientError
from hailong.extract.run import IngestResult, ingest
from hailong.settings import PROJECT, Settings
from hailong.warehouse.embedded import free_port
from sandbox import drops
from sandbox.evaluations import SELF_COLUMNS, Evaluations, excel_csv
from sandbox.generator import City
from sandbox.options import Options
from sandbox.registers import code_records
from tests.conftest import on_database
from tests.integration.fake_source import lines, rows, told

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
OPTIONS = Options(size=600)
NOW = OPTIONS.end_at.replace(tzinfo=ZONE)
SECRET = "nobody-may-read-this"
CONTRACTS = load_contracts(PROJECT / "expectations" / "contracts")


@pytest.fixture(scope="module")
def city() -> City:
    return City(OPTIONS)


@pytest.fixture(scope="module")
def said(city: City) -> Evaluations:
    return Evaluations(city)


@pytest.fixture
def knowing(new_warehouse: Callable[..., Settings], tmp_path: Path) -> Settings:
    """A warehouse that knows the codes."""
    return with_codes(new_warehouse(), tmp_path)


def with_codes(settings: Settings, folder: Path) -> Settings:
    ingest(settings, "code_map", file=lines(folder / "codes.jsonl", code_records()), now=NOW)
    return settings


def pointed(settings: Settings, **env: str) -> Settings:
    return Settings.load({**settings.env, **env})


def is_untouched(settings: Settings, feed: str) -> bool:
    """Whether nothing of the feed landed, was loaded, or is left of a copy."""
    left = [path for folder in (settings.landing / feed, settings.home / "incoming") for path in folder.glob("*")]
    return not left and rows(settings, f"select 1 from ops.batch where feed = '{feed}'") == []


def keys(settings: Settings, feed: str) -> list[str]:
    return [key for (key,) in rows(settings, f"select record_key from raw.{feed} order by 1")]


# -- S3 ---------------------------------------------------------------------------------------------------------------

CHECKS = "posting_check"


@dataclass(frozen=True)
class Objects:
    """A bucket on a server that speaks S3."""

    server: ThreadedMotoServer
    bucket: str = field(default_factory=lambda: f"city-{uuid.uuid4().hex[:10]}")

    @property
    def client(self) -> Any:
        given = {"aws_access_key_id": "reader", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.url, **given)

    @property
    def url(self) -> str:
        host, port = self.server.get_host_and_port()
        return f"http://{host}:{port}"

    def put(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"kiem-tra/{name}", Body=content)

    def env(self, address: str | None = None, **options: Any) -> dict[str, str]:
        given = {"endpoint_url": self.url, "key": "reader", "secret": SECRET, **options}
        return {
            "HAILONG_SOURCE_INSPECTION_DROP": address or f"s3://{self.bucket}/kiem-tra",
            "HAILONG_SOURCE_INSPECTION_OPTIONS": json.dumps(given),
        }


@contextlib.contextmanager
def storage() -> Iterator[ThreadedMotoServer]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        assert server._server is not None
        server._server.server_close()  # stopped alone, it would still listen, and never answer


@pytest.fixture(scope="module")
def storage_server() -> Iterator[ThreadedMotoServer]:
    with storage() as server:
        yield server


@pytest.fixture
def objects(storage_server: ThreadedMotoServer) -> Objects:
    made = Objects(storage_server)
    made.client.create_bucket(Bucket=made.bucket)
    made.put("", b"")  # how consoles make a folder
    return made


@pytest.fixture(scope="module")
def workbooks(city: City, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("workbooks")
    return {path.name: path.read_bytes() for path in drops.write(city, folder, city.end)}


def checks_of(city: City, names: list[str]) -> list[str]:
    """The checks in these workbooks that can be read."""
    found = drops.workbooks(city, city.end)
    return sorted(check.id for name in names for check in found[name] if not check.bad)


def test_objects_of_a_bucket_are_loaded_once(
    knowing: Settings, objects: Objects, city: City, workbooks: dict[str, bytes]
) -> None:
    for name, content in workbooks.items():
        objects.put(name, content)
    objects.put("bao_cao_202609.xlsx", b"another report")
    settings = pointed(knowing, **objects.env())

    result = ingest(settings, CHECKS, now=NOW)

    good = checks_of(city, list(workbooks))
    assert len(result.batch_ids) == len(workbooks) > 3 and len(good) > 500
    assert told(result) == (len(city.posting_checks), len(good), 0, 0, len(city.posting_checks) - len(good))
    assert keys(settings, CHECKS) == good
    again = ingest(settings, CHECKS, now=NOW)
    assert (again.created, again.landings, again.batch_ids) == (False, result.landings, result.batch_ids)
    assert keys(settings, CHECKS) == good


def test_an_upload_that_goes_on_is_left_until_it_has_its_name(
    knowing: Settings, objects: Objects, city: City, workbooks: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = list(workbooks)[:2]
    settings = pointed(knowing, **objects.env())
    objects.put(f"{first}.part", workbooks[first][:1000])
    with pytest.raises(TransientError, match=f"only files that are still being written .{first}.part"):
        ingest(settings, CHECKS, now=NOW)
    assert is_untouched(settings, CHECKS)

    objects.put(first, workbooks[first])
    objects.put(f"{second}.part", workbooks[second][:1000])
    begun = ingest(settings, CHECKS, now=NOW)
    assert keys(settings, CHECKS) == checks_of(city, [first])
    assert f"left for the next time: {first}.part, {second}.part" in caplog.text

    objects.put(second, workbooks[second])
    ended = ingest(settings, CHECKS, now=NOW)
    assert ended.created and ended.landings[0] == begun.landings[0] and len(ended.landings) == 2
    assert keys(settings, CHECKS) == checks_of(city, [first, second])


@pytest.mark.parametrize("address", ["s3://no-such-bucket-of-the-city/kiem-tra", "s3://{bucket}/no-such-folder"])
def test_a_bucket_or_folder_that_is_not_there_is_a_wrong_address(
    knowing: Settings, objects: Objects, workbooks: dict[str, bytes], address: str
) -> None:
    settings = pointed(knowing, **objects.env(address.format(bucket=objects.bucket)))
    objects.put(*next(iter(workbooks.items())))
    with pytest.raises(PermanentError, match="HAILONG_SOURCE_INSPECTION_DROP") as refused:
        ingest(settings, CHECKS, now=NOW)
    assert SECRET not in str(refused.value) and is_untouched(settings, CHECKS)


def test_credentials_that_the_storage_does_not_know_are_said_to_be_wrong(
    knowing: Settings, objects: Objects, workbooks: dict[str, bytes]
) -> None:
    objects.put(*next(iter(workbooks.items())))
    settings = pointed(knowing, **objects.env())
    with_rights = set_initial_no_auth_action_count(0)(ingest)
    with pytest.raises(PermanentError, match="check the credentials in HAILONG_SOURCE_INSPECTION_OPTIONS") as refused:
        with_rights(settings, CHECKS, now=NOW)
    assert SECRET not in str(refused.value) and is_untouched(settings, CHECKS)


def test_a_storage_that_is_down_is_asked_again_later(knowing: Settings) -> None:
    with storage() as server:
        objects = Objects(server)
        env = objects.env(config_kwargs={"retries": {"max_attempts": 0}, "connect_timeout": 5, "read_timeout": 5})
    with pytest.raises(TransientError, match="cannot be reached") as failed:
        ingest(pointed(knowing, **env), CHECKS, now=NOW)
    assert SECRET not in str(failed.value) and is_untouched(knowing, CHECKS)


# -- SFTP -------------------------------------------------------------------------------------------------------------

SHEETS = "self_evaluation"
WHOLE_FILE = 1 << 40


class _Door(paramiko.ServerInterface):
    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        known = (username, password) == ("reader", SECRET)
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _File(paramiko.SFTPHandle):
    def __init__(self, path: Path, transport: paramiko.Transport, breaks_at: int) -> None:
        super().__init__()
        self.content, self.transport, self.breaks_at = path.read_bytes(), transport, breaks_at

    def read(self, offset: int, length: int) -> Any:
        if offset >= self.breaks_at:
            self.transport.close()
            return paramiko.SFTP_FAILURE
        return self.content[offset : offset + length] or paramiko.SFTP_EOF


class _Shelf(paramiko.SFTPServerInterface):
    def __init__(self, door: _Door, service: FileService) -> None:
        super().__init__(door)
        self.door, self.service = door, service

    def _attributes(self, path: Path) -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes.from_stat(path.stat(), path.name)

    def list_folder(self, path: str) -> Any:
        folder = Path(path)
        return [self._attributes(each) for each in folder.iterdir()] if folder.is_dir() else paramiko.SFTP_NO_SUCH_FILE

    def stat(self, path: str) -> Any:
        return self._attributes(Path(path)) if Path(path).exists() else paramiko.SFTP_NO_SUCH_FILE

    def open(self, path: str, flags: int, attr: Any) -> Any:
        return _File(Path(path), self.door.transport, self.service.breaks_at)


class FileService:
    """A folder behind SFTP; it breaks the connection off when a file is read from `breaks_at` on."""

    def __init__(self, folder: Path, shelf: type[paramiko.SFTPServerInterface] = _Shelf) -> None:
        self.folder, self.shelf = folder, shelf
        self.key = paramiko.ECDSAKey.generate()
        self.breaks_at = WHOLE_FILE
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.transports: list[paramiko.Transport] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # closed
                return
            transport = paramiko.Transport(connection)
            self.transports.append(transport)
            transport.add_server_key(self.key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, self.shelf, self)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(event=threading.Event(), server=_Door(transport))

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
        for transport in self.transports:
            transport.close()

    def env(self, folder: Path | None = None, **options: Any) -> dict[str, str]:
        given = {
            "password": SECRET,
            "port": self.listener.getsockname()[1],
            "host_key": line_of(self.key),
            **options,
        }
        return {
            "HAILONG_SOURCE_UNIT_OFFICE_DROP": f"sftp://reader@127.0.0.1{folder or self.folder}",
            "HAILONG_SOURCE_UNIT_OFFICE_OPTIONS": json.dumps({k: v for k, v in given.items() if v is not None}),
        }


def line_of(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


@pytest.fixture(scope="module")
def sheet(said: Evaluations) -> bytes:
    """A file of more requests than are on their way at once: the notes in it are long."""
    records = said.read("self_evaluation", said.city.end)
    return excel_csv(SELF_COLUMNS, [{**record, "Ghi chú": "ghi chú mẫu " * 1600} for record in records])


@pytest.fixture
def service(tmp_path: Path, sheet: bytes) -> Iterator[FileService]:
    folder = tmp_path / "thư mục"
    folder.mkdir()
    path = folder / "tu_danh_gia_2026-Q3.csv"
    path.write_bytes(sheet)
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    made = FileService(folder)
    yield made
    made.stop()


def sheets(said: Evaluations) -> list[str]:
    return sorted(record["Mã dòng"] for record in said.read("self_evaluation", said.city.end))


def test_a_folder_behind_sftp_is_loaded_once(knowing: Settings, service: FileService, said: Evaluations) -> None:
    settings = pointed(knowing, **service.env())
    result = ingest(settings, SHEETS, now=NOW)
    expected = sheets(said)
    assert len(expected) > 100 and told(result) == (len(expected), len(expected), 0, 0, 0)
    assert keys(settings, SHEETS) == expected
    again = ingest(settings, SHEETS, now=NOW)
    assert (again.created, again.landings) == (False, result.landings)


def test_a_server_that_nobody_vouched_for_is_refused_and_its_fingerprint_shown(
    knowing: Settings, service: FileService
) -> None:
    settings = pointed(knowing, **service.env(host_key=None))
    with pytest.raises(PermanentError, match="host_key in HAILONG_SOURCE_UNIT_OFFICE_OPTIONS") as refused:
        ingest(settings, SHEETS, now=NOW)
    assert service.key.fingerprint in str(refused.value) and service.key.fingerprint.startswith("SHA256:")
    assert SECRET not in str(refused.value) and is_untouched(settings, SHEETS)


def test_a_server_with_another_key_than_the_one_given_is_refused(knowing: Settings, service: FileService) -> None:
    settings = pointed(knowing, **service.env(host_key=line_of(paramiko.ECDSAKey.generate())))
    with pytest.raises(PermanentError, match="a host key that is not trusted") as refused:
        ingest(settings, SHEETS, now=NOW)
    assert SECRET not in str(refused.value) and is_untouched(settings, SHEETS)


def test_a_password_that_the_server_does_not_know_is_refused_and_not_quoted(
    knowing: Settings, service: FileService
) -> None:
    settings = pointed(knowing, **service.env(password=f"{SECRET}-of-last-year"))
    with pytest.raises(PermanentError, match="credentials in HAILONG_SOURCE_UNIT_OFFICE_OPTIONS") as refused:
        ingest(settings, SHEETS, now=NOW)
    assert SECRET not in str(refused.value) and is_untouched(settings, SHEETS)


def test_a_folder_that_the_server_does_not_have_is_a_wrong_address(knowing: Settings, service: FileService) -> None:
    settings = pointed(knowing, **service.env(folder=service.folder / "missing"))
    with pytest.raises(PermanentError, match="HAILONG_SOURCE_UNIT_OFFICE_DROP"):
        ingest(settings, SHEETS, now=NOW)
    assert is_untouched(settings, SHEETS)


@pytest.mark.parametrize("share", [0, 0.1, 0.9])
def test_a_connection_broken_off_in_the_middle_of_a_file_lands_nothing_and_the_next_run_everything(
    knowing: Settings, service: FileService, said: Evaluations, sheet: bytes, share: float
) -> None:
    settings = pointed(knowing, **service.env())
    service.breaks_at = int(len(sheet) * share)
    running = set(threading.enumerate())
    with pytest.raises(TransientError) as failed:
        ingest(settings, SHEETS, now=NOW)
    assert SECRET not in str(failed.value) and is_untouched(settings, SHEETS)
    for thread in set(threading.enumerate()) - running:  # nothing goes on waiting for answers that will not come
        thread.join(10)
        assert not thread.is_alive(), thread.name

    service.breaks_at = WHOLE_FILE
    assert told(ingest(settings, SHEETS, now=NOW))[:2] == (len(sheets(said)),) * 2
    assert keys(settings, SHEETS) == sheets(said)


# -- PostgreSQL -------------------------------------------------------------------------------------------------------

EVALUATIONS = "authority_evaluation"
SINCE = OPTIONS.start_at.replace(tzinfo=ZONE)
NUMBERS = {"diem": "numeric(6,3)", "diem_toi_da": "integer", "thu_hang": "smallint", "ngay_danh_gia": "date"}


@dataclass(frozen=True)
class CityMap:
    """The institutional map as a database of its own, and a role that may log in and see what it is granted."""

    dsn: str
    reader: str

    @property
    def address(self) -> sa.URL:
        return sa.make_url(self.dsn).set(drivername="postgresql+psycopg", username=self.reader, password=SECRET)

    def run(self, statement: str, *names: str, **given: Any) -> None:
        query = sql.SQL(statement).format(*map(sql.Identifier, names), **given)
        with psycopg.connect(self.dsn) as connection:
            connection.execute(query)

    def show(self, view: str, records: list[dict[str, Any]], moments: str = "timestamptz") -> None:
        """A view of the records in native types, for the reader to see."""
        kinds = {name: NUMBERS.get(name, "text") for name in records[0]} | {"cap_nhat": moments}
        listed = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(k)) for n, k in kinds.items())
        self.run("create table {} ({listed})", f"{view}_rows", listed=listed)
        with (
            psycopg.connect(self.dsn) as connection,
            connection.cursor().copy(sql.SQL("copy {} from stdin").format(sql.Identifier(f"{view}_rows"))) as copy,
        ):
            for record in records:
                copy.write_row([native(name, value) for name, value in record.items()])
        self.run("create view {} as select * from {}", view, f"{view}_rows")
        self.run("grant select on {} to {}", view, self.reader)

    def env(self, **changed: Any) -> dict[str, str]:
        address = self.address.set(**changed).render_as_string(hide_password=False)
        return {"HAILONG_SOURCE_INSTITUTIONAL_URL": address}


def native(name: str, value: Any) -> Any:
    if value is not None and name == "ngay_danh_gia":
        return datetime.strptime(value, "%d/%m/%Y").date()
    if value is not None and name == "cap_nhat":
        return datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=ZONE)
    return value


@pytest.fixture
def city_map(server_dsn: str) -> Iterator[CityMap]:
    database, reader = (f"{word}_{uuid.uuid4().hex[:10]}" for word in ("city_map", "city_reader"))
    made = CityMap(on_database(server_dsn, database), reader)
    with psycopg.connect(server_dsn, autocommit=True) as server:
        server.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
        server.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(reader), sql.Literal(SECRET)))
        try:
            yield made
        finally:
            server.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database)))
            server.execute(sql.SQL("drop role {}").format(sql.Identifier(reader)))


def view_of(feed: str) -> str:
    connector = CONTRACTS[feed].connector
    assert isinstance(connector, SqlView)
    return connector.view


def show_with(city_map: CityMap, said: Evaluations, period: str) -> None:
    """The view, with an expression for its period."""
    view, records = view_of(EVALUATIONS), said.read("authority", said.city.end)
    city_map.show("rows", records)
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in records[0] if name != "ky_danh_gia")
    expression = sql.SQL(period)
    city_map.run(
        "create view {} as select {columns}, {period} as ky_danh_gia from rows",
        view,
        columns=columns,
        period=expression,
    )
    city_map.run("grant select on {} to {}", view, city_map.reader)


def evaluations(settings: Settings, **window: Any) -> IngestResult:
    return ingest(settings, EVALUATIONS, now=NOW, **{"since": SINCE, **window})


@pytest.mark.parametrize(
    ("feed", "name", "moments"),
    [(EVALUATIONS, "authority", "timestamptz"), ("internal_evaluation", "internal", "timestamp")],
)
def test_a_view_in_native_types_is_read_as_the_same_view_in_text(
    new_warehouse: Callable[..., Settings],
    city_map: CityMap,
    said: Evaluations,
    tmp_path: Path,
    feed: str,
    name: str,
    moments: str,
) -> None:
    said.write_database(tmp_path / "city.sqlite", said.city.end)
    records = said.read(name, said.city.end)
    city_map.show(view_of(feed), records, moments)
    # How the server shows days and moments must not matter.
    city_map.run("alter role {} set timezone = 'America/Caracas'", city_map.reader)
    city_map.run("alter role {} set datestyle = 'SQL, DMY'", city_map.reader)
    found = []
    for env in (city_map.env(), {"HAILONG_SOURCE_INSTITUTIONAL_URL": f"sqlite:///{tmp_path / 'city.sqlite'}"}):
        settings = with_codes(new_warehouse(**env), tmp_path)
        result = ingest(settings, feed, since=SINCE, now=NOW)
        assert len(records) > 100 and told(result) == (len(records), len(records), 0, 0, 0)
        found.append(rows(settings, f"select to_jsonb(r) - 'batch_id' from raw.{feed} as r order by record_key"))
    assert len(found[0]) == len(records) and found[0] == found[1]


def test_a_window_holds_what_changed_in_it_and_what_never_says_when(
    knowing: Settings, city_map: CityMap, said: Evaluations
) -> None:
    records = said.read("authority", said.city.end)
    records = [*records[:-1], {**records[-1], "cap_nhat": None}]
    city_map.show(view_of(EVALUATIONS), records)
    moments = sorted(record["cap_nhat"] for record in records[:-1])
    first, end = moments[100], moments[200]
    since, until = (native("cap_nhat", bound) for bound in (first, end))
    result = evaluations(pointed(knowing, **city_map.env()), since=since, until=until)
    expected = [r["ma_phieu"] for r in records if r["cap_nhat"] is None or first <= r["cap_nhat"] < end]
    assert len(expected) == 101 and told(result)[:2] == (101, 101)
    assert keys(knowing, EVALUATIONS) == sorted(expected)
    window = rows(knowing, f"select window_start, window_end from ops.batch where feed = '{EVALUATIONS}'")
    assert window == [(since, until)]


def test_only_the_columns_of_the_contract_are_asked_for_and_a_new_one_is_a_finding(
    knowing: Settings, city_map: CityMap, said: Evaluations
) -> None:
    view, records = view_of(EVALUATIONS), said.read("authority", said.city.end)
    city_map.show(view, [{**record, "dien_thoai_moi": SECRET} for record in records])
    contract = CONTRACTS[EVALUATIONS]
    read = sql.SQL(", ").join(sql.Identifier(column.source) for column in contract.columns if column.source)
    city_map.run("revoke select on {} from {}", view, city_map.reader)
    city_map.run("grant select ({read}) on {} to {}", view, city_map.reader, read=read)
    settings = pointed(knowing, **city_map.env())

    assert told(evaluations(settings)) == (len(records), len(records), 0, 0, 0)

    findings = rows(settings, f"select rule, field, records from ops.batch_finding where feed = '{EVALUATIONS}'")
    assert findings == [("new_field", "dien_thoai_moi", len(records))]
    assert rows(settings, f"select count(*) from raw.{EVALUATIONS} as r where r::text like '%{SECRET}%'") == [(0,)]
    people = {record[name] for record in records for name in contract.personal if record[name]}
    texts = " ".join(text for (text,) in rows(settings, f"select r::text from raw.{EVALUATIONS} as r"))
    assert people and not [person for person in people if person in texts]


def test_a_view_in_a_schema_of_its_own_is_found_by_its_whole_name(
    new_warehouse: Callable[..., Settings], city_map: CityMap, said: Evaluations, tmp_path: Path
) -> None:
    folder = tmp_path / "contracts"
    folder.mkdir()
    for contract in CONTRACTS.values():
        text = contract.path.read_text("utf-8").replace(f"view: {view_of(EVALUATIONS)}", "view: Bản đồ.tham quyền")
        (folder / contract.path.name).write_text(text, "utf-8")
    records = said.read("authority", said.city.end)
    city_map.show("rows", records)
    city_map.run("create schema {}", "Bản đồ")
    city_map.run("create view {}.{} as select * from rows", "Bản đồ", "tham quyền")
    city_map.run("grant usage on schema {} to {}", "Bản đồ", city_map.reader)
    city_map.run("grant select on {}.{} to {}", "Bản đồ", "tham quyền", city_map.reader)
    settings = with_codes(new_warehouse(**city_map.env(), HAILONG_CONTRACTS=str(folder)), tmp_path)
    assert told(evaluations(settings))[:2] == (len(records), len(records))


def test_the_city_sees_one_snapshot_that_is_read_only(knowing: Settings, city_map: CityMap, said: Evaluations) -> None:
    show_with(
        city_map,
        said,
        "current_setting('transaction_isolation') || ', read only ' || current_setting('transaction_read_only')",
    )
    evaluations(pointed(knowing, **city_map.env()))
    found = rows(knowing, f"select distinct period_code from raw.{EVALUATIONS}")
    assert found == [("repeatable read, read only on",)]


def test_a_view_that_would_write_is_refused_and_writes_nothing(
    knowing: Settings, city_map: CityMap, said: Evaluations
) -> None:
    city_map.run("create table seen (at timestamptz)")
    city_map.run(
        "create function note_reading() returns text language sql volatile security definer"
        " as 'insert into public.seen values (now()) returning at::text'"
    )
    show_with(city_map, said, "note_reading()")
    with pytest.raises(PermanentError, match="SQLSTATE 25006"):
        evaluations(pointed(knowing, **city_map.env()))
    with psycopg.connect(city_map.dsn) as connection:
        assert connection.execute("select count(*) from seen").fetchone() == (0,)
    assert is_untouched(knowing, EVALUATIONS)


def no_right(city_map: CityMap) -> dict[str, str]:
    city_map.run("revoke select on {} from {}", view_of(EVALUATIONS), city_map.reader)
    return city_map.env()


def no_login(city_map: CityMap) -> dict[str, str]:
    city_map.run("alter role {} nologin", city_map.reader)
    return city_map.env()


def no_connect(city_map: CityMap) -> dict[str, str]:
    city_map.run("revoke connect on database {} from public", city_map.address.database or "")
    return city_map.env()


def other_password(city_map: CityMap) -> dict[str, str]:
    with contextlib.suppress(psycopg.OperationalError):
        address = city_map.address.set(drivername="postgresql", password="wrong")
        psycopg.connect(address.render_as_string(hide_password=False)).close()
        pytest.skip("this server asks for no password")
    city_map.run("alter role {} password 'another'", city_map.reader)
    return city_map.env()


def other_database(city_map: CityMap) -> dict[str, str]:
    return city_map.env(database="no_such_database_of_the_city")


@pytest.mark.parametrize("refusal", [no_right, no_login, no_connect, other_password, other_database])
def test_a_database_that_refuses_is_not_asked_again_and_no_password_is_quoted(
    knowing: Settings, city_map: CityMap, said: Evaluations, refusal: Callable[[CityMap], dict[str, str]]
) -> None:
    city_map.show(view_of(EVALUATIONS), said.read("authority", said.city.end))
    settings = pointed(knowing, **refusal(city_map))
    with pytest.raises(PermanentError, match="check HAILONG_SOURCE_INSTITUTIONAL_URL") as refused:
        evaluations(settings)
    assert SECRET not in str(refused.value) and is_untouched(settings, EVALUATIONS)


def test_a_view_that_is_not_there_is_said_to_be_missing(knowing: Settings, city_map: CityMap) -> None:
    settings = pointed(knowing, **city_map.env())
    with pytest.raises(PermanentError, match=f"view {view_of(EVALUATIONS)}: there is no such view") as refused:
        evaluations(settings)
    assert SECRET not in str(refused.value) and is_untouched(settings, EVALUATIONS)


def test_a_database_that_is_down_is_asked_again_later(knowing: Settings, city_map: CityMap) -> None:
    settings = pointed(knowing, **city_map.env(host="127.0.0.1", port=free_port()))
    with pytest.raises(TransientError, match="cannot be read now") as failed:
        evaluations(settings)
    assert SECRET not in str(failed.value) and is_untouched(settings, EVALUATIONS)
