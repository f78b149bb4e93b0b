"""Open data of a quarter or year (Articles 9, 15): tables as CSV and Parquet with their dictionary, and a JSON file per unit.

A Frictionless data package (https://datapackage.org). Everything is read as `hailong_open_reader`, who sees schema `open`
and nothing else, so that no file can hold what the public may not know. The edition's time of publication is the only clock.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from psycopg import sql

from hailong.settings import Settings
from hailong.warehouse.connect import connect

ROLE = "hailong_open_reader"
FOLDER = "du-lieu-mo"
DICTIONARY = Path(__file__).with_name("dictionary.yaml")
# PostgreSQL's type → of the table schema, of the Parquet file.
TYPES: dict[str, tuple[str, pa.DataType]] = {
    "text": ("string", pa.string()),
    "int4": ("integer", pa.int64()),
    "int8": ("integer", pa.int64()),
    "numeric": ("number", pa.decimal128(38, 15)),
    "bool": ("boolean", pa.bool_()),
    "date": ("date", pa.date32()),
    "timestamptz": ("datetime", pa.timestamp("us", tz="UTC")),
}


@dataclass(frozen=True)
class Table:
    """One view of schema `open`, of one edition: columns with their PostgreSQL types, rows by key."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def write(settings: Settings, edition_id: str, folder: Path) -> list[Path]:
    """Write the package of an edition into `folder`/du-lieu-mo; nothing for a month, which is not public (Article 10)."""
    dictionary = _dictionary()
    tables = _tables(settings, edition_id, dictionary)
    edition = tables[0].records()
    if not edition:
        return []
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    files = [path for table in tables for path in (_csv(table, target), _parquet(table, target))]
    files += _units(tables, target)
    described = [_resource(table, target, dictionary) for table in tables]
    package = {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": f"hai-long-{edition_id.lower()}",
        "id": _checksum(tables),
        "title": f"{dictionary['title']['vi']}: {edition[0]['period_code']}",
        "description": dictionary["description"]["vi"] + "\n\n" + dictionary["description"]["en"],
        "version": str(edition[0]["edition_no"]),
        "created": _text(edition[0]["published_at"]),
        "keywords": dictionary["keywords"],
        "resources": described,
    }
    return [*files, _json(target / "datapackage.json", package)]


def checksum(settings: Settings, edition_id: str) -> str:
    """What a paper to be posted can be held against: SHA-256 of `cat k_score.csv index_score.csv`, so of what is public only.

    The checksum that was signed stays inside: it covers small cells, and whoever tries their few values would find them.
    """
    return _checksum(_tables(settings, edition_id, _dictionary()))


def _checksum(tables: list[Table]) -> str:
    by_name = {table.name: table for table in tables}
    return hashlib.sha256(b"".join(_csv_bytes(by_name[name]) for name in ("k_score", "index_score"))).hexdigest()


def _dictionary() -> dict[str, Any]:
    return dict(yaml.safe_load(DICTIONARY.read_text(encoding="utf-8")))


def _tables(settings: Settings, edition_id: str, dictionary: dict[str, Any]) -> list[Table]:
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        return [_read(connection, name, said["key"], edition_id) for name, said in dictionary["tables"].items()]


def _read(connection: psycopg.Connection, name: str, key: list[str], edition_id: str) -> Table:
    cursor = connection.execute(
        sql.SQL("select * from {} where edition_id = %s order by {}").format(
            sql.Identifier("open", name),
            sql.SQL(", ").join(sql.SQL('{} collate "C"').format(sql.Identifier(column)) for column in key),
        ),
        (edition_id,),
    )
    assert cursor.description
    columns = {column.name: column.type_display for column in cursor.description}
    return Table(name, {name: kind.partition("(")[0] for name, kind in columns.items()}, tuple(key), cursor.fetchall())


def _csv(table: Table, folder: Path) -> Path:
    path = folder / f"{table.name}.csv"
    path.write_bytes(_csv_bytes(table))
    return path


def _csv_bytes(table: Table) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(table.columns)
    writer.writerows([_text(value) for value in row] for row in table.rows)
    return text.getvalue().encode()


def _parquet(table: Table, folder: Path) -> Path:
    fields = [(name, TYPES[kind][1]) for name, kind in table.columns.items()]
    columns = list(zip(*table.rows, strict=True)) or [() for _ in fields]
    arrays = [pa.array(values, kind) for values, (_, kind) in zip(columns, fields, strict=True)]
    path = folder / f"{table.name}.parquet"
    pq.write_table(pa.table(arrays, schema=pa.schema(fields)), path, compression="zstd")
    return path


def _units(tables: list[Table], folder: Path) -> list[Path]:
    """A file per unit for other systems: what the tables say of it."""
    by_name = {table.name: table.records() for table in tables}
    (folder / "don-vi").mkdir(exist_ok=True)
    files = []
    for unit in by_name["k_score"]:
        of_unit = {
            name: [_without_edition(row) for row in by_name[name] if row["unit_code"] == unit["unit_code"]]
            for name in ("index_score", "change", "evaluation", "evaluation_change")
        }
        told = {"edition": by_name["edition"][0], "k_score": _without_edition(unit), **of_unit}
        files.append(_json(folder / "don-vi" / f"{unit['unit_code']}.json", told))
    return files


def _without_edition(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("edition_id", "period_code")}


def _resource(table: Table, folder: Path, dictionary: dict[str, Any]) -> dict[str, Any]:
    """What the package says of a table. A column without an entry in the dictionary is a KeyError: none goes out untold."""
    said = dictionary["tables"][table.name]
    path = folder / f"{table.name}.csv"
    content = path.read_bytes()
    return {
        "name": table.name.replace("_", "-"),
        "path": path.name,
        "title": said["vi"],
        "description": said["en"],
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "bytes": len(content),
        "hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "schema": {
            "fields": [
                {
                    "name": name,
                    "type": TYPES[kind][0],
                    "title": dictionary["columns"][name]["vi"],
                    "description": dictionary["columns"][name]["en"],
                }
                for name, kind in table.columns.items()
            ],
            "primaryKey": list(table.key),
            "missingValues": [""],
        },
    }


def _json(path: Path, content: object) -> Path:
    """Numerics as text: an index is an exact decimal, which a number of JSON need not stay."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, default=_text) + "\n", encoding="utf-8")
    return path


def _text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return value.isoformat() if isinstance(value, date) else value
