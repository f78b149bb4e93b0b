"""People who must not pass the door: values to plant in a source, and a search for them in everything that is kept.

Every planted value is one of `Person`: its name, phone, identity number, e-mail, words or token. A search looks for what all of
them have in common, in whatever form text takes on its way: composed or not, escaped in JSON or in a URL, as hex.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import psycopg
import pyarrow.parquet as pq
from psycopg import sql

KERNEL = "Kanari"  # in every text; digits of numbers begin with PHONE or IDENTITY
PHONE, IDENTITY = "09876", "079876"
# What the sandbox calls its people when nobody plants others: "Người Nộp Mẫu 000042", mau000042@example.invalid.
SANDBOX = (
    r"(?-i:(?:Cán Bộ|Người|Thủ Trưởng)(?: \w+){0,3} Mẫu \d)|@example\.invalid|(?:khiếu nại|giải trình|khắc phục) mẫu\b"
)
_HEX = re.compile(r"\\\\?x((?:[0-9a-f]{2}){4,})")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(frozen=True)
class Person:
    """Somebody who does not exist."""

    number: int

    @property
    def name(self) -> str:
        return f"Nguyễn Thị {KERNEL} {self.number:05d}"

    @property
    def phone(self) -> str:
        return f"{PHONE}{self.number:05d}"

    @property
    def identity(self) -> str:
        return f"{IDENTITY}{self.number:06d}"

    @property
    def email(self) -> str:
        return f"{KERNEL.lower()}.{self.number}@example.invalid"

    @property
    def words(self) -> str:
        return f"Bà {self.name}, số {self.phone}, đã gọi lại hai lần và chưa được trả lời."

    @property
    def token(self) -> str:
        return f"{KERNEL}-token-{self.number}"

    def all(self) -> tuple[str, ...]:
        return (self.name, self.phone, self.identity, self.email, self.words, self.token)


def pattern(*more: str) -> re.Pattern[str]:
    """What gives a planted value away, and `more` secrets, word for word."""
    composed = (
        KERNEL,
        rf"(?<!\d){PHONE}\d{{5}}(?!\d)",
        rf"(?<!\d){IDENTITY}\d{{6}}(?!\d)",
        SANDBOX,
        *map(re.escape, more),
    )
    return re.compile("|".join(composed), re.IGNORECASE)


def found_in(text: str, wanted: re.Pattern[str]) -> list[str]:
    """The matches of a text in any of its forms."""
    forms = {text, unquote_plus(text), _ESCAPED.sub(lambda m: chr(int(m[1], 16)), text)}
    forms |= {bytes.fromhex(m).decode("utf-8", "replace") for m in _HEX.findall(text)}
    return [m for form in forms for m in wanted.findall(unicodedata.normalize("NFC", form))]


def search_files(folder: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """(file, match) of every file below a folder: its name, its bytes as UTF-8 and UTF-16, a Parquet file also decoded."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        texts = [str(path.relative_to(folder)), content.decode("utf-8", "replace"), content.decode("utf-16", "replace")]
        if path.suffix == ".parquet":
            texts.append(repr(pq.read_table(path).to_pylist()))
            texts.append(repr(pq.read_metadata(path).metadata))
        for match in {m for text in texts for m in found_in(text, wanted)}:
            yield str(path.relative_to(folder)), match


def search_tables(connection: psycopg.Connection, wanted: re.Pattern[str]) -> Iterator[tuple[str, str, int]]:
    """(table, match, rows looked at) of every row of every table of every schema; a table without a match once, with ""."""
    tables = connection.execute(
        "select n.nspname, c.relname from pg_class as c inner join pg_namespace as n on c.relnamespace = n.oid"
        " where c.relkind in ('r', 'm', 'v') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')"
        " order by 1, 2"
    ).fetchall()
    for schema, name in tables:
        query = sql.SQL("select t::text from {} as t").format(sql.Identifier(schema, name))
        rows, matches = 0, set()
        for (row,) in connection.execute(query):
            rows += 1
            matches |= set(found_in(row, wanted))
        for match in matches or {""}:
            yield f"{schema}.{name}", match, rows


def planted(record: Any, personal: Iterable[str], person: Person) -> Any:
    """A record, and what is nested in it, with `person` in every personal field and in fields that nobody knows."""
    if isinstance(record, list):
        return [planted(item, personal, person) for item in record]
    if not isinstance(record, dict):
        return record
    values = person.all()
    filled = {key: planted(value, personal, person) for key, value in record.items()}
    for place, field in enumerate(personal):
        if field in record:
            filled[field] = values[(place + person.number) % len(values)]
    new = ("hoTenMoi", "dienThoaiMoi", "cccdMoi", "thuMoi", "ghiChuMoi", "tokenMoi")
    return filled | dict(zip(new, values, strict=True))
