"""The report as a DOCX: the office's template (`templates/bao-cao.docx`) with the sections of the paper put into it.

What stands around the sections (national title, number, place and date, recipients, signature, styles, margins) is the
template's, and is changed there with a word processor. The sections use its styles by name (`HL …`).
"""

from __future__ import annotations

import io
import unicodedata
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from hailong.publish.report.content import TEMPLATES
from hailong.publish.report.paper import Chart, Column, Paper, Section, Table, Text

TEMPLATE = TEMPLATES / "bao-cao.docx"
TEXT_WIDTH = 9354  # twentieths of a point: A4 less margins of 30 and 15 mm
STYLES = {"body": "HLDoan", "item": "HLNhom", "note": "HLGhichu", "plain": "HLDong", "head": "HLTieumuc"}
FILLS = {"good": "E2F0D9", "bad": "F8D7D3", "open": "FFF2CC"}
ALIGN = {"left": "left", "center": "center", "right": "right"}


def write(paper: Paper, published_at: datetime, path: Path) -> None:
    """Write the DOCX of a paper. `published_at` is its only clock: in its properties and in its archive."""
    from docxtpl import DocxTemplate
    from markupsafe import Markup

    template = DocxTemplate(str(TEMPLATE))
    issuer = paper.issuer
    values: dict[str, str | list[str]] = {
        "co_quan_chu_quan": issuer.superior,
        "co_quan_ban_hanh": issuer.body,
        "ky_hieu": issuer.symbol,
        "dia_danh_ngay": paper.dated,
        "tieu_de": paper.title,
        "trich_yeu": paper.subtitle,
        "kinh_gui": issuer.addressee,
        "mo_dau": paper.opening,
        "ket_thuc": paper.closing,
        "noi_nhan": [f"- {who}{'.' if who == issuer.recipients[-1] else ';'}" for who in issuer.recipients],
        "chuc_vu": issuer.signer,
        "an_ban": f"Ấn bản {paper.edition_id} · SHA-256 {paper.content_sha256[:16]}…",
        "noi_dung": Markup("".join(map(_section, paper.sections))),
        "phu_luc": Markup("".join(_section(section, "HLPhuluc") for section in paper.appendices)),
    }
    template.render({name: _nfc(value) for name, value in values.items()}, autoescape=True)
    properties = template.docx.core_properties
    properties.title = unicodedata.normalize("NFC", f"{paper.title}: {paper.subtitle}")[:255]
    properties.subject = f"{paper.edition_id}, SHA-256 {paper.content_sha256}"
    properties.created = properties.modified = published_at.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    made = io.BytesIO()
    template.save(made)
    path.write_bytes(_dated(made.getvalue(), published_at))


def _dated(archive: bytes, published_at: datetime) -> bytes:
    """The same archive with every entry dated at the publication."""
    at = published_at.astimezone(UTC)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, (at.year, at.month, at.day, at.hour, at.minute, at.second))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o600 << 16
            new.writestr(entry, old.read(name), compresslevel=6)
    return out.getvalue()


def _nfc(value: str | list[str]) -> str | list[str]:
    """Vietnamese letters as one character each, so that every font finds them. Keeps what is marked as XML so marked."""
    if isinstance(value, list):
        return [unicodedata.normalize("NFC", each) for each in value]
    return type(value)(unicodedata.normalize("NFC", value))


# -- WordprocessingML ------------------------------------------------------------------------------------------------


def _section(section: Section, style: str = "HLMuc") -> str:
    made = [_paragraph(section.title, style, on_new_page=section.on_new_page)]
    for block in section.blocks:
        if isinstance(block, Text):
            made.append(_paragraph(block.text, STYLES[block.style]))
        elif isinstance(block, Table):
            made.append(_table(block))
        else:
            assert isinstance(block, Chart)  # its figures stand in the tables beside it
    return "".join(made)


def _paragraph(text: str, style: str, align: str = "", bold: bool = False, on_new_page: bool = False) -> str:
    properties = (
        f'<w:pStyle w:val="{style}"/>'
        + ("<w:pageBreakBefore/>" if on_new_page else "")
        + (f'<w:jc w:val="{align}"/>' if align else "")
    )
    weight = "<w:rPr><w:b/></w:rPr>" if bold else ""
    return (
        f"<w:p><w:pPr>{properties}</w:pPr><w:r>{weight}"
        f'<w:t xml:space="preserve">{escape(unicodedata.normalize("NFC", text))}</w:t></w:r></w:p>'
    )


def _table(table: Table) -> str:
    widths = _widths(table.columns)
    head = _row(
        [_paragraph(column.title, "HLBangdau") for column in table.columns],
        widths,
        ["D9E2F3"] * len(widths),
        "<w:cantSplit/><w:tblHeader/>",
    )
    first_total = len(table.rows) - table.totals
    rows = [
        _row(
            [
                _paragraph(cell.text, "HLBang", ALIGN[column.align], bold=number >= first_total)
                for cell, column in zip(row, table.columns, strict=True)
            ],
            widths,
            [FILLS.get(cell.tone, "EDEDED" if number >= first_total else "") for cell in row],
            "<w:cantSplit/>",
        )
        for number, row in enumerate(table.rows)
    ]
    grid = "".join(f'<w:gridCol w:w="{width}"/>' for width in widths)
    return (
        '<w:tbl><w:tblPr><w:tblStyle w:val="HLLuoi"/>'
        f'<w:tblW w:w="{sum(widths)}" w:type="dxa"/><w:tblLayout w:type="fixed"/>'
        '<w:tblCellMar><w:left w:w="40" w:type="dxa"/><w:right w:w="40" w:type="dxa"/></w:tblCellMar></w:tblPr>'
        f"<w:tblGrid>{grid}</w:tblGrid>{head}{''.join(rows)}</w:tbl>" + _paragraph("", "HLCach")
    )


def _row(cells: list[str], widths: list[int], fills: list[str], properties: str) -> str:
    made = "".join(
        f'<w:tc><w:tcPr><w:tcW w:w="{width}" w:type="dxa"/>'
        + (f'<w:shd w:val="clear" w:color="auto" w:fill="{fill}"/>' if fill else "")
        + f'<w:vAlign w:val="center"/></w:tcPr>{cell}</w:tc>'
        for cell, width, fill in zip(cells, widths, fills, strict=True)
    )
    return f"<w:tr><w:trPr>{properties}</w:trPr>{made}</w:tr>"


def _widths(columns: tuple[Column, ...]) -> list[int]:
    whole = sum(column.width for column in columns)
    return [round(TEXT_WIDTH * column.width / whole) for column in columns]
