"""The models of one full build, run again over a small world in seconds: in a transaction that is rolled back.

A real build of a warehouse that knows codes, procedures and nothing else leaves the tables, their keys and the SQL of each
model as a full build runs it. For a world, raw rows are written as the loads would have left them (through the contracts'
reader), and every model that the compared marts hang on is filled anew from that SQL. Staging models are views already.

Not looked at here: files and landing, increments, and the models that nothing compared is made of.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from psycopg import sql

from hailong.contracts import load_contracts
from hailong.extract.records import Converter, Row
from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.integration.lives import Lives, smallest, worlds
from tests.integration.marts import marts_of
from tests.oracle import feeds, rules
from tests.oracle.agreement import MARTS, Marts, disagreements, oracle_rows, scorer_of
from tests.oracle.book import ZONE, Book
from tests.oracle.scorer import Batch, World

FIRST_OF_BASE = 1000  # batches before are those of the worlds
TOMBSTONE = hashlib.sha256(b"deleted").hexdigest()
RULES = ("scoring_policy", "scoring_policy_parameter")  # seeds that a world has its own of
Record = dict[str, object]


@dataclass(frozen=True)
class Model:
    """A table of dbt, its columns, and the query that fills it in a full build."""

    name: str
    relation: sql.Identifier
    columns: tuple[str, ...]
    query: str

    @property
    def statement(self) -> sql.Composed:
        listed = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        return sql.SQL("insert into {} ({}) select {} from ({}) as model").format(
            self.relation, listed, listed, sql.SQL(self.query)  # type: ignore[arg-type]
        )  # fmt: skip


class LightBuild:
    """A prepared warehouse; `marts` computes what it would hold after a world was loaded."""

    def __init__(self, warehouse: Settings, models: Sequence[Model]) -> None:
        self.warehouse = warehouse
        self.models = models
        self.contracts = load_contracts(warehouse.contracts)
        self.converters = {
            feed: Converter(contract, warehouse.timezone) for feed, contract in self.contracts.items()
        }  # fmt: skip

    @classmethod
    def prepare(cls, warehouse: Settings, book: Book, folder: Path) -> LightBuild:
        """Loads codes and procedures of the book, builds, and reads what dbt compiled."""
        with connect(warehouse) as connection:
            connection.execute(
                sql.SQL("alter table ops.batch alter column batch_id restart with {}").format(
                    sql.Literal(FIRST_OF_BASE)
                )
            )
        files = feeds.write_registers(book.world, folder)
        for feed in ("code_map", "procedure_register"):
            assert ingest(warehouse, feed, file=files[feed]).quarantined == 0
        build(warehouse)
        target = warehouse.home / "dbt" / "target"
        manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
        models = tuple(_models(manifest, target))
        with connect(warehouse) as connection:
            for feed in (*feeds.EVENTS, "unit_register"):
                connection.execute("select raw.ensure_partition(%s, 1)", (feed,))
        return cls(warehouse, models)

    def changed(self, model: str, old: str, new: str) -> LightBuild:
        """The same with one place of a model's SQL changed: a bug, planted."""
        position = next(i for i, found in enumerate(self.models) if found.name == model)
        query = self.models[position].query
        assert query.count(old) == 1, f"{model} holds {old!r} {query.count(old)} times"
        models = list(self.models)
        models[position] = replace(models[position], query=query.replace(old, new))
        return LightBuild(self.warehouse, models)

    def marts(self, world: World, seeds: Path, since: date, until: date) -> Marts:
        """The marts that a full build would leave, under the policies of a folder of seeds."""
        with connect(self.warehouse) as connection, connection.transaction(force_rollback=True):
            # As in a build; what the triggers note is for increments.
            connection.execute("set local enable_nestloop = off; set local jit = off")
            self._empty(connection)
            self._rules(connection, seeds)
            self._load(connection, world, since, until)
            for model in self.models:
                connection.execute(model.statement)
            return marts_of(connection)

    def _empty(self, connection: psycopg.Connection) -> None:
        for model in reversed(self.models):
            connection.execute(sql.SQL("delete from {}").format(model.relation))

    def _rules(self, connection: psycopg.Connection, seeds: Path) -> None:
        for name in RULES:
            with (seeds / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
                header, *rows = csv.reader(lines)
            table = sql.Identifier("rules", name)
            connection.execute(sql.SQL("delete from {}").format(table))
            _copy(connection, table, header, ([value or None for value in row] for row in rows))

    def _load(self, connection: psycopg.Connection, world: World, since: date, until: date) -> None:
        """One batch a feed and round, with the versions that are new in it."""
        numbers = iter(range(1, FIRST_OF_BASE))
        whole = (datetime.combine(since, time(), ZONE), datetime.combine(until, time(), ZONE))
        register = [self._row("unit_register", feeds.unit(unit)) for unit in world.units]
        self._batch(connection, next(numbers), "unit_register", None, register)
        held: dict[str, dict[str, str]] = {feed: {} for feed in feeds.EVENTS}
        for batch in world.batches:
            for feed, records in records_of(batch, whole).items():
                rows = {row.key: row for row in (self._row(feed, record) for record in records)}
                gone = batch.deleted & held[feed].keys()
                assert not gone & rows.keys(), "deleted and brought in one batch"
                new = [row for key, row in rows.items() if held[feed].get(key) != row.version_hash]
                new += [self._tombstone(feed, key) for key in sorted(gone)]
                held[feed] |= {row.key: row.version_hash for row in new}
                span = batch.petitions_read if feed == "petition" else whole
                if span:
                    self._batch(connection, next(numbers), feed, span, new)

    def _row(self, feed: str, record: Record) -> Row:
        row = self.converters[feed].convert(record)
        assert isinstance(row, Row), f"{feed}: {row}"
        return row

    def _tombstone(self, feed: str, key: str) -> Row:
        return Row(key, "delete", TOMBSTONE, [None] * len(self.contracts[feed].columns))

    def _batch(
        self,
        connection: psycopg.Connection,
        number: int,
        feed: str,
        span: tuple[datetime, datetime] | None,
        rows: Sequence[Row],
    ) -> None:
        since, until = span or (None, None)
        deleted = sum(row.op == "delete" for row in rows)
        connection.execute(
            "insert into ops.batch (batch_id, feed, window_start, window_end, landing_uri, landing_sha256, received_rows,"
            " loaded_rows, unchanged_rows, duplicate_rows, quarantined_rows, tombstone_rows, started_at, contract_version,"
            " code_version, read_kind) overriding system value"
            " values (%s, %s, %s, %s, 'test', %s, %s, %s, 0, 0, 0, %s, now(), %s, 'test', %s)",
            (
                number, feed, since, until, hashlib.sha256(str(number).encode()).hexdigest(), len(rows) - deleted,
                len(rows) - deleted, deleted, self.contracts[feed].version, "file" if span else "full",
            ),
        )  # fmt: skip
        names = ["batch_id", "record_key", "op", "version_hash", *(c.name for c in self.contracts[feed].columns)]
        lines = ([number, row.key, row.op, row.version_hash, *row.values] for row in rows)
        _copy(connection, sql.Identifier("raw", feed), names, lines)


def differences_of(light: LightBuild, lives: Lives) -> list[str]:
    """Reports of what differs between the oracle and the models over one world, or of why it could not be built."""
    seeds = light.warehouse.home
    rules.write_policies(seeds, [since for since, _ in lives.policies], [changed for _, changed in lives.policies])
    scorer = scorer_of(lives.world, rules.policies(seeds))
    oracle = oracle_rows(scorer, lives.periods, lives.until - timedelta(days=1))
    try:
        marts = light.marts(lives.world, seeds, lives.since, lives.until)
    except psycopg.Error as error:
        return [f"no build: {error}"]
    return disagreements(scorer, lives.periods, oracle, marts)


def first_difference(
    light: LightBuild, scenes: Sequence[str], examples: int, seed: int | None = None, is_reduced: bool = True
) -> str | None:
    """What differs in the first of so many worlds that does, and that world made as small as it still differs.

    Without a seed the worlds are the same in every run.
    """
    found: list[Lives] = []

    @given(lives=st.sampled_from(scenes).flatmap(worlds))
    @settings(
        max_examples=examples, derandomize=seed is None, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def look(lives: Lives) -> None:
        if not found and differences_of(light, lives):
            found.append(lives)

    (look if seed is None else hypothesis_seed(seed)(look))()
    if not found:
        return None
    small = smallest(found[0], lambda lives: bool(differences_of(light, lives))) if is_reduced else found[0]
    return "\n\n".join([*differences_of(light, small), repr(small)])


def records_of(batch: Batch, span: tuple[datetime, datetime]) -> dict[str, list[Record]]:
    """What a round brings of each feed, as the sources tell it."""
    updated = feeds.last_second(span)
    return {
        "dossier": [feeds.dossier(item, updated) for item in batch.dossiers],
        "rating": [feeds.rating(item, updated) for item in batch.ratings],
        "portal_evaluation": [feeds.portal_row(item) for item in batch.portal_rows],
        "posting_check": [feeds.posting_check(item) for item in batch.posting_checks],
        "petition": [feeds.petition(item, updated) for item in batch.petitions],
    }


def _copy(connection: psycopg.Connection, table: sql.Identifier, names: Sequence[str], rows: Iterable[Any]) -> None:
    listed = sql.SQL(", ").join(map(sql.Identifier, names))
    statement = sql.SQL("copy {} ({}) from stdin").format(table, listed)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _models(manifest: Mapping[str, Any], target: Path) -> Iterable[Model]:
    """The tables that the compared marts hang on, each after those that it reads."""
    nodes = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    ordered: list[str] = []

    def visit(key: str) -> None:
        if key in nodes and key not in ordered:
            for parent in nodes[key]["depends_on"]["nodes"]:
                visit(parent)
            ordered.append(key)

    for key, node in nodes.items():
        if node["schema"] == "marts" and node["alias"] in MARTS:
            visit(key)
    for key in ordered:
        node = nodes[key]
        if node["config"]["materialized"] == "incremental":
            query = (target / "compiled" / node["package_name"] / node["original_file_path"]).read_text(
                encoding="utf-8"
            )
            relation = sql.Identifier(node["schema"], node["alias"])
            yield Model(node["name"], relation, tuple(node["columns"]), query)
