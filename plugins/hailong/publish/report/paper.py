"""The report as a paper, before it becomes a DOCX or a PDF: sections of text, tables and charts, already in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Tone = Literal["", "good", "bad", "open"]
Align = Literal["left", "center", "right"]


@dataclass(frozen=True)
class Cell:
    """What a cell of a table shows; `tone` colours it."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """A column: its title, its share of the width against the others, how it is set."""

    title: str
    width: float
    align: Align = "left"


@dataclass(frozen=True)
class Table:
    """A table; its last `totals` rows are sums, set in bold."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    totals: int = 0


@dataclass(frozen=True)
class Text:
    """A paragraph; `item`: one of a list; `note`: small and slanted; `plain`: not stretched to the margin."""

    text: str
    style: Literal["body", "item", "note", "plain", "head"] = "body"


@dataclass(frozen=True)
class Chart:
    """A chart: which kind, and its rows. The DOCX leaves charts out: their figures stand in the tables."""

    kind: Literal["verdicts", "k", "movers"]
    caption: str
    rows: tuple[dict[str, Any], ...]
    threshold: Decimal


Block = Text | Table | Chart


@dataclass(frozen=True)
class Section:
    """A section and its blocks; `on_new_page`: it begins one."""

    title: str
    blocks: tuple[Block, ...]
    on_new_page: bool = False


def appendix(number: int, title: str, blocks: Iterable[Block]) -> Section:
    """A numbered appendix. One that only says why it is empty needs no page of its own, but for the first."""
    made = tuple(blocks)
    return Section(f"Phụ lục {number}. {title}", made, number == 1 or any(isinstance(block, Table) for block in made))


@dataclass(frozen=True)
class Issuer:
    """Who issues the report and to whom, from `templates/issuers.yaml`, which the office edits."""

    superior: str
    body: str
    name: str
    symbol: str
    place: str
    addressee: str
    signer: str
    recipients: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """Everything that a DOCX and a PDF of one edition show."""

    edition_id: str
    content_sha256: str
    issuer: Issuer
    dated: str
    title: str
    subtitle: str
    opening: str
    sections: tuple[Section, ...]
    closing: str
    appendices: tuple[Section, ...]


def table(columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]], totals: int = 0) -> Table:
    """A table of texts and cells."""
    return Table(
        tuple(columns),
        tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows),
        totals,
    )
