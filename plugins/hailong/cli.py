"""The command line: the one seam that DAG tasks, people and tests share.

Exit status: 0 done, 1 refused or failed, 2 wrong use. Every failure is one message that says what was tried and what to
do; heavy imports wait until their command runs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NoReturn, TypeVar
from zoneinfo import ZoneInfo

import typer
import typer.exceptions
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from hailong import __version__, lineage, logs
from hailong.errors import HailongError, PermanentError, TransientError, UsageError
from hailong.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True, highlight=False, soft_wrap=True)


_Function = TypeVar("_Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose logs say which one it is, and what its arguments say that it is about."""

    ABOUT: ClassVar[Mapping[str, str]] = {
        "feed": "feed",
        "period": "period",
        "candidate_id": "candidate",
        "as_of": "batch",
    }

    def invoke(self, ctx: Any) -> Any:
        logs.bind(command=_path(ctx), **{name: ctx.params.get(option) for option, name in self.ABOUT.items()})
        if isinstance(edition := ctx.params.get("edition"), str):
            logs.bind(edition=edition)
        logs.tell("started", f"hailong {_path(ctx)}")
        return super().invoke(ctx)


class Commands(typer.Typer):
    """A group of such commands."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
        return super().command(name, cls=Command, **options)


def _path(ctx: Any) -> str:
    """`quarantine list`: the command's name below the program's."""
    return f"{_path(ctx.parent)} {ctx.info_name}".strip() if ctx.parent else ""


app = Commands(
    name="hailong",
    help="Hài lòng: nightly data to a signed, published edition of the quality scores of Decision 104/2024/QĐ-UBND.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
db_app = Commands(help="The warehouse's server and schema.", no_args_is_help=True)
sandbox_app = Commands(help="A stand-in for the portal and the city's systems.", no_args_is_help=True)
quarantine_app = Commands(help="Records that could not be read or keyed.", no_args_is_help=True)
findings_app = Commands(help="What the gate found, who knows of it, and what must be fixed.", no_args_is_help=True)
roles_app = Commands(help="Logins of units: who reads which unit's rows.", no_args_is_help=True)
key_app = Commands(help="Keys of pseudonyms, one a calendar year.", no_args_is_help=True)
contracts_app = Commands(help="What each feed must look like.", no_args_is_help=True)
calendar_app = Commands(help="The seeds of working days and publication dates.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(findings_app, name="findings")
app.add_typer(roles_app, name="roles")
app.add_typer(key_app, name="key")
app.add_typer(contracts_app, name="contracts")
app.add_typer(calendar_app, name="calendar")

PeriodOption = Annotated[str, typer.Option("--period", help="A month 2026-10, a quarter 2026-Q4 or a year 2026.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def example(text: str) -> str:
    return f"Example: [bold]{text}[/bold]"


def _version(value: bool) -> None:
    if value:
        out.print(Settings.load().code_version)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


# -- server and schema ------------------------------------------------------------------------------------------------


@db_app.command("up", epilog=example("hailong db up"))
def db_up() -> None:
    """Start the embedded server (when HAILONG_DSN is not set) and bring the schema to the newest version."""
    from hailong.warehouse.embedded import Embedded

    settings = Settings.load()
    if settings.dsn:
        out.print("HAILONG_DSN is set: that server is used, nothing is started.")
    else:
        server = Embedded(settings.home).up()
        state = "started" if server.started else "was running already"
        out.print(f"Embedded PostgreSQL {state} on {server.host}:{server.port}, data in {server.data}")
    db_migrate()


@db_app.command("down", epilog=example("hailong db down"))
def db_down() -> None:
    """Stop the embedded server; harmless when none runs."""
    from hailong.warehouse.embedded import Embedded

    settings = Settings.load()
    if settings.dsn:
        out.print("HAILONG_DSN is set: that server is not ours to stop.")
        return
    out.print(
        "Embedded PostgreSQL stopped." if Embedded(settings.home).down() else "No embedded PostgreSQL was running."
    )


@db_app.command("url", epilog=example('psql "$(hailong db url)"'))
def db_url() -> None:
    """Print the warehouse's address, password included: for a client, not for a log."""
    from hailong.warehouse.connect import dsn

    print(dsn(Settings.load()))


@db_app.command("migrate", epilog=example("hailong db migrate"))
def db_migrate() -> None:
    """Bring the schema to the newest version; harmless to repeat."""
    from hailong.warehouse.migrations import migrate

    done = migrate(Settings.load())
    out.print(f"Schema: {len(done.applied)} migrations applied now, {done.already} stood already.")


# -- logins of units -----------------------------------------------------------------------------------------------------

LoginArgument = Annotated[str, typer.Argument(help="A login of the database, made by its administrator.")]
UnitArgument = Annotated[str, typer.Argument(metavar="UNIT", help="Code of the unit in the register.")]


@roles_app.command("grant-unit", epilog=example("hailong roles grant-unit sn01_bi HCM.SN01 --by 'Nguyễn Văn A'"))
def roles_grant_unit(
    login: LoginArgument,
    unit_code: UnitArgument,
    by: Annotated[str, typer.Option(help="Who decided it; kept.")],
    as_json: JsonOption = False,
) -> None:
    """Let a login read its unit's rows of every edition: months without C and K, quarters and years as the public sees them."""
    from hailong.warehouse.logins import grant_unit

    _show(grant_unit(Settings.load(), login, unit_code, by), as_json)


@roles_app.command("revoke-unit", epilog=example("hailong roles revoke-unit sn01_bi HCM.SN01 --by 'Nguyễn Văn A'"))
def roles_revoke_unit(
    login: LoginArgument,
    unit_code: UnitArgument,
    by: Annotated[str, typer.Option(help="Who decided it; kept.")],
    as_json: JsonOption = False,
) -> None:
    """Take a unit away from a login."""
    from hailong.warehouse.logins import revoke_unit

    _show(revoke_unit(Settings.load(), login, unit_code, by), as_json)


@roles_app.command("list", epilog=example("hailong roles list"))
def roles_list(as_json: JsonOption = False) -> None:
    """Which login reads which unit, by whose decision, since when."""
    from hailong.warehouse.logins import unit_logins

    rows = unit_logins(Settings.load())
    if as_json:
        _print_json([vars(row) for row in rows])
        return
    if not rows:
        out.print("No login reads a unit: `hailong roles grant-unit LOGIN UNIT --by NAME`.")
        return
    table = Table("login", "unit", "decided by", "since, UTC")
    for row in rows:
        table.add_row(row.login, row.unit_code, row.by, f"{row.at:%Y-%m-%d %H:%M}")
    out.print(table)


# -- sandbox ------------------------------------------------------------------------------------------------------------


@sandbox_app.command(
    "serve",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog=example("hailong sandbox serve --port 8766 --size 5000 --drop /tmp/drop"),
)
def sandbox_serve(context: typer.Context) -> None:
    """Answer as the portal and the city's systems do, over HTTP (all options: --help)."""
    _replace([sys.executable, "-m", "sandbox", "serve", *context.args])


@sandbox_app.command(
    "truth",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog=example("hailong sandbox truth --out /tmp/truth"),
)
def sandbox_truth(context: typer.Context) -> None:
    """Write what the sandbox generated, and the indices it intended, as files."""
    _replace([sys.executable, "-m", "sandbox", "truth", *context.args])


# -- the road -----------------------------------------------------------------------------------------------------------


@app.command(epilog=example("hailong ingest dossier --since 2026-10-01 --until 2026-11-01"))
def ingest(
    feed: Annotated[str, typer.Argument(help="A feed that has a contract, such as dossier or rating.")],
    since: Annotated[str | None, typer.Option(help="Local start, 2026-10-01 or 2026-10-01T06:00 (inclusive).")] = None,
    until: Annotated[str | None, typer.Option(help="Local end (exclusive); default now.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A dropped file: CSV, XLSX, Parquet, JSON lines, a saved answer.")
    ] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML that maps the file's columns to the contract's.")] = None,
    census: Annotated[
        bool, typer.Option("--census", help="Read the keys of the whole feed, load none: finds what is gone.")
    ] = False,
    max_delete_share: Annotated[
        float | None,
        typer.Option(help="Share of records that may be gone, when the contract's was exceeded and is true."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch one feed, check it against its contract, and load it.

    Without --since it goes on where it stopped, less the look-back. A longer window is read in chunks, a batch each; stopped
    and called again in the same way, it goes on at the first chunk that is not loaded.
    """
    from hailong.extract.run import ingest as run

    settings = Settings.load()
    with _progress() as tell:
        result = run(
            settings,
            feed,
            since=_moment(since, settings, "--since"),
            until=_moment(until, settings, "--until"),
            file=file,
            mapping=mapping,
            progress=tell,
            census=census,
            max_delete_share=max_delete_share,
        )
    _show(result, as_json)


@app.command(epilog=example("hailong replay dossier --check"))
def replay(
    feed: Annotated[str, typer.Argument(help="A feed that has batches.")],
    check: Annotated[bool, typer.Option("--check", help="Compare only; exit 1 when something differs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make raw and quarantine of a feed again from its landing folders alone, and put right what differs."""
    from hailong.load.replay import replay as run

    with _progress() as tell:
        result = run(Settings.load(), feed, check=check, progress=tell)
    _show(result, as_json)
    if check and not result.identical:
        raise typer.Exit(1)


@app.command(epilog=example("hailong purge --before 2017-01-01 --by 'Nguyễn Văn A' --dry-run"))
def purge(
    before: Annotated[str, typer.Option(help="Drop what was loaded before this local day.")],
    by: Annotated[str, typer.Option(help="Who decided it; kept with the counts and checksums.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Drop raw partitions, quarantine and landing folders whose retention (contract) has passed; counts and checksums stay."""
    from hailong.load.purge import purge as run

    try:
        day = date.fromisoformat(before)
    except ValueError:
        raise UsageError(f"--before {before!r} is not a day: write 2017-01-01") from None
    rows = run(Settings.load(), day, by, dry_run=dry_run)
    if as_json:
        _print_json([vars(row) for row in rows])
        return
    table = Table(
        "feed",
        "kept, months",
        "batches",
        "versions",
        "quarantine",
        "why nothing",
        title="Purge" + " (dry run)" * dry_run,
    )
    for row in rows:
        table.add_row(
            row.feed, str(row.retention_months), str(row.batches), f"{row.raw_rows:,}", f"{row.quarantine_rows:,}",
            row.refused or "",
        )  # fmt: skip
    out.print(table)
    if all(row.refused for row in rows):
        raise typer.Exit(1)


@app.command(epilog=example("hailong trace dossier H29.10-20261001-0001 --landings"))
def trace(
    feed: Annotated[str, typer.Argument(help="A feed that has a contract.")],
    record_key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the record, such as a dossier code.")],
    landings: Annotated[
        bool, typer.Option("--landings", help="Look through the landing folders too: each time it was received.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Where a record went: every version, tombstone and quarantine entry, and what is in force. Exit 1 when it is unknown."""
    from hailong.load.trace import trace as run

    with _progress() as tell:
        found = run(Settings.load(), feed, record_key, landings=landings, progress=tell)
    if as_json:
        _print_json({**vars(found), "events": [vars(event) for event in found.events]})
    else:
        table = Table("batch", "at", "what", "detail", "landing folder", title=f"{feed} {record_key}")
        for event in found.events:
            table.add_row(
                str(event.batch_id),
                f"{event.at:%Y-%m-%d %H:%M}",
                event.kind,
                event.detail,
                event.landing.rsplit("/", 1)[-1],
            )
        if found.events:
            out.print(table)
        out.print(f"{found.state}: {found.explained}")
    if found.state == "unknown":
        raise typer.Exit(1)


@app.command(epilog=example("hailong build"))
def build(
    as_of: Annotated[int | None, typer.Option(help="Read raw rows up to this batch; default the newest.")] = None,
    full: Annotated[bool, typer.Option(help="Rebuild everything, not only what changed.")] = False,
    officials: Annotated[
        bool, typer.Option("--officials", help="Score officials again too, as a full build does.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build staging, core, facts and marts as of one batch, and prove that every key and constraint stands."""
    from hailong.warehouse.build import build as run

    settings = Settings.load()
    with _progress() as tell, lineage.build(settings) as built:
        result = run(settings, as_of=as_of, full=full, officials=officials, progress=tell)
        built(result)
    _show(result, as_json)


@app.command(epilog=example("hailong candidate --period 2026-10 --by engineer"))
def candidate(
    period: PeriodOption,
    by: Annotated[str | None, typer.Option(help="Who asks for it; default the login name.")] = None,
    late: Annotated[
        bool,
        typer.Option(
            "--late",
            help="Count what came after the cut-off too: what repairs a candidate that was stopped or refused.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy one closed period as it was at its cut-off: the copy that the gate, the reviewer and the signature look at."""
    from hailong.publish.candidate import create

    settings, code = Settings.load(), _period(period)
    with _progress() as tell, lineage.candidate(settings) as copied:
        found = create(settings, code, by or _login(), late=late, progress=tell)
        copied(found)
    _show(found, as_json)


@app.command(epilog=example("hailong gate --period 2026-10"))
def gate(
    period: Annotated[str | None, typer.Option(help="Check the newest candidate of this period.")] = None,
    landed: Annotated[bool, typer.Option("--landed", help="Check what has landed instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Great Expectations on a candidate, or on what has landed: exit 1 when a critical expectation fails."""
    if bool(period) == landed:
        raise UsageError("say which: `hailong gate --period 2026-10`, or `hailong gate --landed`")
    arguments = ["--landed"] if landed else ["--candidate", _newest_candidate(_period(period or ""))]
    if period:
        logs.bind(candidate=arguments[1])
    _replace([sys.executable, "-m", "expectations.gate", *arguments, *(["--json"] if as_json else [])])


@app.command(epilog=example("hailong approve 2026-10.c1 --by 'Nguyễn Văn A'"))
def approve(
    candidate_id: Annotated[str, typer.Argument(metavar="CANDIDATE", help="For example 2026-10.c1.")],
    by: Annotated[str, typer.Option(help="Who signs; not the one who asked for the candidate.")],
    reject: Annotated[bool, typer.Option("--reject", help="Record a refusal instead.")] = False,
    warnings_seen: Annotated[
        list[str] | None, typer.Option("--warning-seen", help="Id of a warning that the signer has read; repeat.")
    ] = None,
    channel: Annotated[str, typer.Option(hidden=True)] = "cli",
    as_json: JsonOption = False,
) -> None:
    """Sign a candidate, or refuse it; a gate's warnings must be quoted."""
    from hailong.publish.approval import approve as run

    decision = "rejected" if reject else "approved"
    _show(
        run(Settings.load(), candidate_id, by, decision=decision, warnings_seen=warnings_seen or [], channel=channel),
        as_json,
    )


@app.command(epilog=example("hailong publish --period 2026-10"))
def publish(
    period: PeriodOption,
    by: Annotated[str | None, typer.Option(help="Who publishes; default the login name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the signed candidate the edition of the period, and write its files."""
    from hailong.publish.edition import publish as run

    settings, code = Settings.load(), _period(period)
    with lineage.publication(settings) as published:
        found = run(settings, code, by or _login())
        published(found)
    _show(found, as_json)


@app.command(
    epilog=example("hailong restate --period 2026-10 --reason 'Sở Xây dựng nộp bù hồ sơ' --by engineer --dry-run")
)
def restate(
    period: PeriodOption,
    reason: Annotated[str, typer.Option(help="Why; public with the edition of a quarter or year: no codes, no names.")],
    by: Annotated[str, typer.Option(help="Who asks for it; may not sign it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change, and why.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say a published period anew, as the newest build has it: what changed by which cause, and a candidate to be signed."""
    from hailong.publish.restate import restate as run

    settings, code = Settings.load(), _period(period)
    with _progress() as tell, lineage.candidate(settings, dry_run) as copied:
        found = run(settings, code, reason, by, dry_run=dry_run, progress=tell)
        logs.bind_result(found)
        copied(found.candidate)
    if as_json:
        told: dict[str, Any] = {
            "edition_id": found.edition_id,
            "as_of_batch": found.as_of_batch,
            "changed": found.changed,
        }
        told |= {"unchanged": found.unchanged} | (vars(found.candidate) if found.candidate else {})
        if dry_run:
            told["differences"] = [vars(difference) for difference in found.differences]
        _print_json(told)
        return
    table = Table("unit", "index", "cause", "change", "before it", "after it", box=None)
    for difference in found.differences:
        change = "—" if difference.contribution is None else f"{difference.contribution.normalize():+f}"
        table.add_row(
            difference.unit_code, difference.index_code, difference.cause, change,
            difference.status_before or "—", difference.status_after or "—",
        )  # fmt: skip
    if found.differences:
        out.print(table)
    elif found.unchanged:
        out.print(f"The newest build (batches up to {found.as_of_batch}) says what {found.edition_id} says.")
    else:
        out.print(f"Every index of {found.edition_id} keeps its value; what they are counted from changed:")
        for line in found.otherwise[:20]:
            out.print(f"  {line}", markup=False)
    if found.candidate:
        out.print(found.candidate.message)
        out.print(
            f"Next: `hailong gate --period {period}`, a signature by somebody else, `hailong publish --period {period}`"
        )


@app.command(epilog=example("hailong changelog --period 2026-10"))
def changelog(
    period: Annotated[str | None, typer.Option(help="Only this period, for example 2026-10.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every correction of what was said: why, by which causes, and which verdicts it changed (publish.edition_diff has all)."""
    from hailong.publish.changelog import corrections

    found = corrections(Settings.load(), _period(period) if period else None)
    if as_json:
        _print_json([vars(one) for one in found])
        return
    if not found:
        out.print("Nothing that was said was ever corrected.")
    for one in found:
        out.print(
            f"[bold]{one.edition_id}[/] takes the place of {one.supersedes}, {one.published_at:%Y-%m-%d %H:%M} UTC"
        )
        out.print(f"  {one.reason}", markup=False)
        causes = ", ".join(f"{name} {count}" for name, count in one.causes.items()) or "counts only"
        out.print(f"  values changed, of {one.units} units: {causes}", markup=False)
        for verdict in one.verdicts:
            out.print(f"  {verdict}", markup=False)


@app.command(epilog=example("hailong report --period 2026-10 --out /tmp/report"))
def report(
    period: PeriodOption,
    folder: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    edition: Annotated[int | None, typer.Option(help="Edition number; default the newest.")] = None,
) -> None:
    """Write the report files of a published edition."""
    from hailong.publish.report import build as run

    for path in run(Settings.load(), _period(period), edition, folder):
        out.print(str(path))


@app.command(epilog=example("hailong officials --period 2026-Q4 --unit HCM.SN01 --out /tmp/heads"))
def officials(
    period: PeriodOption,
    unit: Annotated[str, typer.Option(help="Code of the unit whose head gets the file.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
) -> None:
    """Write the restricted file of one unit's officials, for its head alone; needs the role hailong_official_reader."""
    from hailong.publish.officials import build as run

    out.print(str(run(Settings.load(), _period(period), unit, folder)))


@app.command(epilog=example("hailong explain --unit HCM.SN01 --period 2026-10 --index A"))
def explain(
    unit: Annotated[str, typer.Option(help="Unit code.")],
    period: PeriodOption,
    index: Annotated[str | None, typer.Option(help="A, B, C, D or E: list the records behind it.")] = None,
    limit: Annotated[int, typer.Option(help="How many records to list.")] = 20,
    source: Annotated[
        str | None,
        typer.Option("--from", help="An edition, a candidate, or 'provisional'; default the newest edition."),
    ] = None,
) -> None:
    """Why this number: indices, counts, exclusions, parameters, readings, and the records behind them."""
    from hailong.publish.explain import explain as run

    out.print(run(Settings.load(), unit, _period(period), index=index, limit=limit, source=source))


@app.command(epilog=example("hailong verify 2026-10.e1"))
def verify(
    edition: Annotated[str | None, typer.Argument(help="For example 2026-10.e1; it is built anew.")] = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="Look at what is stored of every edition, and at their order.")
    ] = False,
    current_rules: Annotated[
        bool, typer.Option("--current-rules", help="Also say what the rules of today would give.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that an edition is what was signed, and that its own rules and raw rows give it again: exit 1 when not."""
    from hailong.publish.verify import verify as run

    if not edition and (current_rules or not chain):
        raise UsageError("say which: `hailong verify 2026-10.e1`, or `hailong verify --chain` for all of them")
    with _progress() as tell:
        found = run(Settings.load(), edition, chain, current_rules, progress=tell)
    if as_json:
        _print_json({"holds": found.holds, "checks": [vars(check) for check in found.checks], "told": found.told})
    else:
        table = Table("", "edition", "what was looked at", "what speaks against it", box=None)
        for check in found.checks:
            mark = "[red]✗[/]" if check.against else "[green]✓[/]"
            table.add_row(mark, check.subject, check.what, Text(check.against))
        out.print(table)
        for line in found.told:
            out.print(line, markup=False)
    if not found.holds:
        raise PermanentError(found.way_out)


@app.command(epilog=example("hailong status --deadline --today 2026-10-22"))
def status(
    deadline: Annotated[
        bool,
        typer.Option("--deadline", help="What is due and what it lacks instead: exit 1 while a period is overdue."),
    ] = False,
    notify: Annotated[
        bool, typer.Option("--notify", help="With --deadline: tell whose turn it is, by mail and webhook.")
    ] = False,
    today: Annotated[
        str | None, typer.Option(help="With --deadline: as if it were this local day (its end) or moment.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How each feed stands against its contract, the last build, and the editions."""
    if deadline:
        _deadline(notify, today, as_json)
        return
    if notify or today:
        raise UsageError("--notify and --today go with --deadline: `hailong status --deadline --notify`")
    from datetime import UTC

    from hailong.contracts import load_contracts
    from hailong.load.ledger import feed_status
    from hailong.shown import feed_table
    from hailong.warehouse.connect import connect

    settings = Settings.load()
    with connect(settings, role="hailong_loader") as connection:
        rows = feed_status(connection, load_contracts(settings.contracts), datetime.now(UTC))
    with connect(settings, role="hailong_reader") as connection:
        build_row = connection.execute(
            "select build_id, as_of_batch, status, finished_at from ops.build where schema_prefix = '' "
            "order by build_id desc limit 1"
        ).fetchone()
        editions = connection.execute(
            "select edition_id, published_at, published_by, content_sha256 from publish.edition order by published_at"
        ).fetchall()
    if as_json:
        _print_json({"feeds": rows, "build": build_row, "editions": editions})
        return
    if not any(row["batches"] for row in rows):
        out.print("Nothing has been loaded yet: start with `hailong ingest code_map`.")
        return
    out.print(feed_table(rows, ZoneInfo(settings.timezone)))
    open_entries = sum(row["quarantine_open"] for row in rows)
    if open_entries:
        out.print(f"{open_entries:,} records in quarantine: `hailong quarantine list` says why each could not be read.")
    out.print(
        f"Last build: {build_row[0]} as of batch {build_row[1]}, {build_row[2]}" if build_row else "No build yet."
    )
    for edition_id, published_at, published_by, digest in editions:
        out.print(
            f"Edition {edition_id}, published {published_at:%Y-%m-%d %H:%M} UTC by {published_by}, sha256 {digest[:16]}…"
        )


@app.command(epilog=example("hailong metrics --out /var/lib/node_exporter/hailong.prom"))
def metrics(
    out_path: Annotated[
        Path | None,
        typer.Option("--out", help="A file NAME.prom of the node exporter, put in place whole; default stdout."),
    ] = None,
) -> None:
    """Age of feeds, quarantine, builds, gate, findings and days to the deadline, for Prometheus."""
    from hailong.metrics import text, write

    settings = Settings.load()
    if out_path is None:
        out.print(text(settings), markup=False, highlight=False, soft_wrap=True, end="")
        return
    if out_path.suffix != ".prom" or not out_path.parent.is_dir():
        raise UsageError(
            f"--out {out_path}: a file of an existing folder, and its name ends in .prom, or nobody reads it"
        )
    write(settings, out_path)


# -- keeping it -----------------------------------------------------------------------------------------------------------


@app.command(epilog=example("hailong backup --to /mnt/backup/hailong --keep 35"))
def backup(
    to: Annotated[
        str | None,
        typer.Option("--to", help="A folder, file://, s3:// or sftp://, on another disk; default HAILONG_BACKUP_URI."),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Remove all but this many backups of that place; default none is removed.")
    ] = None,
    verify_at: Annotated[
        str | None,
        typer.Option(
            "--verify", metavar="URI", help="Read the newest backup there and compare every checksum instead."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep what cannot be made again: raw, ledger, findings, editions, landing folders, rule sets. No key and no password.

    Loads and builds may go on meanwhile; a replay or purge waits until the tables are copied.
    Contents that are there already are not written again.
    """
    settings = Settings.load()
    if verify_at:
        if to or keep:
            raise UsageError("--verify looks only: leave --to and --keep out")
        _verify_backup(settings, verify_at, as_json)
        return
    from hailong.backup import VARIABLE
    from hailong.backup.take import backup as run

    place = to or settings.env.get(VARIABLE)
    if not place:
        raise UsageError(f"say where: `hailong backup --to /mnt/backup/hailong`, or set {VARIABLE}")
    with _progress() as tell:
        result = run(settings, place, keep=keep, progress=tell)
    _show(result, as_json)


@app.command(epilog=example("hailong restore --from /mnt/backup/hailong"))
def restore(
    place: Annotated[str, typer.Option("--from", help="Where `hailong backup` kept it.")],
    backup_id: Annotated[
        str | None, typer.Option("--backup", help="Which one, such as 20261130T220000Z; default the newest.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a backup back into an empty warehouse and an empty HAILONG_HOME; stopped, the same command goes on."""
    from hailong.backup.restore import restore as run

    with _progress() as tell:
        result = run(Settings.load(), place, backup_id, progress=tell)
    _show(result, as_json)


@app.command(epilog=example("hailong doctor"))
def doctor(as_json: JsonOption = False) -> None:
    """Look at configuration, connections, roles, schema, clocks, disk, locks, secrets and backups: exit 1 on a problem."""
    from hailong.doctor import Looks, examine

    found = examine(Looks(Settings.load()))
    problems = sum(said.state == "problem" for said in found)
    warnings = sum(said.state == "warning" for said in found)
    if as_json:
        _print_json({"problems": problems, "warnings": warnings, "checks": [vars(said) for said in found]})
    else:
        marks = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "problem": "[bold red]problem[/]"}
        table = Table("", "what", "found", "to do", box=None)
        for said in found:
            table.add_row(marks[said.state], said.check, Text(said.told), Text(said.then))
        out.print(table)
        out.print(f"{problems} problems, {warnings} warnings.")
    if problems:
        raise typer.Exit(1)


def _verify_backup(settings: Settings, place: str, as_json: bool) -> None:
    from hailong.backup.restore import check

    with _progress() as tell:
        found = check(settings, place, progress=tell)
    if as_json:
        _print_json(vars(found))
    else:
        out.print(
            f"Backup {found.backup_id}, taken {found.taken_at}, batches up to {found.last_batch}: {found.contents:,} contents, "
            f"{found.bytes / 1e6:,.1f} MB, read"
        )
    if found.wrong:
        raise PermanentError(
            f"backup {found.backup_id} is not whole: {'; '.join(found.wrong[:20])}. Take a new one now, into another place"
        )


@quarantine_app.command("list", epilog=example("hailong quarantine list --feed dossier"))
def quarantine_list(
    feed: Annotated[str | None, typer.Option(help="Only this feed.")] = None,
    limit: Annotated[int, typer.Option(help="At most this many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Open entries: records that could not be read, with the rule they broke, how often and since which batch."""
    from hailong.contracts import find_contract, load_contracts
    from hailong.load.ledger import quarantine_list as run
    from hailong.warehouse.connect import connect

    settings = Settings.load()
    if feed:
        find_contract(settings.contracts, feed)
    with connect(settings, role="hailong_loader") as connection:
        rows = run(connection, load_contracts(settings.contracts), feed=feed, limit=limit)
    if as_json:
        _print_json(rows)
        return
    if not rows:
        out.print("Quarantine holds no open entry.")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    out.print(table)
    out.print(
        "One entry: `hailong quarantine show NUMBER`. Read again what is readable now: `hailong quarantine replay`."
    )


@quarantine_app.command("show", epilog=example("hailong quarantine show 12"))
def quarantine_show(
    number: Annotated[int, typer.Argument(help="Number of the entry, from `quarantine list`.")],
    as_json: JsonOption = False,
) -> None:
    """One entry: rule, batch, landing folder, what was kept of the record, and whether it was released."""
    from hailong.load.quarantine import show as run
    from hailong.warehouse.connect import connect

    with connect(Settings.load(), role="hailong_loader") as connection:
        row = run(connection, number)
    if as_json:
        _print_json(row)
        return
    for name, value in row.items():
        if value is not None:
            out.print(f"[bold]{name}[/bold]: {value}", markup=True)


@quarantine_app.command("replay", epilog=example("hailong quarantine replay --feed dossier"))
def quarantine_replay(
    numbers: Annotated[list[int] | None, typer.Argument(help="Entries; default all open ones.")] = None,
    feed: Annotated[str | None, typer.Option(help="Only this feed.")] = None,
    by: Annotated[str | None, typer.Option(help="Who releases them; default the login name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read open entries again under today's contract and code map; what is readable now becomes a batch."""
    from hailong.load.quarantine import replay as run

    results = run(Settings.load(), by or _login(), feed=feed, ids=numbers or ())
    if as_json:
        _print_json([vars(result) for result in results])
        return
    for result in results:
        out.print(result.message)
    if not results:
        out.print("Quarantine holds no open entry of these.")


FindingArgument = Annotated[int, typer.Argument(metavar="ID", help="Number of the finding, from `findings list`.")]


@findings_app.command("list", epilog=example("hailong findings list --state open --owner 'Sở Nội vụ Thành phố'"))
def findings_list(
    state: Annotated[
        str | None, typer.Option(help="open, acknowledged, closed or all; default what is not closed.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    period: Annotated[
        str | None, typer.Option(help="Only of this period's candidates, and of feeds that failed on its days.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Findings of the gate: one per rule and feed or period, however many nights it has failed."""
    from hailong.review.findings import find
    from hailong.shown import finding_table

    rows = find(Settings.load(), state, owner, _period(period) if period else None)
    if as_json:
        _print_json(rows)
        return
    if not rows:
        out.print("No such finding.")
        return
    out.print(finding_table(rows))
    out.print("One of them: `hailong findings show ID`. Answer for it until a day: `hailong findings ack ID`.")


@findings_app.command("show", epilog=example("hailong findings show 12"))
def findings_show(finding: FindingArgument, as_json: JsonOption = False) -> None:
    """One finding: what fails, the records of its last failure, and everything that happened to it."""
    from hailong.review.findings import show

    found, events = show(Settings.load(), finding)
    if as_json:
        _print_json({**found, "events": events})
        return
    out.print(f"[bold]{found['finding_id']}[/] {found['state']}, {found['severity']}: ", end="")
    out.print(f"{found['expectation_id']} of {found['scope']} ({found['owner']})", markup=False)
    out.print(f"{found['reason']} ({found['observed']}, run {found['last_run_id']})", markup=False)
    if found["failing_keys"]:
        out.print(", ".join(found["failing_keys"]), markup=False)
    table = Table("at (UTC)", "event", "by", "why", "until", "run")
    for event in events:
        cells = (event["event"], event["by"], event["why"], event["until"], event["run_id"])
        table.add_row(f"{event['at']:%Y-%m-%d %H:%M}", *(Text(str(cell)) if cell else "" for cell in cells))
    out.print(table)


@findings_app.command(
    "ack", epilog=example("hailong findings ack 12 --by 'Nguyễn Văn A' --why 'nguồn sửa trong tuần' --until 2026-12-15")
)
def findings_ack(
    finding: FindingArgument,
    by: Annotated[str, typer.Option(help="Who answers for it.")],
    why: Annotated[str, typer.Option(help="Why it stays for now; the signer reads it.")],
    until: Annotated[str, typer.Option(help="Last day on which that holds; afterwards it counts as open again.")],
    as_json: JsonOption = False,
) -> None:
    """Answer for a finding until a day. It is not told again meanwhile; it decides nothing at the gate or the sign-off."""
    from hailong.review.findings import acknowledge

    try:
        day = date.fromisoformat(until)
    except ValueError:
        raise UsageError(f"--until {until!r} is not a day: write 2026-12-15") from None
    _finding_now(acknowledge(Settings.load(), finding, by, why, day), as_json)


@findings_app.command("close", epilog=example("hailong findings close 12 --by 'Nguyễn Văn A' --why 'đã sửa tại nguồn'"))
def findings_close(
    finding: FindingArgument,
    by: Annotated[str, typer.Option(help="Who closes it.")],
    why: Annotated[str, typer.Option(help="Why it is none any more.")],
    as_json: JsonOption = False,
) -> None:
    """Close a finding by hand; the next run of the gate in which it fails opens it again."""
    from hailong.review.findings import close

    _finding_now(close(Settings.load(), finding, by, why), as_json)


@findings_app.command("workbook", epilog=example("hailong findings workbook --period 2026-10 --out /tmp/review"))
def findings_workbook(
    period: PeriodOption,
    folder: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    owner: Annotated[str | None, typer.Option(help="Only of this owner of feeds; default one file for each.")] = None,
) -> None:
    """Write the records that each owner of a source must fix, with the trend of twelve periods and the disputes."""
    from hailong.review.workbook import build as run

    for path in run(Settings.load(), _period(period), owner, folder):
        out.print(str(path))


@findings_app.command("digest", epilog=example("hailong findings digest --dry-run"))
def findings_digest(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be told, tell nobody.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell each owner what is new since the last digest, in one message: by mail and webhook, as configured."""
    from hailong.review.digest import report, send

    done = send(Settings.load(), dry_run=dry_run)
    if as_json:
        _print_json(
            {
                "digests": [
                    {
                        "owner": sent.digest.owner,
                        "findings": [row["finding_id"] for row in sent.digest.findings],
                        "handed_over": sent.handed_over,
                    }
                    for sent in done
                ]
            }
        )
        return
    out.print(report(done, dry_run), markup=False)


def _finding_now(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(row)
        return
    until = f" until {row['until']}" if row["until"] else ""
    out.print(
        f"Finding {row['finding_id']} ({row['expectation_id']}, {row['scope']}): {row['state']}{until} by {row['by']}",
        markup=False,
    )


@key_app.command("make", epilog=example("hailong key make --year 2027"))
def key_make(
    year: Annotated[int | None, typer.Option(help="Calendar year of the key; default this one.")] = None,
) -> None:
    """Print a new key for HAILONG_PSEUDONYM_KEY: for a secret store, not for a log."""
    from hailong.extract.privacy import make_key

    zone = ZoneInfo(Settings.load().timezone)
    print(make_key(year or datetime.now(zone).year))


@contracts_app.command("list", epilog=example("hailong contracts list"))
def contracts_list(as_json: JsonOption = False) -> None:
    """The feeds: where each comes from, when it is due, how long it is kept."""
    from hailong.contracts import load_contracts

    contracts = load_contracts(Settings.load().contracts).values()
    rows = [
        {
            "feed": c.feed, "version": c.version, "kind": c.kind, "system": c.connector.system,
            "connector": type(c.connector).__name__, "schedule": c.schedule, "due": c.due,
            "fresh for, hours": c.freshness_hours, "privacy": c.privacy_class, "kept, months": c.retention_months,
            "owner": c.owner,
        }
        for c in contracts
    ]  # fmt: skip
    if as_json:
        _print_json(rows)
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    out.print(table)


@contracts_app.command("docs", epilog=example("hailong contracts docs --check"))
def contracts_docs(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 when the page is not up to date.")
    ] = False,
) -> None:
    """Write docs/contracts.md: what each feed must look like, for people."""
    from hailong.contract_docs import is_current, write

    settings = Settings.load()
    target = settings.project / "docs" / "contracts.md"
    if not check:
        out.print(f"{target} {'written' if write(settings.contracts, target) else 'was up to date'}.")
    elif is_current(settings.contracts, target):
        out.print("docs/contracts.md is up to date.")
    else:
        raise PermanentError("docs/contracts.md does not say what the contracts say: run `hailong contracts docs`")


@calendar_app.command("make", epilog=example("hailong calendar make --until 2027"))
def calendar_make(until: Annotated[int, typer.Option(help="Last year of the seed.")] = 2027) -> None:
    """Write the seeds of days and publication dates anew, from the `holidays` package and the overrides."""
    from hailong.calendar_seed import make

    for path in make(Settings.load().rules, until):
        out.print(str(path))


# -- the local stack ------------------------------------------------------------------------------------------------------


@app.command(epilog=example("hailong up"))
def up() -> None:
    """Start the embedded server and a local Airflow over it."""
    from hailong.stack import up as run

    run(Settings.load())


@app.command(epilog=example("hailong down"))
def down() -> None:
    """Stop the local Airflow and the embedded server."""
    from hailong.stack import down as run

    run(Settings.load())


@app.command(epilog=example("hailong demo"))
def demo(
    size: Annotated[int, typer.Option(help="About how many dossiers the sandbox has.")] = 60000,
    keep: Annotated[bool, typer.Option(help="Leave Airflow and the sandbox running at the end.")] = False,
) -> None:
    """The main job end to end: sandbox, nightly ingest, build, gate, signature and edition, by a real scheduler."""
    from hailong.demo import demo as run

    run(Settings.load(), out, size=size, keep=keep)


# -- helpers --------------------------------------------------------------------------------------------------------------


def _period(code: str) -> str:
    """The code, proved to be a period: wrong use ends here, before anything is connected."""
    from hailong.periods import parse_period

    return parse_period(Settings.load().rules, code).code


def _moment(text: str | None, settings: Settings, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is not a date: write 2026-10-01 or 2026-10-01T06:00 (local time)"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(settings.timezone))


def _deadline(tell: bool, today: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from hailong.notify import NOBODY, is_configured, must_reach
    from hailong.publish.deadline import check
    from hailong.publish.escalation import notify, notify_error

    settings = Settings.load()
    moment = _moment(today, settings, "--today")
    if tell and not is_configured(settings):
        _say(NOBODY, "warning")
        tell = False
    try:
        state = check(settings, moment.date() if moment and today and len(today) == len("2026-10-01") else moment)
    except Exception as error:  # whatever it is: a watcher that cannot look must not be quiet
        if tell:
            _say("\n".join(delivery.message for delivery in notify_error(settings, error)), "warning")
        raise
    deliveries = notify(settings, state) if tell else []
    if as_json:
        _print_json(asdict(state) | {"deliveries": [asdict(delivery) for delivery in deliveries]})
    else:
        out.print(state.message, markup=False)
        for delivery in deliveries:
            if delivery.is_news:
                out.print(delivery.message, markup=False)
    must_reach(deliveries)
    if state.blind:
        raise PermanentError(state.blind.english)
    if not state.ok:
        raise typer.Exit(1)


def _newest_candidate(period: str) -> str:
    from hailong.publish.candidate import newest

    candidate_id: str = newest(Settings.load(), period).candidate_id
    return candidate_id


def _login() -> str:
    import getpass

    return getpass.getuser()


def _replace(command: Sequence[str]) -> NoReturn:
    """Run another program of the project in the foreground and end with its status."""
    raise typer.Exit(subprocess.run(command, cwd=Settings.load().project, check=False).returncode)


_COUNTED = re.compile(r"([\d,]+) of ([\d,]+)")
LOG_EVERY = 5.0  # seconds between two lines of progress in a log


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What long work tells, on the error stream: a bar on a terminal, in a log a line now and then."""
    if logs.is_json() or not err.is_terminal:
        last = time.monotonic()

        def say(text: str) -> None:
            nonlocal last
            counted = _COUNTED.search(text)
            if counted and counted[1] != counted[2] and time.monotonic() - last < LOG_EVERY:
                return
            last = time.monotonic()
            _say(text, event="progress")

        yield say
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn(), console=err, transient=True
    ) as bar:
        task = bar.add_task("", total=None)

        def tell(text: str) -> None:
            counted = _COUNTED.search(text)
            if counted:
                done, total = (int(part.replace(",", "")) for part in counted.groups())
                bar.update(task, description=text, completed=done, total=total)
            else:
                bar.console.print(text, markup=False)

        yield tell


def _show(result: Any, as_json: bool) -> None:
    """A result is a dataclass: as JSON one object on one line, else its message or its fields."""
    logs.bind_result(result)
    if as_json:
        _print_json(vars(result))
    elif message := getattr(result, "message", None):
        out.print(message)
    else:
        for name, value in vars(result).items():
            out.print(f"{name.replace('_', ' ')}: {value}")


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _say(text: str, level: str = "info", event: str = "told") -> None:
    """Something beside the result, on the error stream."""
    if logs.is_json():
        logs.tell(event, text, level)
    else:
        err.print(text, markup=False)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point: turns every expected failure into one message and its exit status."""
    began = time.monotonic()
    try:
        status = _run(list(arguments) if arguments is not None else None)
    except UsageError as error:
        _fail("wrong use", error, 2)
    except TransientError as error:
        # Airflow's tasks ask for a status of its own, so that they retry this kind only; people see 0, 1 or 2.
        _fail("transient error", error, int(os.environ.get("HAILONG_TRANSIENT_EXIT", "1")))
    except HailongError as error:
        _fail("error", error, 1)
    except Exception as error:
        told = _of_the_server(error)
        if told is None and not logs.is_json():
            raise
        if told is None:
            logs.tell_failure("unexpected", f"{type(error).__name__}: {error}", 1, error)
            sys.exit(1)
        _fail(*told, 1)
    level = "warning" if status else "info"
    logs.tell("finished", f"exit {status}", level, exit=status, seconds=round(time.monotonic() - began, 3))
    sys.exit(status)


def _run(arguments: list[str] | None) -> int:
    """Call the command that the arguments name; its exit status. In JSON what Typer would draw is an error like any other."""
    if not logs.begin():
        app(args=arguments)  # ends the process by itself
        return 0
    try:
        return app(args=arguments, standalone_mode=False) or 0
    except typer.exceptions.TyperException as error:
        where = getattr(error, "ctx", None)
        path = _path(where) if where else ""
        logs.bind(command=path or None)
        said = error.format_message() or "no command was given"
        raise UsageError(f"{said} (`{f'hailong {path}'.strip()} --help`)") from None
    except typer.Abort:
        raise PermanentError("stopped before it was done") from None


def _of_the_server(error: Exception) -> tuple[str, str] | None:
    """What PostgreSQL refused in a way that has one cause and one way out, wherever it was asked; else None."""
    driver = sys.modules.get("psycopg")  # imported by the command, if at all
    if driver is None or not isinstance(error, driver.Error):
        return None
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    kinds = driver.errors
    behind = (kinds.UndefinedTable, kinds.UndefinedColumn, kinds.UndefinedFunction, kinds.InvalidSchemaName)
    if isinstance(error, behind):
        return "error", f"the schema is behind this version or its contracts ({first}): run `hailong db migrate`"
    if isinstance(error, kinds.InsufficientPrivilege):
        return (
            "error",
            f"the warehouse refused ({first}): run `hailong db migrate` as the role that owns it, or ask its owner",
        )
    if isinstance(error, driver.OperationalError):
        return "transient error", f"the warehouse went away ({first}): is the server up (`hailong db up`)? Run it again"
    return None


def _fail(kind: str, message: object, status: int) -> NoReturn:
    if logs.is_json():
        logs.tell_failure(
            {"wrong use": "usage", "transient error": "transient"}.get(kind, "permanent"), str(message), status
        )
        sys.exit(status)
    err.print(f"[bold red]{kind}:[/] ", end="")
    err.print(str(message), markup=False)
    sys.exit(status)


__all__ = ["__version__", "app", "main"]

if __name__ == "__main__":
    main()
