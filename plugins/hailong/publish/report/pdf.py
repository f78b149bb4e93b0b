"""The report as a PDF: `templates/bao-cao.typ` with the paper as data, charts beside it, fonts of its own."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hailong.publish.report.charts import FONTS, draw
from hailong.publish.report.content import TEMPLATES
from hailong.publish.report.paper import Chart, Paper, Section, Table

MAIN = TEMPLATES / "bao-cao.typ"


def write(paper: Paper, published_at: datetime, path: Path) -> None:
    """Write the PDF of a paper. `published_at` is its only clock."""
    charts: dict[str, bytes] = {}
    data = asdict(paper) | {
        "sections": [_section(section, charts) for section in paper.sections],
        "appendices": [_section(section, charts) for section in paper.appendices],
    }
    path.write_bytes(typeset(MAIN, data, charts, published_at))


def typeset(main: Path, data: Mapping[str, Any], files: Mapping[str, bytes], published_at: datetime) -> bytes:
    """A PDF of a template with its data. Only the report's own fonts are used, and they are embedded."""
    import typst

    written = unicodedata.normalize("NFC", json.dumps(data, ensure_ascii=False))
    return bytes(
        typst.compile(  # type: ignore[call-overload]  # its stub does not know that a template comes with its files
            {"main.typ": main.read_bytes(), "data.json": written.encode(), **files},
            font_paths=[str(FONTS)],
            ignore_system_fonts=True,
            timestamp=published_at.astimezone(UTC).replace(microsecond=0),
        )
    )


def _section(section: Section, charts: dict[str, bytes]) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for block in section.blocks:
        if isinstance(block, Table):
            blocks.append({"kind": "table", **asdict(block)})
        elif isinstance(block, Chart):
            name = f"chart-{len(charts)}.svg"
            charts[name] = draw(block).encode()
            blocks.append({"kind": "chart", "file": name, "caption": block.caption})
        else:
            blocks.append({"kind": "text", **asdict(block)})
    return {"title": section.title, "on_new_page": section.on_new_page, "blocks": blocks}
