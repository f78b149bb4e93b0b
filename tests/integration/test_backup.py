"""What is kept comes back whole, into a warehouse that goes on as if nothing had happened; anything less is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paramiko
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from hailong.backup import KEPT, LEFT, LOCK, NOTES, SCHEMAS
from hailong.backup import manifest as manifests
from hailong.backup import restore as restoring
from hailong.backup.restore import check, restore
from hailong.backup.store import Folder, open_store
from hailong.backup.take import Taken, backup
from hailong.errors import PermanentError, TransientError, UsageError
from hailong.extract.run import ingest
from hailong.load.ledger import cover_end
from hailong.load.purge import purge
from hailong.load.replay import replay
from hailong.load.trace import trace
from hailong.publish import candidate, edition
from hailong.publish.approval import approve
from hailong.publish.verify import verify
from hailong.settings import Settings
from hailong.warehouse.build import SCHEMAS as DBT_SCHEMAS
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect, dsn
from hailong.warehouse.embedded import Embedded
from hailong.warehouse.migrations import migrate, migration_files
from tests.conftest import PSEUDONYM_KEYS, database, on_database, settings_for
from tests.integration.conftest import serving
from tests.integration.fake_source import FakeSource, code_file, dossier, fetch, rows, told
from tests.integration.test_cli import refused, run
from tests.integration.test_connectors import FileService, Objects, storage
from tests.integration.test_kill import PROJECT
from tests.integration.test_publish import PERIOD, SINCE, UNTIL, gate_says
from tests.integration.test_verify import copy

PASSWORD = "never-in-a-backup-Zq7"


@pytest.fixture
def elsewhere(server_dsn: str, tmp_path: Path) -> Iterator[Callable[..., Settings]]:
    """Function that makes a place to restore into: a database without any schema and an own home, which may be given."""
    with ExitStack() as stack:

        def make(home: Path | None = None, **env: str) -> Settings:
            name = stack.enter_context(database(server_dsn, f"hailong_{uuid.uuid4().hex[:10]}"))
            if home is None:
                home = tmp_path / f"home-{name}"
                home.mkdir()
            return settings_for(on_database(server_dsn, name), home, **env)

        yield make


def load(settings: Settings, source: FakeSource) -> Settings:
    """Three dossiers, one of them twice and one in quarantine; and secrets lie about."""
    source.records = [dossier(1), dossier(2), dossier(3, TrangThaiHoSo=99)]
    assert told(fetch(settings)) == (3, 2, 0, 0, 1)
    source.records = [dossier(1), dossier(2, TrangThaiHoSo=10, NgayCapNhat="20261009150100")]
    assert told(fetch(settings)) == (2, 1, 1, 0, 0)
    for name in ("pseudonym.key", "airflow/passwords.json", "incoming/x/ho-so.csv", "drop/inspection/kt.csv"):
        (settings.home / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / name).write_text(PASSWORD)
    (settings.home / "landing" / "dossier" / ".x.1.tmp").mkdir()
    (settings.home / "landing" / "dossier" / ".x.1.tmp" / "records.parquet").write_text("half")
    return settings


@pytest.fixture
def loaded(coded: Settings, source: FakeSource) -> Settings:
    return load(coded, source)


@dataclass(frozen=True)
class Kept:
    """A warehouse and its backup, which no test changes."""

    warehouse: Settings
    place: Path
    taken: Taken

    def copy(self, folder: Path) -> Path:
        """The same backup, to be spoilt."""
        shutil.copytree(self.place, folder / "kept")
        return folder / "kept"


@pytest.fixture(scope="module")
def kept(new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    with serving() as source:
        warehouse = new_warehouse(**source.env)
        ingest(warehouse, "code_map", file=code_file(folder))
        load(warehouse, source)
    return Kept(warehouse, folder / "kept", backup(warehouse, str(folder / "kept")))


@pytest.fixture(scope="module")
def restored(kept: Kept, server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """It came back elsewhere; no test changes it."""
    with database(server_dsn, f"hailong_{uuid.uuid4().hex[:10]}") as name:
        settings = settings_for(on_database(server_dsn, name), tmp_path_factory.mktemp("restored"))
        assert restore(settings, str(kept.place)).message
        yield settings


def everything(settings: Settings) -> dict[str, list[str]]:
    """Every row of every table that is kept, as text; and where each sequence stands."""
    with connect(settings) as connection:
        names = connection.execute(
            "select n.nspname, c.relname from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace "
            "where n.nspname = any(%s) and c.relkind in ('r', 'p') and not c.relispartition order by 1, 2",
            (list(SCHEMAS),),
        ).fetchall()
        found = {
            f"{schema}.{name}": [
                row[0]
                for row in connection.execute(
                    sql.SQL("select to_jsonb(t)::text from {} as t order by 1").format(sql.Identifier(schema, name))
                )
            ]
            for schema, name in names
        }
        found["sequences"] = [
            str(row)
            for row in connection.execute(
                "select schemaname, sequencename, last_value from pg_sequences where schemaname = any(%s) order by 1, 2",
                (list(SCHEMAS),),
            )
        ]
    return found


def schema_of(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """What migrations make beside rows: owners, rights, keys and checks, triggers and whether they fire, default rights."""
    queries = {
        "relations": "select n.nspname, c.relname, c.relkind::text, pg_get_userbyid(c.relowner), "
        "array(select x::text from unnest(c.relacl) as x order by 1), c.relrowsecurity, c.relforcerowsecurity "
        "from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace "
        "where n.nspname = any(%s) and c.relkind in ('r', 'p', 'v', 'S', 'i', 'I')",
        "schemas": "select n.nspname, pg_get_userbyid(n.nspowner), array(select x::text from unnest(n.nspacl) as x order by 1) "
        "from pg_namespace as n where n.nspname = any(%s)",
        "constraints": "select k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid), k.convalidated, "
        "k.condeferrable from pg_constraint as k inner join pg_namespace as n on n.oid = k.connamespace "
        "where n.nspname = any(%s) and k.contype <> 'n'",
        "triggers": "select t.tgrelid::regclass::text, t.tgname, t.tgenabled::text, pg_get_triggerdef(t.oid) "
        "from pg_trigger as t inner join pg_class as c on c.oid = t.tgrelid "
        "inner join pg_namespace as n on n.oid = c.relnamespace where n.nspname = any(%s) and not t.tgisinternal",
        "functions": "select p.oid::regprocedure::text, pg_get_userbyid(p.proowner), p.prosrc, "
        "array(select x::text from unnest(p.proacl) as x order by 1) "
        "from pg_proc as p inner join pg_namespace as n on n.oid = p.pronamespace where n.nspname = any(%s)",
        "default rights": "select d.defaclrole::regrole::text, n.nspname, d.defaclacl::text from pg_default_acl as d "
        "inner join pg_namespace as n on n.oid = d.defaclnamespace where n.nspname = any(%s)",
    }
    schemas = [*SCHEMAS, *DBT_SCHEMAS, "open", "officials"]
    with connect(settings) as connection:
        return {
            name: sorted(map(tuple, connection.execute(query, (schemas,)).fetchall()), key=str)  # type: ignore[call-overload]
            for name, query in queries.items()
        }


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / "objects").iterdir()}


def unpacked(place: Path) -> Iterator[bytes]:
    for content in contents(place).values():
        yield content
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            yield pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()


def newest(place: Path) -> manifests.Manifest:
    store = Folder(place)
    return manifests.read(store, manifests.chosen(store, None))


# -- what comes back --------------------------------------------------------------------------------------------------


def test_every_row_every_sequence_and_every_file_comes_back(kept: Kept, elsewhere: Callable[..., Settings]) -> None:
    target = elsewhere()
    back = restore(target, str(kept.place))
    was, now = everything(kept.warehouse), everything(target)
    assert (
        now == was and len(was["raw.dossier"]) == 3 and len(was["ops.quarantine"]) == 1 and len(was["ops.batch"]) == 3
    )
    assert kept.taken.rows == back.rows == sum(len(found) for name, found in was.items() if name != "sequences")
    assert (back.last_batch, back.migrated, kept.taken.warnings) == (3, (), ())

    def files(home: Path) -> dict[str, tuple[bytes, int, int]]:
        return {
            path.relative_to(home).as_posix(): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
            for folder in KEPT
            for path in (home / folder).rglob("*")
            if path.is_file() and ".tmp" not in str(path)
        }

    assert files(target.home) == files(kept.warehouse.home) and len(files(target.home)) == 9  # three landing folders
    assert {path.name for path in target.home.iterdir()} == {"landing"}


def test_roles_rights_keys_and_triggers_are_as_migrations_make_them(
    restored: Settings, elsewhere: Callable[..., Settings]
) -> None:
    fresh = elsewhere()
    migrate(fresh)
    made = schema_of(fresh)
    assert schema_of(restored) == made
    assert len(made["triggers"]) > 50 and len(made["constraints"]) > 50 and len(made["relations"]) > 100


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("update raw.dossier set op = 'delete'", "raw.dossier"),
        ("delete from raw.dossier", "raw.dossier"),
        ("truncate raw.dossier", "raw.dossier"),
        ("delete from ops.quarantine", "ops.quarantine"),
        ("update ops.batch set feed = 'x'", "ops.batch"),
        ("truncate ops.batch cascade", "ops."),
    ],
)
def test_what_was_recorded_stays_append_only(restored: Settings, statement: str, table: str) -> None:
    with (
        connect(restored) as connection,
        pytest.raises(psycopg.errors.RaiseException, match=f"{table}.* is append-only"),
    ):
        connection.execute(statement)  # type: ignore[call-overload]


def test_the_next_ingest_goes_on_without_a_double_or_a_gap(
    loaded: Settings, source: FakeSource, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    backup(loaded, str(tmp_path / "kept"))
    target = elsewhere(**source.env)
    restore(target, str(tmp_path / "kept"))
    source.records = [dossier(1), dossier(2, TrangThaiHoSo=10, NgayCapNhat="20261009150100"), dossier(4)]
    results = [told(fetch(settings)) for settings in (loaded, target)]
    assert results == [(3, 1, 2, 0, 0)] * 2
    query = "select batch_id, record_key, op, version_hash from raw.dossier order by 1, 2"
    assert rows(target, query) == rows(loaded, query)
    assert rows(target, "select max(batch_id), count(*) from ops.batch") == [(4, 4)]
    with connect(loaded) as was, connect(target) as now:
        assert cover_end(was, "dossier") == cover_end(now, "dossier") is not None


def test_raw_is_made_again_from_the_landing_folders_that_came_back_and_not_from_the_first_home(
    restored: Settings,
) -> None:
    assert replay(restored, "dossier", check=True).identical
    found = trace(restored, "dossier", "H29.10-20261001-0001", landings=True)
    assert [event.kind for event in found.events] == ["loaded", "received"]
    away = restored.home / "away"
    (restored.landing / "dossier").rename(away)
    try:
        with pytest.raises(PermanentError, match=r"its landing folder .* is gone"):
            replay(restored, "dossier", check=True)
    finally:
        away.rename(restored.landing / "dossier")


def test_a_purge_of_the_copy_leaves_the_landing_folders_of_the_first_home_alone(
    kept: Kept, elsewhere: Callable[..., Settings]
) -> None:
    target = elsewhere()
    restore(target, str(kept.place))
    with connect(target) as connection:
        connection.execute(
            "insert into ops.purge (batch_id, feed, raw_rows, quarantine_rows, landing_sha256, raw_sha256, purged_by) "
            "select batch_id, feed, 0, 0, landing_sha256, 'x', 'x' from ops.batch where batch_id = 2"
        )
    purge(target, SINCE.date(), "x")
    assert len(list((target.landing / "dossier").iterdir())) == 1
    assert len([path for path in (kept.warehouse.landing / "dossier").iterdir() if path.name[0] != "."]) == 2


def test_a_feed_and_a_column_that_no_contract_has_any_more_come_back(
    loaded: Settings, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    with connect(loaded, "hailong_loader") as connection:
        connection.execute("alter table raw.dossier add column gone_field timestamptz")
    backup(loaded, str(tmp_path / "kept"))
    contracts = tmp_path / "contracts"
    shutil.copytree(loaded.contracts, contracts)
    (contracts / "code_map.yaml").unlink()
    target = elsewhere(HAILONG_CONTRACTS=str(contracts))
    restore(target, str(tmp_path / "kept"))
    assert everything(target) == everything(loaded)
    with connect(target) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute("delete from raw.code_map")


def test_a_backup_of_an_older_schema_is_brought_to_the_newest(
    elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    old = elsewhere()
    *before, last = [path.name for path in migration_files()]
    migrate(old, only=before)
    with connect(old) as connection:
        connection.execute("insert into ops.build (as_of_batch, rules_sha256, full_refresh) values (0, 'r', true)")
    backup(old, str(tmp_path / "kept"))
    target = elsewhere()
    assert restore(target, str(tmp_path / "kept")).migrated == (last,)
    assert rows(target, "select count(*) from ops.migration") == [(len(before) + 1,)]
    assert rows(target, "select rules_sha256 from ops.build") == [("r",)]
    was = "select name, applied_at from ops.migration where name <> %s order by name"
    with connect(old) as first, connect(target) as second:
        assert first.execute(was, (last,)).fetchall() == second.execute(was, (last,)).fetchall()


def test_a_server_of_another_version_takes_it_from_a_login_that_is_no_administrator(kept: Kept, tmp_path: Path) -> None:
    """With `HAILONG_DSN` at PostgreSQL 15 this is the way to a new major version: the embedded server is 18."""
    with embedded_home() as home:
        server = Embedded(home).up().uri("postgres")
        with psycopg.connect(server, autocommit=True) as administrator:
            administrator.execute("create role city login createrole password 'p'")
            administrator.execute("create database city owner city")
        parts = psycopg.conninfo.conninfo_to_dict(server)
        target = settings_for(f"postgresql://city:p@{parts['host']}:{parts['port']}/city", tmp_path / "home")
        restore(target, str(kept.place))
        assert everything(target) == everything(kept.warehouse)
        assert backup(target, str(kept.copy(tmp_path))).stored == 0


class _Shelf(paramiko.SFTPServerInterface):
    """A folder of this machine behind SFTP, to be written to."""

    def __init__(self, door: Any, service: FileService) -> None:
        super().__init__(door)

    def list_folder(self, path: str) -> Any:
        if not Path(path).is_dir():
            return paramiko.SFTP_NO_SUCH_FILE
        return [paramiko.SFTPAttributes.from_stat(each.stat(), each.name) for each in Path(path).iterdir()]

    def stat(self, path: str) -> Any:
        if not Path(path).exists():
            return paramiko.SFTP_NO_SUCH_FILE
        return paramiko.SFTPAttributes.from_stat(Path(path).stat(), Path(path).name)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        handle = paramiko.SFTPHandle(flags)
        opened = os.fdopen(os.open(path, flags, 0o600), "rb" if flags & os.O_WRONLY == 0 else "wb")
        handle.readfile = handle.writefile = opened  # type: ignore[attr-defined]
        return handle

    def remove(self, path: str) -> int:
        Path(path).unlink()
        return paramiko.SFTP_OK

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        Path(oldpath).replace(newpath)
        return paramiko.SFTP_OK

    def mkdir(self, path: str, attr: Any) -> int:
        Path(path).mkdir()
        return paramiko.SFTP_OK


@pytest.mark.parametrize("kind", ["memory", "sftp", "s3"])
def test_storages_that_fsspec_reaches_are_places(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path, kind: str
) -> None:
    place, options = f"memory://kept-{uuid.uuid4().hex}/warehouse", "{}"
    with ExitStack() as stack:
        if kind == "sftp":
            service = FileService(tmp_path, _Shelf)
            stack.callback(service.stop)
            place = f"sftp://reader@127.0.0.1{tmp_path}/kept"
            options = service.env()["HAILONG_SOURCE_UNIT_OFFICE_OPTIONS"]
        if kind == "s3":
            objects = Objects(stack.enter_context(storage()))
            objects.client.create_bucket(Bucket=objects.bucket)
            place, options = f"s3://{objects.bucket}/warehouse", objects.env()["HAILONG_SOURCE_INSPECTION_OPTIONS"]
        loaded = replace(kept.warehouse, env={**kept.warehouse.env, "HAILONG_BACKUP_OPTIONS": options})
        first = backup(loaded, place)
        assert first.stored > 0 and backup(loaded, place).stored == 0
        target = elsewhere()
        restore(replace(target, env={**target.env, **loaded.env}), place)
        assert everything(target) == everything(loaded)
        assert not list((loaded.home / "backup").iterdir()) and check(loaded, place).wrong == ()
        if kind == "sftp":  # nothing was seen under its name before it was whole, and nothing of that is left
            assert not list((tmp_path / "kept").rglob("*.part"))


# -- what it holds ----------------------------------------------------------------------------------------------------


def test_only_what_is_new_is_written_again(loaded: Settings, source: FakeSource, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    backup(loaded, str(place))
    was = contents(place)
    again = backup(loaded, str(place))
    assert (again.stored, again.stored_bytes) == (0, 0) and contents(place) == was
    source.records = [dossier(7)]
    fetch(loaded)
    third = backup(loaded, str(place))
    new = contents(place).keys() - was.keys()
    files = {file.path: file.sha256 for file in newest(place).files}
    folder = max((path for path in (loaded.landing / "dossier").iterdir() if path.name[0] != "."), key=os.path.getmtime)
    landed = {sha256 for path, sha256 in files.items() if folder.name in path}
    tables = {table.sha256 for table in newest(place).tables if table.sha256 in new}
    assert third.stored == len(new) and len(landed & new) >= 2 and new == tables | (landed & new)
    called = {table.called for table in newest(place).tables if table.sha256 in new}
    assert called == {"ops.batch", "raw.dossier_p0", "raw.dossier_head"}


def test_a_restored_home_is_known_to_the_next_backup(
    kept: Kept, restored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = kept.copy(tmp_path)
    monkeypatch.setattr("hailong.backup.take.copied", lambda *_: pytest.fail("a file was read again"))
    assert backup(restored, str(place)).stored == 0


def test_no_key_no_password_and_no_dropped_file_is_in_it(kept: Kept) -> None:
    place, loaded = kept.place, kept.warehouse
    found = list(unpacked(place)) + [path.read_bytes() for path in (place / "backups").iterdir()]
    assert any(b"H29.10-20261001-0001" in content for content in found)  # what is kept is seen by this test
    password = (psycopg.conninfo.conninfo_to_dict(dsn(loaded))["password"] or "x").encode()
    keys = [key.partition(":")[2].encode() for key in PSEUDONYM_KEYS.split(",")]
    for secret in (PASSWORD.encode(), password, *keys, b"half"):
        assert not any(secret in content for content in found)
    modes = {path.stat().st_mode & 0o777 for path in place.rglob("*") if path.is_file()}
    assert modes == {0o600}


def test_tables_are_of_one_moment_though_a_load_ends_in_between(
    loaded: Settings, source: FakeSource, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    source.records = [dossier(8), dossier(9)]
    before = everything(loaded)
    seen: list[str] = []

    def load_meanwhile(text: str) -> None:
        if "ops.batch)" in text:
            seen.append(text)
        if "(raw.dossier_p0)" in text:  # the ledger is copied, raw is not
            seen.append(text)
            fetch(loaded)

    backup(loaded, str(tmp_path / "kept"), progress=load_meanwhile)
    assert len(seen) == 2 and "ops.batch" in seen[0] and len(everything(loaded)["ops.batch"]) == 4
    target = elsewhere()
    restore(target, str(tmp_path / "kept"))
    now = everything(target)
    sequences = now.pop("sequences")
    assert sequences and now == {name: found for name, found in before.items() if name != "sequences"}
    assert (
        told(fetch(replace(target, env={**target.env, **source.env})))[1] == 2
    )  # and the next load brings what is missing


def test_what_is_read_stays_until_it_is_copied_and_builds_need_not_wait(loaded: Settings, tmp_path: Path) -> None:
    """An emptied table would be read as empty by a moment before that, without a word."""
    refused: list[str] = []
    with connect(loaded, autocommit=True) as connection:
        connection.execute("set lock_timeout = '200ms'")

        def empty_meanwhile(text: str) -> None:
            if text.startswith("tables: 1 of"):
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    connection.execute("truncate raw.dossier_head")
                refused.append(text)
                connection.execute(f"truncate {', '.join(NOTES)}")  # as every build does

        backup(loaded, str(tmp_path / "kept"), progress=empty_meanwhile)
        assert len(refused) == 1
        assert {f"{table.schema}.{table.name}": table.rows for table in newest(tmp_path / "kept").tables}[
            "raw.dossier_head"
        ] > 0
        connection.execute("begin; truncate raw.dossier_head; rollback")  # afterwards it may be


def test_a_backup_of_an_earlier_time_than_the_newest_is_refused(kept: Kept, tmp_path: Path) -> None:
    place, now = str(tmp_path / "kept"), datetime.now(UTC)
    backup(kept.warehouse, place, now=now + timedelta(days=1))
    before = contents(tmp_path / "kept")
    with pytest.raises(PermanentError, match="which clock was wrong"):
        backup(kept.warehouse, place, keep=1, now=now)
    assert contents(tmp_path / "kept") == before


def test_every_table_that_a_migration_makes_is_kept(warehouse: Settings) -> None:
    made_again = [*DBT_SCHEMAS, "officials"]
    assert rows(
        warehouse,
        "select n.nspname, c.relname from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace "
        "where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') "
        f"and n.nspname <> all(array{[*SCHEMAS, *made_again]})",
    ) == []  # fmt: skip


def test_files_of_an_edition_that_are_missing_are_told(
    loaded: Settings, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    said = replace(loaded, signers=("signer",))
    assert copy(said, PERIOD, digest := copy(said, PERIOD, "0" * 64)) == digest
    gate_says(said, f"{PERIOD}.c1", "pass")
    approve(said, f"{PERIOD}.c1", "signer")
    folder = edition.publish(said, PERIOD, "engineer").folder
    shutil.copytree(folder, said.editions / "2026-11.e1")  # of an edition that the tables do not have
    place = tmp_path / "kept"
    taken = backup(said, str(place))
    assert taken.warnings == () and newest(place).editions == (f"{PERIOD}.e1",)
    shutil.rmtree(said.editions / "2026-11.e1")
    target = elsewhere()
    restore(target, str(place))
    assert verify(target, chain=True).holds
    lost = next(folder.glob("*.xlsx"))
    lost.unlink()
    (said.home / "notes").mkdir()
    told_of = backup(said, str(place)).warnings
    assert len(told_of) == 2 and f"{PERIOD}.e1" in told_of[0] and lost.name in told_of[0] and "notes" in told_of[1]


def test_only_the_newest_are_kept_when_asked_and_they_are_whole(
    loaded: Settings, source: FakeSource, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    place = tmp_path / "kept"
    ids = []
    for number in (11, 12, 13):
        source.records = [dossier(number)]
        fetch(loaded)
        ids.append(backup(loaded, str(place), keep=2 if number == 13 else None).backup_id)
    assert list(manifests.manifests(Folder(place))) == ids[1:]
    wanted = {sha256 for backup_id in ids[1:] for sha256 in manifests.read(Folder(place), backup_id).objects}
    assert contents(place).keys() == wanted
    target = elsewhere()
    assert restore(target, str(place), ids[1]).last_batch == 5


# -- what is no backup ------------------------------------------------------------------------------------------------


def table_object(place: Path, called: str) -> Path:
    found = next(table for table in newest(place).tables if table.called == called)
    return place / "objects" / str(found.sha256)


def test_a_changed_or_missing_content_is_found_and_nothing_is_restored(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    place, loaded = kept.copy(tmp_path), kept.warehouse
    whole = {path: path.read_bytes() for path in (place / "objects").iterdir()}
    file = place / "objects" / newest(place).files[0].sha256
    target = elsewhere()
    for victim, called in (
        (table_object(place, "raw.dossier_p0"), "raw.dossier_p0"),
        (file, newest(place).files[0].path),
    ):
        content = bytearray(whole[victim])
        content[len(content) // 2] ^= 1
        for change, how in (
            (bytes(content), "was changed"),
            (whole[victim][:-1], "bytes instead of"),
            (None, "is missing"),
        ):
            victim.unlink() if change is None else victim.write_bytes(change)
            assert [called in wrong and how in wrong for wrong in check(loaded, str(place)).wrong] == [True]
            with pytest.raises(PermanentError, match=f"is not whole .*{how}"):
                restore(target, str(place))
        victim.write_bytes(whole[victim])
    assert not any((target.home / folder).exists() for folder in KEPT)
    assert rows(target, "select count(*) from pg_namespace where nspname = 'raw'") == [(0,)]
    assert check(loaded, str(place)).wrong == ()
    restore(target, str(place))


def test_a_changed_or_cut_manifest_is_not_used(kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path) -> None:
    place, target = kept.copy(tmp_path), elsewhere()
    path = next((place / "backups").iterdir())
    whole = path.read_bytes()
    for changed in (whole.replace(b'"rows": 3', b'"rows": 2', 1), whole[: len(whole) // 2], b""):
        assert changed != whole
        path.write_bytes(changed)
        with pytest.raises(PermanentError, match="was changed or is cut off"):
            restore(target, str(place))


def test_a_backup_killed_before_its_manifest_is_none_and_the_next_one_uses_what_it_wrote(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    place, loaded, target = tmp_path / "kept", kept.warehouse, elsewhere()
    program = (
        "import os, signal, sys\nfrom hailong.backup import manifest\n"
        "manifest.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from hailong.cli import main\nmain(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "backup", "--to", str(place)]
    done = subprocess.run(command, cwd=PROJECT, env={**os.environ, **loaded.env}, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL and len(contents(place)) > 5
    with pytest.raises(PermanentError, match="a backup that never finished is none"):
        restore(target, str(place))
    with pytest.raises(PermanentError, match="there is no backup in"):
        restore(target, str(tmp_path / "nothing"))
    assert backup(loaded, str(place)).stored == 0
    restore(target, str(place))


def test_a_restore_stopped_anywhere_goes_on(
    kept: Kept, elsewhere: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, target = kept.place, elsewhere()
    real = {name: getattr(restoring, name) for name in ("copied", "_copy_in", "_continue")}
    for name, calls in (("copied", 4), ("_copy_in", 5), ("_continue", 2)):
        left = [calls]

        def broken(*given: Any, name: str = name, left: list[int] = left) -> Any:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return real[name](*given)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(restoring, name, broken)
            restore(target, str(place))
        assert all(
            not found for kind, found in everything(target).items() if kind not in ("ops.migration", "sequences")
        )
    restore(target, str(place))
    assert everything(target) == everything(kept.warehouse)


def test_a_warehouse_or_home_that_is_not_empty_is_refused(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    place, loaded = str(kept.place), kept.warehouse
    with pytest.raises(PermanentError, match=r"the warehouse at .* is not empty: there are rows in ops.batch"):
        restore(replace(loaded, home=tmp_path / "other"), place)
    target = elsewhere()
    migrate(target)  # a schema alone is empty
    stranger = target.landing / "rating" / "x" / "manifest.json"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("{}")
    with pytest.raises(PermanentError, match=r"landing/rating/x/manifest.json is not of backup"):
        restore(target, place)
    stranger.unlink()
    own = loaded.home / newest(kept.place).files[0].path
    changed = target.home / own.relative_to(loaded.home)
    changed.parent.mkdir(parents=True)
    changed.write_bytes(own.read_bytes()[:-1] + b"?")
    with pytest.raises(PermanentError, match="is not of backup"):
        restore(target, place)
    shutil.copy(own, changed)  # as a restore that was stopped leaves it
    restore(target, place)
    with pytest.raises(PermanentError, match=r"is not empty.*hailong db migrate"):
        restore(target, place)


def test_a_program_older_than_the_backup_is_refused(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    place, target = kept.copy(tmp_path), elsewhere()
    found = newest(place)
    migrations = (*found.migrations, ("9999_later.sql", "a" * 64))
    manifests.write(Folder(place), replace(found, backup_id="20991231T000000Z", migrations=migrations))
    with pytest.raises(PermanentError, match=r"does not know \(9999_later.sql\)"):
        restore(target, str(place))
    assert rows(target, "select count(*) from pg_namespace where nspname = 'ops'") == [(0,)]


def test_rows_that_do_not_fit_together_are_refused(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    """A manifest that is whole and wrong: the keys are proved again, and nothing stays."""
    place = kept.copy(tmp_path)
    found = newest(place)
    tables = tuple(replace(one, rows=0, sha256=None) if one.called == "ops.batch" else one for one in found.tables)
    manifests.write(Folder(place), replace(found, backup_id="20991231T000000Z", tables=tables))
    target = elsewhere()
    with pytest.raises(PermanentError, match="do not fit together"):
        restore(target, str(place))
    assert rows(target, "select count(*) from raw.dossier") == [(0,)]


def test_a_file_outside_of_what_is_kept_is_refused(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    place, target = kept.copy(tmp_path), elsewhere()
    found = newest(place)
    for number, path in enumerate(("landing/../../evil", "pseudonym.key", "/tmp/evil", "pg/password")):
        files = (replace(found.files[0], path=path), *found.files[1:])
        manifests.write(Folder(place), replace(found, backup_id=f"2099123{number}T000000Z", files=files))
        with pytest.raises(PermanentError, match="which no backup has"):
            restore(target, str(place))


def test_the_place_of_another_warehouse_is_refused(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    other = elsewhere()
    with pytest.raises(PermanentError, match="has no schema yet"):
        backup(other, str(tmp_path / "new"))
    migrate(other)
    with pytest.raises(PermanentError, match=r"backups of another warehouse .*hailong restore"):
        backup(other, str(kept.place), keep=1)
    assert check(kept.warehouse, str(kept.place)).last_batch == 3


def test_a_place_that_would_be_lost_with_the_home_is_refused(kept: Kept, tmp_path: Path) -> None:
    loaded = kept.warehouse
    (tmp_path / "link").symlink_to(loaded.home)
    for place in (loaded.home / "kept", tmp_path / "link" / "kept", f"file://{loaded.home}/landing"):
        with pytest.raises(UsageError, match="lies in HAILONG_HOME"):
            open_store(loaded, str(place))
    with pytest.raises(UsageError, match="names a machine"):
        open_store(loaded, "file://server/kept")


def test_one_at_a_time(kept: Kept, tmp_path: Path) -> None:
    with connect(kept.warehouse, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))
        with pytest.raises(TransientError, match="another backup or restore"):
            backup(kept.warehouse, str(tmp_path / "kept"))
    backup(kept.warehouse, str(tmp_path / "kept"))


@pytest.mark.parametrize("hidden_by", ["no right to read", "row-level security"])
def test_a_role_that_sees_only_a_part_is_refused_and_not_believed(kept: Kept, tmp_path: Path, hidden_by: str) -> None:
    loaded = kept.warehouse
    login = f"looker_{uuid.uuid4().hex[:8]}"
    security = hidden_by == "row-level security"
    with connect(loaded) as connection:
        connection.execute(sql.SQL("create role {} login password 'p'").format(sql.Identifier(login)))
        granted = "pg_read_all_data" if security else "hailong_gate"
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(granted), sql.Identifier(login)))
        if security:
            connection.execute("alter table publish.artifact enable row level security")
    address = dsn(loaded)
    parts = psycopg.conninfo.conninfo_to_dict(address)
    seen = replace(loaded, dsn=address.replace(f"{parts['user']}:{parts['password']}", f"{login}:p"))
    try:
        with pytest.raises(PermanentError, match="may not be read whole"):
            backup(seen, str(tmp_path / "kept"))
        if security:
            with connect(loaded) as connection:
                connection.execute(sql.SQL("alter role {} bypassrls").format(sql.Identifier(login)))
            backup(seen, str(tmp_path / "kept"))
    finally:
        with connect(loaded) as connection:
            connection.execute("alter table publish.artifact disable row level security")
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(login)))


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_kept_and_what_is_not_in_it(
    kept: Kept, elsewhere: Callable[..., Settings], tmp_path: Path
) -> None:
    place, loaded = str(tmp_path / "kept"), kept.warehouse
    refused(run(loaded, "backup"), 2, "hailong backup --to", "HAILONG_BACKUP_URI")
    refused(run(loaded, "backup", "--to", place, "--verify", place), 2, "--verify looks only")
    done = run(loaded, "backup", HAILONG_BACKUP_URI=place)
    assert done.returncode == 0 and "HAILONG_PSEUDONYM_KEY" in done.stdout and "up to batch 3" in done.stdout
    assert "raw.dossier_p0" not in done.stdout
    held = run(loaded, "backup", "--verify", place, "--json")
    assert held.returncode == 0 and json.loads(held.stdout)["wrong"] == []
    table_object(tmp_path / "kept", "ops.batch").unlink()
    refused(run(loaded, "backup", "--verify", place), 1, "ops.batch is missing")
    target = elsewhere()
    refused(run(target, "restore", "--from", place), 1, "is not whole")
    refused(run(target, "restore", "--from", place, "--backup", "20200101T000000Z"), 1, "no backup '20200101T000000Z'")
    assert run(loaded, "backup", "--to", place).returncode == 0
    done = run(target, "restore", "--from", place)
    assert done.returncode == 0 and "hailong verify --chain" in done.stdout, done.stderr


# -- the drill --------------------------------------------------------------------------------------------------------


class embedded_home:
    """A home with an embedded server of its own, as long as the block lasts; nothing of it stays."""

    def __enter__(self) -> Path:
        self.home = Path(tempfile.mkdtemp(prefix="hailong-test-"))
        self.home.chmod(0o755)  # our own new folder: lets the server's system user in
        return self.home

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def destroy(self) -> None:
        Embedded(self.home).down()
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.mark.slow
def test_the_drill(start_sandbox: Callable[..., Any], tmp_path: Path) -> None:
    """Database and home are lost after the second backup: everything said verifies, and the nights go on."""
    sandbox = start_sandbox("--size", "1500", "--seed", "3")
    place = str(tmp_path / "kept")

    def at(home: Path) -> Settings:
        given = {"PATH": os.environ["PATH"], "HAILONG_HOME": str(home), "HAILONG_SIGNERS": "signer"}
        return Settings.load(given | sandbox.env | {"HAILONG_PSEUDONYM_KEY": PSEUDONYM_KEYS})

    def night(settings: Settings, since: Any, until: Any) -> list[tuple[int, int, int, int, int]]:
        return [
            told(ingest(settings, feed, since=since, until=until))
            for feed in ("dossier", "rating", "portal_evaluation")
        ]

    def raw(settings: Settings) -> list[list[tuple[Any, ...]]]:
        feeds = ("dossier", "rating", "portal_evaluation", "posting_check", "unit_register")
        query = "select batch_id, record_key, op, version_hash from raw.{} order by 1, 2"
        ledger = (
            "select batch_id, feed, window_start, window_end, received_rows, loaded_rows, unchanged_rows, duplicate_rows, "
            "quarantined_rows, tombstone_rows from ops.batch order by 1"
        )
        return [*(rows(settings, query.format(feed)) for feed in feeds), rows(settings, ledger)]

    lost = embedded_home()
    with lost as home:
        settings = at(home)
        migrate(settings)
        for feed in ("unit_register", "procedure_register", "code_map"):
            ingest(settings, feed)
        middle = UNTIL.replace(month=10, day=20)
        night(settings, SINCE, middle)
        for path in sorted(sandbox.drop.glob("*.xlsx")):
            ingest(settings, "posting_check", file=path)
        build(settings)
        said = candidate.create(settings, PERIOD, "engineer", late=True).candidate_id
        gate_says(settings, said, "pass")
        approve(settings, said, "signer")
        edition.publish(settings, PERIOD, "engineer")
        first = backup(settings, place)
        assert first.warnings == ()
        was = contents(Path(place)).keys()
        night(settings, middle, UNTIL.replace(day=10))
        second = backup(settings, place)
        landed = {file.path: file.sha256 for file in newest(Path(place)).files if file.path.startswith("landing/")}
        new = contents(Path(place)).keys() - was
        assert second.files > first.files and second.stored == len(new) < first.stored
        assert {path.split("/")[1] for path, sha256 in landed.items() if sha256 in new and "records" in path} == {
            "dossier", "rating", "portal_evaluation"
        }  # fmt: skip
        assert {path.name for path in home.iterdir()} <= {*KEPT, *LEFT}
        undisturbed = night(settings, UNTIL.replace(day=1), UNTIL), raw(settings)
        lost.destroy()
    assert not home.exists()

    with embedded_home() as other:
        settings = at(other)
        back = restore(settings, place)
        assert (back.backup_id, back.last_batch, back.editions) == (second.backup_id, second.last_batch, 1)
        build(settings)
        found = verify(settings, f"{PERIOD}.e1", chain=True)
        assert found.holds, found.checks
        assert (night(settings, UNTIL.replace(day=1), UNTIL), raw(settings)) == undisturbed
        assert replay(settings, "dossier", check=True).identical
        assert edition.publish(settings, PERIOD, "engineer").created is False
        with connect(settings) as connection:
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"), connection.transaction():
                connection.execute("update publish.k_score set k = 20")
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("set local role hailong_publisher; delete from raw.dossier")
