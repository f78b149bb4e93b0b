"""What the report of a quarter or a year says beyond a month's (Articles 10, 12.2, 13)."""

from __future__ import annotations

from hailong.publish.report.content import Monthly


class Quarterly(Monthly):
    """The sections of a quarter's or a year's report."""
