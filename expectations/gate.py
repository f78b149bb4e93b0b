"""The gate: Great Expectations on a candidate or on what has landed. `python -m expectations.gate --candidate ID | --landed`.

Its own process, because Great Expectations takes seconds to import. The severities of what failed decide, never the
`success` of the whole: a critical failure stops (exit 1), a warning lets through and must be quoted by the signer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import: nothing is sent anywhere

import great_expectations as gx
import pandas as pd
import psycopg
from rich.console import Console

from expectations import data_docs
from expectations.outcome import RECORDED, Part, Result, Run, decide, show, tell
from expectations.suites import candidate, landed
from expectations.suites.model import OWNER, Check, Subject, Target
from hailong import logs
from hailong.errors import HailongError, PermanentError, TransientError
from hailong.publish.candidate import hold_builds
from hailong.review import ROLE, findings
from hailong.settings import Settings
from hailong.warehouse.connect import connect

T = TypeVar("T")


def run_candidate(
    settings: Settings, candidate_id: str, suite: Sequence[Check] | None = None, now: datetime | None = None
) -> Run:
    """Check one candidate and record it, with what it means for the findings on the day of `now`."""
    started = now or datetime.now(UTC)
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        hold_builds(connection)  # some of it is compared with what the marts say of the period before
        header = candidate.read_header(connection, candidate_id)
        subject = _read(lambda: candidate.read(connection, settings, header), f"the candidate {candidate_id}")
    stamps = (candidate_id, header.content_sha256, header.period_code, header.as_of_batch)
    return _run(
        settings, candidate_id, "candidate", stamps, candidate.suite() if suite is None else suite, subject, started
    )


def run_landed(settings: Settings, suite: Sequence[Check] | None = None, now: datetime | None = None) -> Run:
    """Check what has landed since the last run that let something through, and record it, findings as above."""
    started = now or datetime.now(UTC)
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
        connection.execute("select pg_advisory_xact_lock(%s)", (findings.LOCK,))
        earlier = connection.execute(
            "select count(*) from dq.run where starts_with(run_id, %s)", (f"{name}.g",)
        ).fetchone()
        assert earlier
        run_id = f"{name}.g{earlier[0] + 1}"
        run = Run(run_id, disposition, results, (settings.data_docs / run_id / "index.html").as_uri())
        data_docs.write(settings.data_docs / run_id, run_id, disposition, [vars(r) for r in results], validations)
        _record(connection, run, scope, stamps, started)
        return _with_findings(connection, settings, run, suite, subject, started)


def _with_findings(
    connection: psycopg.Connection,
    settings: Settings,
    run: Run,
    suite: Sequence[Check],
    subject: Subject,
    started: datetime,
) -> Run:
    """Findings are opened, seen again and closed in the run's own transaction; the run then says so."""
    today = findings.local_day(settings, started)
    tally, known = findings.Tally(), dict[str, str]()
    for kind in ("feed", "period"):
        own = [check for check in suite if _kind(subject, check.target) == kind]
        results = [result for result in run.results if _kind(subject, result.target) == kind]
        failures = [
            findings.Failure(r.expectation_id, part.scope, r.severity, part.owner, r.reason, r.observed, part.keys)
            for r in results
            if not r.success
            for part in r.parts
        ]
        tally += findings.record(connection, run.run_id, kind, failures, passed(own, subject, results, kind), today)
        failing = {(failure.expectation_id, failure.scope) for failure in failures}
        known |= {
            expectation: "; ".join(
                f"{row['scope']}: {row['by']} đã biết, đến hết ngày {row['until']:%d/%m/%Y}: {row['why']}"
                for row in rows
            )
            for expectation, rows in findings.acknowledged(connection, kind, failing, today).items()
        }
    return replace(run, tally=tally, known=known)


def _kind(subject: Subject, target: str) -> str:
    """What the scopes of a target are: periods, where its rows are of periods or the whole run is of one; else feeds."""
    of_period = target in subject.targets and subject.targets[target].scope == "period"
    return "period" if of_period or subject.default != findings.EVERYTHING else "feed"


def passed(
    suite: Sequence[Check], subject: Subject, results: Sequence[Result], kind: str | None = None
) -> set[tuple[str, str]]:
    """(expectation, scope) that were looked at and do not fail, at least not by more than is only recorded."""
    found = {
        (check.id, scope)
        for check in suite
        if check.target in subject.targets
        for scope in subject.targets[check.target].scopes(subject.default)
    }
    found |= {
        (f"{name}.rows_present", subject.default)
        for name, target in subject.targets.items()
        if not target.frame.empty and kind in (None, _kind(subject, name))
    }
    failing = {
        (result.expectation_id, part.scope)
        for result in results
        if not result.success and result.severity in findings.SEVERE
        for part in result.parts
    }
    return found - failing


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
                results.append(_nothing(name, subject.default))
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
        results += [_result(check, by_id[check.id], target, subject) for check in checks]
    if not results:
        raise PermanentError("no expectation applied: the suite looked at nothing, so nothing is let through")
    return results, validations


def _nothing(target: str, scope: str) -> Result:
    reason = f"Không có dòng nào để kiểm tra ({target})"
    parts = (Part(scope, OWNER, ()),)
    return Result(f"{target}.rows_present", target, "critical", False, "0 rows", "≥ 1 row", [], reason, parts)


def _result(check: Check, outcome: Any, target: Target, subject: Subject) -> Result:
    error = _exception(outcome)
    owner = subject.owners.get(check.feed or "", OWNER)
    if error:  # not evaluated is not passed, whatever its severity
        scopes = sorted(target.scopes(subject.default) or {subject.default})
        return Result(
            check.id, check.target, "critical", False, f"not evaluated: {error}", check.threshold, [], check.reason,
            tuple(Part(scope, OWNER, ()) for scope in scopes),
        )  # fmt: skip
    found = outcome.result or {}
    column = check.arguments.get("column")
    keys = sorted({"/".join(str(row[key]) for key in target.keys) for row in found.get("unexpected_index_list") or []})
    if "unexpected_count" in found:
        observed = f"{found['unexpected_count']} of {found['element_count']} rows"
        if column and len(target.frame) == 1:
            observed = f"{column} = {_short(target.frame[column].iloc[0])}"
    else:
        observed = f"{found.get('observed_value')} rows"
    if outcome.success:
        return Result(check.id, check.target, check.severity, True, observed, check.threshold, [], check.reason)
    parts = _parts(target, keys, subject.samples.get(check.id, {}), subject.default, owner)
    told = [key for part in parts for key in part.keys]
    return Result(
        check.id, check.target, check.severity, False, observed, check.threshold, told[:RECORDED], check.reason, parts
    )


def _parts(
    target: Target, keys: Sequence[str], samples: Mapping[str, list[str]], default: str, owner: str
) -> tuple[Part, ...]:
    """The rows of a failure by scope, each with the owner that they name, and the keys behind a number where there are any."""
    if not keys:
        return (Part(default, owner, tuple(key for sample in samples.values() for key in sample)),)
    names = target.frame[list(target.keys)].astype(str).agg("/".join, axis=1)
    rows = pd.DataFrame({"key": names}).assign(
        scope=target.frame[target.scope] if target.scope else default,
        owner=target.frame.get("owner", owner),
    )
    parts = []
    for scope, failing in rows[rows["key"].isin(keys)].groupby("scope"):
        named = samples.get(str(scope)) or sorted(set(failing["key"]))
        owners = sorted(set(failing["owner"]) - {""}) or [owner]
        parts.append(Part(str(scope), "; ".join(owners), tuple(named[:RECORDED])))
    return tuple(parts)


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
    as_lines = logs.begin("gate")
    logs.bind(candidate=options.candidate)
    try:
        settings = Settings.load()
        run = run_landed(settings) if options.landed else run_candidate(settings, options.candidate)
    except HailongError as error:
        status = int(os.environ.get("HAILONG_TRANSIENT_EXIT", "1")) if isinstance(error, TransientError) else 1
        if as_lines:
            logs.tell_failure(logs.kind_of(error), str(error), status)
        else:
            Console(stderr=True).print(f"error: {error}", markup=False)
        return status
    except Exception as error:
        if not as_lines:
            raise
        logs.tell_failure("unexpected", f"{type(error).__name__}: {error}", 1, error)
        return 1
    if as_lines:
        tell(run)
    if not (as_lines and options.json):
        show(run, Console(stderr=options.json))
    if options.json:
        print(run.as_json(), flush=True)
    return int(run.disposition == "stop")


if __name__ == "__main__":
    sys.exit(main())
