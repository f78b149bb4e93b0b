"""Puts one fault at a time into a copy of the rule set and demands that the test named beside it notices.

A test notices by an assertion or by rows that differ; a fault that does not compile proves nothing. First every named test
must pass without a fault. The list is tests/mutate/mutations.toml. Exit 0: all were noticed; 1: not, or the list is stale;
2: wrong use.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hailong.errors import PermanentError
from hailong.settings import PROJECT
from tests.mutate.mutations import Mutation, Verdict, check, judge, read
from tests.mutate.named import bench

EXAMPLES = """examples:
  python -m tests.mutate                                every mutation
  python -m tests.mutate --only grace_is_a_day_shorter  one, by its id; several: --only ID --only ID
  python -m tests.mutate --list                         what there is, without running anything
"""
COLOURS = {Verdict.KILLED: "green", Verdict.SURVIVED: "red", Verdict.PROVES_NOTHING: "yellow"}
Judged = tuple[Mutation, Verdict, str, float]


def listed(mutations: Sequence[Mutation]) -> Table:
    table = _table(f"{len(mutations)} mutations", "id", "file", "what it means", "killed by")
    for mutation in mutations:
        table.add_row(mutation.id, mutation.file, mutation.means, mutation.killed_by)
    return table


def judged_table(judged: Sequence[Judged]) -> Table:
    table = _table("Mutations", "id", "verdict", "by")
    table.add_column("s", justify="right")
    for mutation, verdict, _, seconds in judged:
        colour = COLOURS[verdict]
        table.add_row(mutation.id, f"[{colour}]{verdict}[/{colour}]", mutation.killed_by, f"{seconds:.0f}")
    return table


def _table(title: str, *columns: str) -> Table:
    """Names are folded where they do not fit: whoever reads a log looks for them."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def run(mutations: Sequence[Mutation], console: Console) -> list[Judged]:
    """Judges them one after the other, saying each verdict as it falls."""
    judged: list[Judged] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("a server and a warehouse to test in", total=len(mutations))
        with bench() as here:
            progress.update(task, description="the named tests, without a mutation")
            console.print(f"{len(mutations)} mutations; first their tests on the rule set as it is")
            began = time.monotonic()
            for mutation, verdict, detail in judge(mutations, here.rules, here.run):
                seconds, began = time.monotonic() - began, time.monotonic()
                judged.append((mutation, verdict, detail, seconds))
                colour = COLOURS[verdict]
                console.print(
                    f"[{colour}]{verdict}[/{colour}] {mutation.id} ({seconds:.0f} s): {mutation.means}", soft_wrap=True
                )
                if verdict is not Verdict.KILLED:
                    console.print(f"{mutation.killed_by}: {detail or 'passed'}", markup=False, soft_wrap=True)
                progress.update(task, advance=1, description=mutation.id)
    return judged


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutate", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--only", action="append", metavar="ID", help="this mutation only; may be given again")
    parser.add_argument("--list", action="store_true", help="print the list and run nothing")
    asked = parser.parse_args(arguments)
    console = console or Console()
    began = time.monotonic()
    try:
        mutations = read()
        check(mutations, PROJECT / "dbt_project")
        unknown = sorted(set(asked.only or ()) - {mutation.id for mutation in mutations})
        if unknown:
            parser.error(f"no mutation {', '.join(unknown)}: --list shows their ids")
        chosen = [mutation for mutation in mutations if not asked.only or mutation.id in asked.only]
        if asked.list:
            console.print(listed(chosen))
            return 0
        judged = run(chosen, console)
    except PermanentError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    console.print(judged_table(judged))
    alive = [mutation.id for mutation, verdict, *_ in judged if verdict is not Verdict.KILLED]
    console.print(f"{len(judged) - len(alive)} of {len(judged)} killed in {time.monotonic() - began:.0f} s")
    if alive:
        console.print(f"A test is missing, or the list is wrong: {', '.join(alive)}", style="red")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
