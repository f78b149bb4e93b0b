"""Charts as SVG, drawn with the report's own font, so that the PDF shows and measures the same letters."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from hailong.publish.report.paper import Chart

FONTS = Path(__file__).parent / "fonts"
FONT = "Liberation Serif"
STATE_COLOURS = ("#70AD47", "#C0504D", "#F2B233", "#A5A5A5", "#D9D9D9")
LOCALE = {"decimal": ",", "thousands": ".", "grouping": [3], "currency": ["", " đồng"]}
WIDTH, SIZE = 600, 13  # pixels, of which the PDF makes three quarters of a point


def draw(chart: Chart) -> str:
    """The SVG of a chart."""
    import altair
    import vl_convert

    _register_fonts()
    made = {"verdicts": _verdicts, "k": _totals, "movers": _movers}[chart.kind](altair, chart)
    drawn = (
        made.properties(width=WIDTH)
        .configure(font=FONT, autosize=altair.AutoSizeParams(type="fit", contains="padding"), background="white")
        .configure_axis(labelFontSize=SIZE, titleFontSize=SIZE, titleFontWeight="normal", labelLimit=250)
        .configure_legend(labelFontSize=SIZE, labelLimit=250)
    )
    return str(vl_convert.vegalite_to_svg(drawn.to_dict(), format_locale=LOCALE))


@cache
def _register_fonts() -> None:
    import vl_convert

    vl_convert.register_font_directory(str(FONTS))


def _verdicts(altair: Any, chart: Chart) -> Any:
    states = list(dict.fromkeys(row["state"] for row in chart.rows))
    groups = list(dict.fromkeys(row["group"] for row in chart.rows))
    return (
        altair.Chart(altair.Data(values=_nfc(chart)))
        .mark_bar()
        .encode(
            x=altair.X("units:Q", title="Số cơ quan", axis=altair.Axis(tickMinStep=1, format="d")),
            y=altair.Y("group:N", title=None, sort=groups),
            color=altair.Color(
                "state:N",
                title=None,
                scale=altair.Scale(domain=states, range=list(STATE_COLOURS)),
                legend=altair.Legend(orient="bottom", columns=3),
            ),
            order=altair.Order("order:Q"),
        )
        .transform_calculate(order=f"indexof({states!r}, datum.state)")
        .properties(height=100 + 26 * len(groups))
    )


def _totals(altair: Any, chart: Chart) -> Any:
    base = altair.Chart(altair.Data(values=_nfc(chart)))
    bars = base.mark_bar().encode(
        x=altair.X("k:Q", bin=altair.Bin(step=0.5), title="Tổng điểm K", scale=altair.Scale(zero=False)),
        y=altair.Y("count():Q", title="Số cơ quan", axis=altair.Axis(tickMinStep=1, format="d")),
        color=altair.Color(
            "group:N",
            title=None,
            scale=altair.Scale(scheme="tableau10"),
            legend=altair.Legend(orient="bottom"),
        ),
    )
    rule = (
        altair.Chart(altair.Data(values=[{"k": float(chart.threshold)}]))
        .mark_rule(color="#C00000", strokeDash=[4, 3])
        .encode(x="k:Q")
    )
    return (bars + rule).properties(height=270)


def _movers(altair: Any, chart: Chart) -> Any:
    order = list(dict.fromkeys(row["unit"] for row in chart.rows))
    return (
        altair.Chart(altair.Data(values=_nfc(chart)))
        .mark_bar()
        .encode(
            x=altair.X("change:Q", title="Thay đổi của K so với kỳ trước"),
            y=altair.Y("unit:N", title=None, sort=order),
            color=altair.condition("datum.change > 0", altair.value(STATE_COLOURS[0]), altair.value(STATE_COLOURS[1])),
        )
        .properties(height=60 + 19 * len(order))
    )


def _nfc(chart: Chart) -> list[dict[str, Any]]:
    return [
        {name: unicodedata.normalize("NFC", value) if isinstance(value, str) else value for name, value in row.items()}
        for row in chart.rows
    ]
