"""The command line: the one seam that DAG tasks, people and tests share.

Exit status: 0 done, 1 refused or failed, 2 wrong use. Every failure is one message that says what was tried and what to
do; heavy imports wait until their command runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from hailong import __version__
from hailong.errors import HailongError, TransientError, UsageError
from hailong.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True, highlight=False, soft_wrap=True)

app = typer.Typer(
    name="hailong",
    help="Hài lòng: nightly data to a signed, published edition of the quality scores of Decision 104/2024/QĐ-UBND.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
db_app = typer.Typer(help="The warehouse's server and schema.", no_args_is_help=True)
sandbox_app = typer.Typer(help="A stand-in for the portal and the city's systems.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Records that could not be read or keyed.", no_args_is_help=True)
calendar_app = typer.Typer(help="The seeds of working days and publication dates.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(quarantine_app, name="quarantine")
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
    file: Annotated[Path | None, typer.Option(help="A dropped file: CSV, XLSX, Parquet or JSON lines.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML that maps the file's columns to the contract's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch one feed, check it against its contract, and load it: one batch in the ledger."""
    from hailong.extract.run import ingest as run

    settings = Settings.load()
    result = run(
        settings,
        feed,
        since=_moment(since, settings, "--since"),
        until=_moment(until, settings, "--until"),
        file=file,
        mapping=mapping,
        progress=None if as_json else err.print,
    )
    _show(result, as_json)


@app.command(epilog=example("hailong build"))
def build(
    as_of: Annotated[int | None, typer.Option(help="Read raw rows up to this batch; default the newest.")] = None,
    full: Annotated[bool, typer.Option(help="Rebuild everything, not only what changed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build staging, core, facts and marts as of one batch, and prove that every key and constraint stands."""
    from hailong.warehouse.build import build as run

    _show(run(Settings.load(), as_of=as_of, full=full, progress=None if as_json else err.print), as_json)


@app.command(epilog=example("hailong candidate --period 2026-10 --by engineer"))
def candidate(
    period: PeriodOption,
    by: Annotated[str | None, typer.Option(help="Who asks for it; default the login name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy one closed period out of the marts: the copy that the gate, the reviewer and the signature look at."""
    from hailong.publish.candidate import create

    _show(create(Settings.load(), _period(period), by or _login()), as_json)


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

    _show(run(Settings.load(), _period(period), by or _login()), as_json)


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


@app.command(epilog=example("hailong explain --unit HCM.SN01 --period 2026-10 --index A"))
def explain(
    unit: Annotated[str, typer.Option(help="Unit code.")],
    period: PeriodOption,
    index: Annotated[str | None, typer.Option(help="A, B, C, D or E: list the records behind it.")] = None,
    limit: Annotated[int, typer.Option(help="How many records to list.")] = 20,
) -> None:
    """Why this number: indices, counts, exclusions, parameters in force, and the records behind them."""
    from hailong.publish.explain import explain as run

    out.print(run(Settings.load(), unit, _period(period), index=index, limit=limit))


@app.command(epilog=example("hailong status"))
def status(
    deadline: Annotated[
        bool, typer.Option("--deadline", help="What is due instead: exit 1 while a period is overdue.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ledger totals per feed, the last build, and the editions."""
    if deadline:
        _deadline(as_json)
        return
    from hailong.load.ledger import ledger_summary
    from hailong.warehouse.connect import connect

    with connect(Settings.load(), role="hailong_reader") as connection:
        rows = ledger_summary(connection)
        build_row = connection.execute(
            "select build_id, as_of_batch, status, finished_at from ops.build order by build_id desc limit 1"
        ).fetchone()
        editions = connection.execute(
            "select edition_id, published_at, published_by, content_sha256 from publish.edition order by published_at"
        ).fetchall()
    if as_json:
        _print_json({"feeds": rows, "build": build_row, "editions": editions})
        return
    if not rows:
        out.print("Nothing has been loaded yet: start with `hailong ingest unit_register`.")
        return
    table = Table(title="Ledger")
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "feed" else "right")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    out.print(table)
    out.print(
        f"Last build: {build_row[0]} as of batch {build_row[1]}, {build_row[2]}" if build_row else "No build yet."
    )
    for edition_id, published_at, published_by, digest in editions:
        out.print(
            f"Edition {edition_id}, published {published_at:%Y-%m-%d %H:%M} UTC by {published_by}, sha256 {digest[:16]}…"
        )


@quarantine_app.command("list", epilog=example("hailong quarantine list --feed dossier"))
def quarantine_list(
    feed: Annotated[str | None, typer.Option(help="Only this feed.")] = None,
    limit: Annotated[int, typer.Option(help="At most this many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Quarantined records with the rule they broke and where they came from."""
    from hailong.contracts import load_contracts
    from hailong.load.ledger import quarantine_list as run
    from hailong.warehouse.connect import connect

    settings = Settings.load()
    with connect(settings, role="hailong_loader") as connection:
        rows = run(connection, load_contracts(settings.contracts), feed=feed, limit=limit)
    if as_json:
        _print_json(rows)
        return
    if not rows:
        out.print("Quarantine is empty.")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    out.print(table)


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


def _deadline(as_json: bool) -> None:
    from hailong.publish.deadline import check

    state = check(Settings.load())
    _show(state, as_json)
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


def _show(result: Any, as_json: bool) -> None:
    """A result is a dataclass: as JSON one object on one line, else its message or its fields."""
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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point: turns every expected failure into one message and its exit status."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except UsageError as error:
        _fail("wrong use", error, 2)
    except TransientError as error:
        # Airflow's tasks ask for a status of its own, so that they retry this kind only; people see 0, 1 or 2.
        _fail("transient error", error, int(os.environ.get("HAILONG_TRANSIENT_EXIT", "1")))
    except HailongError as error:
        _fail("error", error, 1)
    sys.exit(0)


def _fail(kind: str, message: object, status: int) -> NoReturn:
    err.print(f"[bold red]{kind}:[/] ", end="")
    err.print(str(message), markup=False)
    sys.exit(status)


__all__ = ["__version__", "app", "main"]

if __name__ == "__main__":
    main()
