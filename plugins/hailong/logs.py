"""What a command tells besides its result: text for people or, with HAILONG_LOG=json, one JSON object a line on standard error.

What the lines hold: docs/runbook.md, "Logs". Known of every command is what it is about (`bind`, `about`): the names an
operator searches by. structlog is imported where JSON is asked for; text for people needs none of it.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from hailong.errors import PermanentError, TransientError, UsageError

VARIABLE = "HAILONG_LOG"
FORMATS = ("text", "json")
# Airflow sets these for every task (airflow.sdk.execution_time.context), and a command is a child of its task.
OF_AIRFLOW = {
    "AIRFLOW_CTX_DAG_ID": "dag_id",
    "AIRFLOW_CTX_TASK_ID": "task_id",
    "AIRFLOW_CTX_DAG_RUN_ID": "run_id",
    "AIRFLOW_CTX_TRY_NUMBER": "try_number",
}
# What a result is about, by the name of its field.
OF_RESULT = {
    "feed": "feed",
    "batch_id": "batch",
    "as_of_batch": "batch",
    "build_id": "build",
    "period_code": "period",
    "candidate_id": "candidate",
    "edition_id": "edition",
}
_SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|KEY)(?!.*_FILE$)", re.I)
_IN_JSON = re.compile(r'"[^"]*(?:pass|secret|token|key)[^"]*"\s*:\s*"([^"]+)"', re.I)
_IN_ADDRESS = re.compile(r"(?<=://)([^/\s@:'\"]*):([^/\s@'\"]+)@")
_SHORTEST = 4  # shorter ones would blacken half of every line, and keep nothing out that is worth keeping out
HIDDEN = "***"

_context: dict[str, Any] = {}  # of this process: one command; not a context variable, because threads tell things too
_json = False


def wants_json(env: Mapping[str, str]) -> bool:
    """Whether HAILONG_LOG asks for JSON; UsageError when it is neither of the two."""
    wanted = env.get(VARIABLE) or "text"
    if wanted not in FORMATS:
        raise UsageError(f"{VARIABLE} is {wanted!r}: write {' or '.join(FORMATS)}")
    return wanted == "json"


def begin(command: str = "", env: Mapping[str, str] | None = None) -> bool:
    """Set up the logs of this process; true when they are JSON. UsageError as in `wants_json`."""
    global _json
    env = os.environ if env is None else env
    _json = wants_json(env)
    bind(command=command, **of_airflow(env))
    if _json:
        _set_up(env)
    return _json


def is_json() -> bool:
    return _json


def of_airflow(env: Mapping[str, str]) -> dict[str, Any]:
    """Task and run that this process is a part of; empty outside Airflow."""
    found: dict[str, Any] = {name: env[variable] for variable, name in OF_AIRFLOW.items() if env.get(variable)}
    if str(found.get("try_number", "")).isdigit():
        found["try_number"] = int(found["try_number"])
    return found


def bind(**about: Any) -> None:
    """What the rest of this command is about: feed, batch, period, build, candidate, edition. None is left out."""
    _context.update({name: value for name, value in about.items() if value is not None})


@contextmanager
def about(**what: Any) -> Iterator[None]:
    """What is told within is about these. An error that leaves it takes them along, because it is told outside."""
    before = dict(_context)
    bind(**what)
    yield
    _context.clear()
    _context.update(before)


def bind_result(result: Any) -> None:
    """What a result is about, as far as it says so."""
    for field, name in OF_RESULT.items():
        bind(**{name: getattr(result, field, None)})


def context() -> dict[str, Any]:
    return dict(_context)


def tell(event: str, message: str, level: str = "info", **more: Any) -> None:
    """One line of JSON; where people read, nothing: whoever calls shows it to them in its own way."""
    if _json:
        import structlog

        getattr(structlog.get_logger("hailong"), level)(event, message=message, **more)


def kind_of(error: BaseException) -> str:
    """permanent, transient, usage, or unexpected: what somebody who is called at night must know first."""
    kinds = ((UsageError, "usage"), (TransientError, "transient"), (PermanentError, "permanent"))
    return next((kind for type_, kind in kinds if isinstance(error, type_)), "unexpected")


def tell_failure(kind: str, message: str, status: int, error: BaseException | None = None) -> None:
    """The one line in which a command says why it ends; of an `error` that nobody expected with its traceback."""
    tell("failed", message, "error", kind=kind, exit=status, exc_info=error)


def _set_up(env: Mapping[str, str]) -> None:
    import structlog

    if isinstance(
        sys.stderr, io.TextIOWrapper
    ):  # whatever the locale: JSON is UTF-8, and half a character no reason to fail
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    before: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_context,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*before, _as_logged],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,  # as text without the values of variables
            _Hide(secrets(env)),
            _in_order,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries tell addresses and questions at lower ones
    logging.getLogger("hailong").setLevel(logging.INFO)
    warnings.showwarning = _warned
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    del file, line
    logging.getLogger("py.warnings").warning("%s: %s (%s:%d)", category.__name__, message, filename, lineno)


def _add_context(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in _context.items():
        event.setdefault(name, value)
    return event


def _as_logged(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What a logger of the standard library was told: its text is the message."""
    event["message"] = event.pop("event")
    event["event"] = "logged"
    event["logger"] = event["_record"].name
    return event


_FIRST = ("timestamp", "level", "event", "command", "message")


def _in_order(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: event[name] for name in _FIRST if name in event} | dict(event)


def secrets(env: Mapping[str, str]) -> list[str]:
    """Values of the environment that no line may hold, the longest first: whole ones, and the parts of lists and addresses."""
    found: set[str] = set()
    for name, value in env.items():
        for _, password in _IN_ADDRESS.findall(value):
            found |= {password, unquote(password)}
        if value.lstrip().startswith("{"):
            found |= set(_IN_JSON.findall(value))
        elif name == "HAILONG_WEBHOOK_URL":  # who knows the address may post
            found.add(value)
        elif _SECRET_NAME.search(name):
            found |= {value, *(part.partition(":")[2] for part in value.split(","))}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)


class _Hide:
    """Puts stars for secrets, wherever in a line they stand; also for the password in any address."""

    def __init__(self, secrets: list[str]) -> None:
        self._secrets = re.compile("|".join(map(re.escape, secrets))) if secrets else None

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {name: self.hide(value) for name, value in event.items()}

    def hide(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self.hide(part) for name, part in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.hide(part) for part in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        text = _IN_ADDRESS.sub(rf"\1:{HIDDEN}@", str(value))
        return self._secrets.sub(HIDDEN, text) if self._secrets else text
