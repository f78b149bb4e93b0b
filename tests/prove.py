"""`make prove`: the warehouse and the independent scorer agree exactly on far more than a test run has time for.

python -m tests.prove [--dossiers 200000] [--worlds 400] [--seed N] [--only large,lives]

large   generated dossiers over 31 months, on both sides of 1 July 2025, with supplements, ratings, petitions, posting checks and
        portal rows, in three rounds of loading, through files, contracts, landing and raw; built three times by the real
        build, each under eight policies in succession, in another order each time.
lives   random little worlds (tests.integration.lives) through the models of a full build, until one differs.

Nothing is compared with a tolerance. Exit 1 with a report of what differs, and behind which records.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.migrations import migrate
from tests.conftest import database, on_database, settings_for, throwaway_server
from tests.integration.light import LightBuild, first_difference
from tests.integration.lives import SCENES, registered
from tests.integration.marts import read_marts
from tests.integration.test_units_through_time import passing_book, rules_without_readings, write_register
from tests.oracle import feeds, rules
from tests.oracle.agreement import disagreements, oracle_rows, scorer_of
from tests.oracle.cases import SINCE, midnight, periods
from tests.oracle.policies import CHANGES
from tests.oracle.scorer import World

UNTIL = date(2027, 5, 15)
# Borders at the end of periods, inside them, at Tết, and where districts became communes.
SINCE_WHEN = [
    date(2024, 11, 29), date(2025, 2, 15), date(2025, 6, 1), date(2025, 7, 1), date(2025, 11, 3), date(2026, 6, 20),
    date(2026, 10, 15), date(2027, 2, 8),
]  # fmt: skip
SHIFTS = (0, 3, 6)  # so that every policy is in force on both sides of 1 July 2025
PARTS = ("large", "lives")


@dataclass
class Proof:
    """What was compared, how long it took, and what differs."""

    counts: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    policies: set[frozenset[tuple[str, str]]] = field(default_factory=set)
    reports: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[what] = self.seconds.get(what, 0) + time.monotonic() - began


@contextmanager
def warehouse(server: str, name: str, folder: Path) -> Iterator[Settings]:
    """A migrated warehouse with one reading beside each policy: what becomes of K under all of them is not compared here."""
    with database(server, f"prove_{name}_{os.getpid()}") as made:
        home = folder / name
        home.mkdir()
        prepared = settings_for(on_database(server, made), home)
        migrate(prepared)
        yield rules_without_readings(prepared, folder / f"rules_{name}")


def large(proof: Proof, server: str, folder: Path, dossiers: int, seed: int, step: Callable[[str], None]) -> None:
    step(f"{dossiers:,} dossiers are generated")
    with proof.timed("generate"):
        book = passing_book(dossiers, seed, UNTIL)
    count(proof, book.world)
    with warehouse(server, "large", folder) as prepared, ThreadPoolExecutor(1) as worker:
        with proof.timed("load"):
            registers = feeds.write_registers(book.world, folder) | {"unit_register": write_register(book, folder)}
            for feed, path in registers.items():
                step(f"{feed} is loaded")
                require_all(ingest(prepared, feed, file=path).quarantined, feed)
            for number, batch in enumerate(book.world.batches):
                for feed, path in feeds.write_batch(batch, number, folder, SINCE, UNTIL).items():
                    step(f"{feed}, round {number + 1} of {len(book.world.batches)}, is loaded")
                    since, until = feeds.span_of(batch, feed, SINCE, UNTIL)
                    told = ingest(prepared, feed, since=since, until=until, file=path, now=midnight(UNTIL))
                    require_all(told.quarantined, feed)
                    path.unlink()
        for shift in SHIFTS:
            changes = CHANGES[shift:] + CHANGES[:shift]
            proof.policies |= {frozenset(changed.items()) for changed in changes}
            rules.write_policies(prepared.rules / "seeds", SINCE_WHEN, changes)
            scorer = scorer_of(book.world, rules.policies(prepared.rules / "seeds"))
            step(f"a build and the oracle, policies from the {shift + 1}. on")
            counted = worker.submit(oracle_rows, scorer, periods(UNTIL), UNTIL - timedelta(days=1))
            with proof.timed("build"):
                build(prepared)
            with proof.timed("wait for the oracle"):
                oracle = counted.result()
            step("every row and column is compared")
            with proof.timed("compare"):
                found = disagreements(scorer, periods(UNTIL), oracle, read_marts(prepared))
            proof.reports += [f"Policies from the {shift + 1}. on. {report}" for report in found]
            for mart, rows in oracle.items():
                proof.rows[mart] = proof.rows.get(mart, 0) + len(rows)


def require_all(quarantined: int, feed: str) -> None:
    if quarantined:
        raise SystemExit(f"{quarantined} records of {feed} were quarantined: nothing generated should be")


def count(proof: Proof, world: World) -> None:
    batches = world.batches
    proof.counts |= {
        "dossiers": len({dossier.dossier_code for batch in batches for dossier in batch.dossiers}),
        "versions of them": sum(len(batch.dossiers) for batch in batches),
        "requests for supplement": sum(len(dossier.supplements) for batch in batches for dossier in batch.dossiers),
        "ratings": len({rating.rating_id for batch in batches for rating in batch.ratings}),
        "petitions": len({petition.petition_id for batch in batches for petition in batch.petitions}),
        "posting checks": sum(len(batch.posting_checks) for batch in batches),
        "portal rows": sum(len(batch.portal_rows) for batch in batches),
        "units": len(world.units),
        "periods": len(periods(UNTIL)),
        "months": sum(period.kind == "month" for period in periods(UNTIL)),
    }


def lives(proof: Proof, server: str, folder: Path, worlds: int, seed: int, step: Callable[[str], None]) -> None:
    step("an empty warehouse is built")
    with warehouse(server, "lives", folder) as prepared, proof.timed("lives"):
        light = LightBuild.prepare(prepared, registered(), folder)
        each = -(-worlds // len(SCENES))
        for scene in SCENES:
            step(f"{each} worlds: {scene}")
            found = first_difference(light, [scene], each, seed)
            proof.counts["random worlds"] = proof.counts.get("random worlds", 0) + each
            if found:
                proof.reports.append(f"{scene}, seed {seed}: {found}")


def steps_of(parts: list[str]) -> int:
    """How often a part tells that it goes on, near enough for a bar."""
    return ("large" in parts) * (1 + 3 + 14 + 2 * len(SHIFTS)) + ("lives" in parts) * (1 + len(SCENES))


def summary(proof: Proof) -> Table:
    table = Table("", "", title="What was compared", show_header=False)
    for what, number in proof.counts.items():
        table.add_row(what, f"{number:,}")
    if proof.policies:
        table.add_row("policies, each on both sides of 1 July 2025", str(len(proof.policies)))
    for mart, rows in proof.rows.items():
        table.add_row(f"rows of marts.{mart}, over {len(SHIFTS)} builds", f"{rows:,}")
    for what, seconds in proof.seconds.items():
        table.add_row(f"seconds: {what}", f"{seconds:,.0f}")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.prove", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--dossiers", type=int, default=200_000)
    parser.add_argument("--worlds", type=int, default=400, help="random little worlds")
    parser.add_argument(
        "--seed", type=int, help="of everything that is drawn; another one each time unless it is given"
    )
    parser.add_argument("--only", default=",".join(PARTS), help="comma list of " + ", ".join(PARTS))
    asked = parser.parse_args()
    parts = asked.only.split(",")
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    console, proof = Console(), Proof()
    console.print(f"seed {seed}")
    bar = Progress(
        BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(), TextColumn("{task.description}"),
        console=console,
    )  # fmt: skip
    with throwaway_server() as server, tempfile.TemporaryDirectory(prefix="hailong-prove-") as temporary, bar:
        task: TaskID = bar.add_task("", total=steps_of(parts))

        def step(what: str) -> None:
            bar.update(task, description=what, advance=1)
            if not console.is_terminal:
                console.print(what)

        if "large" in parts:
            large(proof, server, Path(temporary), asked.dossiers, seed, step)
        if "lives" in parts:
            lives(proof, server, Path(temporary), asked.worlds, seed, step)
    console.print(summary(proof))
    for report in proof.reports:
        console.print(report, markup=False, highlight=False, soft_wrap=True)
    console.print("They differ." if proof.reports else "No difference.")
    return 1 if proof.reports else 0


if __name__ == "__main__":
    sys.exit(main())
