"""docs/benchmarks.md: one section a part of the bench, each written by its own; goals and the machine, told alike in all."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from hailong.settings import PROJECT, Settings

PATH = PROJECT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench`; not to be edited. Each section is measured side by side in one run, each contestant in a process of its
own, on one machine that also runs the PostgreSQL server and, for the first, the page server.
"""
SECTIONS = ("From HTTP to committed raw", "From raw to marts")  # in this order


@dataclass(frozen=True)
class Goal:
    what: str
    wanted: str
    found: str
    holds: bool


def machine() -> str:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, Linux {platform.release().split('-')[0]}"


def stamp(server: str) -> list[str]:
    """When, where and with what a section was measured; `server`: version of PostgreSQL."""
    return [
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}",
        f"- Python {platform.python_version()}, PostgreSQL {server}; {Settings.load().code_version}",
    ]


def goals_table(goals: list[Goal]) -> list[str]:
    lines = ["| goal | wanted | found | |", "|---|---|---|---|"]
    return lines + [
        f"| {g.what} | {g.wanted} | {g.found} | {'holds' if g.holds else '**does not hold**'} |" for g in goals
    ]


def print_goals(goals: list[Goal]) -> None:
    for goal in goals:
        print(
            f"{'holds         ' if goal.holds else 'DOES NOT HOLD '} {goal.what}: {goal.found} (wanted: {goal.wanted})"
        )


def write_section(title: str, lines: list[str], path: Path = PATH) -> None:
    """Put a section in its place; the others stay as they are."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = {part[0]: part[1].strip() for part in re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", text, flags=re.M)}
    found[title] = "\n".join(lines).strip()
    sections = [f"## {name}\n\n{found[name]}\n" for name in SECTIONS if name in found]
    path.write_text("\n".join([HEAD, *sections]), encoding="utf-8")
