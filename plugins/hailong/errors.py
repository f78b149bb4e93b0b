"""The two kinds of failure. Whoever raises one says what was tried, for which batch or period, and what to do."""

from __future__ import annotations


class HailongError(Exception):
    """A failure that a person can act on; its text is shown as it is, without a traceback."""


class PermanentError(HailongError):
    """Trying again with the same input gives the same failure: never retried."""


class TransientError(HailongError):
    """The other side was busy, slow or away: worth another try later."""


class UsageError(HailongError):
    """The command was called wrongly (exit 2)."""
