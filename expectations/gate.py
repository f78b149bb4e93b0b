"""The gate: Great Expectations on a candidate or on what has landed. `python -m expectations.gate --candidate ID | --landed`.

Its own process, because Great Expectations takes seconds to import. The severities of what failed decide, never the
`success` of the whole: a critical failure stops (exit 1), a warning lets through and must be quoted by the signer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import: nothing is sent anywhere

import great_expectations as gx
import pandas as pd
import psycopg
from rich.console import Console

from expectations import data_docs
from expectations.outcome import RECORDED, Result, Run, decide, show
from expectations.suites import candidate, landed
from expectations.suites.model import OWNER, Check, Subject, Target
from hailong.errors import HailongError, PermanentError, TransientError
from hailong.settings import Settings
from hailong.warehouse.connect import connect

ROLE = "hailong_gate"
LOCK = 104_003  # one writer of runs at a time: the run's number is counted
T = TypeVar("T")


def run_candidate(settings: Settings, candidate_id: str, suite: Sequence[Check] | None = None) -> Run:
    """Check one candidate and record it."""
    started = datetime.now(UTC)
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        header = candidate.read_header(connection, candidate_id)
        subject = _read(lambda: candidate.read(connection, header), f"the candidate {candidate_id}")
    stamps = (candidate_id, header.content_sha256, header.period_code, header.as_of_batch)
    return _run(
        settings, candidate_id, "candidate", stamps, candidate.suite() if suite is None else suite, subject, started
    )


def run_landed(settings: Settings, suite: Sequence[Check] | None = None) -> Run:
    """Check what has landed since the last run that let something through, and record it."""
    started = datetime.now(UTC)
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        subject, as_of = _read(lambda: landed.read(connection, settings), "what has landed")
    stamps = (None, None, None, as_of)
    return _run(
        settings, f"landed.b{as_of}", "landed", stamps, landed.suite() if suite is None else suite, subject, started
    )


def _read(read: Callable[[], T], what: str) -> T:
    try:
        return read()
    except psycopg.errors.UndefinedTable as error:
        raise PermanentError(
            f"{what} cannot be compared: {str(error).splitlines()[0]}. Run `hailong db migrate` and `hailong build` first"
        ) from error


def _run(
    settings: Settings,
    name: str,
    scope: str,
    stamps: tuple[Any, ...],
    suite: Sequence[Check],
    subject: Subject,
    started: datetime,
) -> Run:
    results, validations = evaluate(suite, subject)
    disposition = decide(results)
    with connect(settings, ROLE) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        earlier = connection.execute(
            "select count(*) from dq.run where starts_with(run_id, %s)", (f"{name}.g",)
        ).fetchone()
        assert earlier
        run_id = f"{name}.g{earlier[0] + 1}"
        run = Run(run_id, disposition, results, (settings.data_docs / run_id / "index.html").as_uri())
        data_docs.write(settings.data_docs / run_id, run_id, disposition, [vars(r) for r in results], validations)
        _record(connection, run, scope, stamps, started)
    return run


def evaluate(suite: Sequence[Check], subject: Subject) -> tuple[list[Result], dict[str, Any]]:
    """Run every expectation that applies; a suite that looks at nothing is an error, not a success."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("candidate")
    results: list[Result] = []
    validations = {}
    for name, target in subject.targets.items():
        checks = [check for check in suite if check.target == name]
        if target.frame.empty:
            # Column expectations pass on nothing: only the row count can say so.
            checks = [check for check in checks if check.kind == "ExpectTableRowCountToBeBetween"]
            if target.required and not checks:
                results.append(_nothing(name))
        if not checks:
            continue
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        expectations = gx.ExpectationSuite(name, expectations=[check.expectation() for check in checks])
        validation = batch.get_batch({"dataframe": target.frame}).validate(
            expectations,
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": list(target.keys)}
            if not target.frame.empty
            else "BASIC",
        )
        validations[name] = validation
        by_id = {outcome.expectation_config.meta["id"]: outcome for outcome in validation.results}
        results += [_result(check, by_id[check.id], target, subject.samples.get(check.id)) for check in checks]
    if not results:
        raise PermanentError("no expectation applied: the suite looked at nothing, so nothing is let through")
    return results, validations


def _nothing(target: str) -> Result:
    reason = f"Không có dòng nào để kiểm tra ({target})"
    return Result(f"{target}.rows_present", target, "critical", False, "0 rows", "≥ 1 row", [], reason)


def _result(check: Check, outcome: Any, target: Target, sample: list[str] | None) -> Result:
    error = _exception(outcome)
    if error:  # not evaluated is not passed, whatever its severity
        return Result(
            check.id, check.target, "critical", False, f"not evaluated: {error}", check.threshold, [], check.reason
        )
    found = outcome.result or {}
    column = check.arguments.get("column")
    keys = sorted({"/".join(str(row[key]) for key in target.keys) for row in found.get("unexpected_index_list") or []})
    if "unexpected_count" in found:
        observed = f"{found['unexpected_count']} of {found['element_count']} rows"
        if column and len(target.frame) == 1:
            observed = f"{column} = {_short(target.frame[column].iloc[0])}"
    else:
        observed = f"{found.get('observed_value')} rows"
    return Result(
        check.id, check.target, check.severity, bool(outcome.success), observed, check.threshold,
        [] if outcome.success else (sample or keys)[:RECORDED], check.reason, _owner(target, keys),
    )  # fmt: skip


def _owner(target: Target, keys: Sequence[str]) -> str:
    """Whose failure it is: the owners that the rows name, else ours."""
    if "owner" not in target.frame or not keys:
        return OWNER
    named = target.frame[list(target.keys)].astype(str).agg("/".join, axis=1)
    return "; ".join(sorted(set(target.frame.loc[named.isin(keys), "owner"]) - {""})) or OWNER


def _exception(outcome: Any) -> str | None:
    info = outcome.exception_info or {}
    for entry in [info, *(value for value in info.values() if isinstance(value, dict))]:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message"))
    return None


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and not pd.isna(value) else str(value)


def _record(connection: psycopg.Connection, run: Run, scope: str, stamps: tuple[Any, ...], started: datetime) -> None:
    connection.execute(
        "insert into dq.run (run_id, scope, candidate_id, content_sha256, period_code, as_of_batch, started_at, "
        "finished_at, disposition, expectations, docs_uri) values (%s, %s, %s, %s, %s, %s, %s, clock_timestamp(), %s, %s, %s)",
        (run.run_id, scope, *stamps, started, run.disposition, len(run.results), run.docs_uri),
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into dq.result (run_id, expectation_id, target, severity, success, observed, threshold, failing_keys, "
            "reason, owner) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    run.run_id,
                    r.expectation_id,
                    r.target,
                    r.severity,
                    r.success,
                    r.observed,
                    r.threshold,
                    r.failing_keys,
                    r.reason,
                    r.owner,
                )
                for r in run.results
            ],
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 on pass and warn, 1 on stop."""
    parser = argparse.ArgumentParser(prog="python -m expectations.gate", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--candidate", metavar="ID", help="check this candidate")
    what.add_argument("--landed", action="store_true", help="check what has landed")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on one line")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.load()
        run = run_landed(settings) if options.landed else run_candidate(settings, options.candidate)
    except HailongError as error:
        Console(stderr=True).print(f"error: {error}", markup=False)
        return int(os.environ.get("HAILONG_TRANSIENT_EXIT", "1")) if isinstance(error, TransientError) else 1
    show(run, Console(stderr=options.json))
    if options.json:
        print(run.as_json(), flush=True)
    return int(run.disposition == "stop")


if __name__ == "__main__":
    sys.exit(main())
