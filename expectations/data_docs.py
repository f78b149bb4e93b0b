"""Data Docs of one run: the pages of Great Expectations, readable without a network, behind a summary of our own.

The library's site loads its styles and its list of runs from the internet; in a closed network that leaves an empty
page. Here each target's page is rendered by the library, stripped of everything remote, and given a small style.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

STYLE = """<style>
body{font-family:"Liberation Sans",Arial,sans-serif;margin:2rem;color:#222;line-height:1.4}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{border:1px solid #ccc;padding:.35rem .5rem;text-align:left;
vertical-align:top}th{background:#f2f2f2}img,nav,.d-none{display:none}
.critical{background:#fbe3e1}.warning{background:#fff4d6}.info{background:#e6f0fa}
</style>"""
# Scripts first: they carry text that looks like tags.
REMOTE = (
    re.compile(r"<script\b.*?</script>", re.S | re.I),
    re.compile(r"<footer\b.*?</footer>", re.S | re.I),
    re.compile(r"<link\b[^>]*>", re.S | re.I),
    re.compile(r"<img\b[^>]*>", re.S | re.I),
    re.compile(r"@import[^;]*;", re.I),
    re.compile(r"@font-face\s*\{.*?\}", re.S | re.I),
    re.compile(r"""url\(\s*['"]?(?:https?:)?//[^)]*\)""", re.I),
    re.compile(r'\s(?:href|src)="(?:https?:)?//[^"]*"', re.I),
)


def write(
    folder: Path, run_id: str, disposition: str, results: Sequence[Mapping[str, Any]], validations: Mapping[str, Any]
) -> None:
    """Write `index.html` and a page per target into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, validation in validations.items():
        html = _view().render(ValidationResultsPageRenderer().render(validation))
        (folder / f"{name}.html").write_text(_local(html), encoding="utf-8")
    (folder / "index.html").write_text(_summary(run_id, disposition, results, validations), encoding="utf-8")


@cache
def _view() -> DefaultJinjaPageView:
    """One for all pages: each compiles the library's templates for itself."""
    return DefaultJinjaPageView()


def _local(html: str) -> str:
    for pattern in REMOTE:
        html = pattern.sub("", html)
    return html.replace("</head>", f"{STYLE}</head>", 1)


def _summary(
    run_id: str, disposition: str, results: Sequence[Mapping[str, Any]], validations: Mapping[str, Any]
) -> str:
    columns = ("expectation_id", "severity", "reason", "observed", "threshold", "failing_keys")
    titles = ("Kiểm tra", "Mức", "Nội dung", "Quan sát", "Ngưỡng", "Đơn vị / bản ghi")
    rows = []
    for result in sorted(results, key=lambda result: bool(result["success"])):
        cells = [", ".join(v) if isinstance(v := result[name], list) else str(v) for name in columns]
        cells.append("đạt" if result["success"] else "KHÔNG ĐẠT")
        style = "" if result["success"] else f' class="{escape(result["severity"])}"'
        rows.append(f"<tr{style}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    links = " · ".join(f'<a href="{escape(name)}.html">{escape(name)}</a>' for name in validations)
    head = "".join(f"<th>{title}</th>" for title in (*titles, "Kết quả"))
    return (
        f'<!doctype html><html lang="vi"><head><meta charset="utf-8"><title>{escape(run_id)}</title>{STYLE}</head><body>'
        f"<h1>Kiểm tra chất lượng {escape(run_id)}: {escape(disposition)}</h1><p>{links}</p>"
        f"<table><tr>{head}</tr>{''.join(rows)}</table></body></html>"
    )
