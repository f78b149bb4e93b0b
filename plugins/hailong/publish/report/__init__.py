"""The report files of an edition, made from `publish` and nothing else: the same edition gives the same bytes."""

from __future__ import annotations

import zlib
from importlib.metadata import version
from pathlib import Path

import psycopg

from hailong.errors import PermanentError
from hailong.periods import parse_period
from hailong.publish import opendata
from hailong.settings import Settings
from hailong.warehouse.connect import connect

DECIDES_BYTES = ("XlsxWriter", "docxtpl", "python-docx", "lxml", "typst", "altair", "vl-convert-python", "pyarrow")
RENDERER_VERSION = ", ".join(
    ("report 7", *(f"{name} {version(name)}" for name in DECIDES_BYTES), f"zlib {zlib.ZLIB_RUNTIME_VERSION}")
)
READER = "hailong_reader"


def render(settings: Settings, connection: psycopg.Connection, edition_id: str, folder: Path) -> list[Path]:
    """Write the files of an edition into an existing folder. The edition's own time of publication is the only clock.

    What is to be posted in public is read as the public reads (`settings`), all else through `connection`.
    """
    from hailong.publish.report import docx, pdf, posting, xlsx
    from hailong.publish.report.content import compose
    from hailong.publish.report.data import load
    from hailong.publish.report.quarterly import handover_name

    report = load(connection, edition_id)
    paper, at = compose(report), report.header.published_at
    made = [folder / f"bao-cao_{edition_id}.{kind}" for kind in ("xlsx", "docx", "pdf")]
    xlsx.write(report, made[0])
    docx.write(paper, at, made[1])
    pdf.write(paper, at, made[2])
    sheets = folder / f"niem-yet_{edition_id}.pdf"
    if posting.write(settings, edition_id, sheets):
        made.append(sheets)
    if report.annex("reform_index_handover"):
        made.append(folder / handover_name(edition_id))
        xlsx.write_handover(report, made[-1])
    return made


def build(settings: Settings, period_code: str, edition_no: int | None, out: Path) -> list[Path]:
    """Write the report of a period's edition (default: the newest) into `out`, and its open data if it is public.

    PermanentError when there is none.
    """
    period = parse_period(settings.rules, period_code)
    with connect(settings, READER) as connection:
        rows = connection.execute(
            "select edition_no, edition_id from publish.edition where period_code = %s and calendar_code = %s "
            "order by edition_no",
            (period.code, period.calendar_code),
        ).fetchall()
        editions: dict[int, str] = {number: name for number, name in rows}
        if not editions:
            raise PermanentError(
                f"the period {period} has no edition to report: sign its candidate, then "
                f"`hailong publish --period {period.code}`"
            )
        wanted = max(editions) if edition_no is None else edition_no
        if wanted not in editions:
            raise PermanentError(
                f"the period {period} has no edition {wanted}; there is {', '.join(editions.values())}"
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
            return [
                *render(settings, connection, editions[wanted], out),
                *opendata.write(settings, editions[wanted], out),
            ]
        except OSError as error:
            raise PermanentError(f"the report of {editions[wanted]} cannot be written to {out}: {error}") from error
