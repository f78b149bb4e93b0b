"""The list of mutations (`mutations.toml`): read, checked against the rule set, put into a copy of it, and judged."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from hailong.errors import PermanentError

LIST = Path(__file__).parent / "mutations.toml"


@dataclass(frozen=True)
class Mutation:
    """One fault: `old` stands exactly once in `file` (under the rule set) and becomes `new`."""

    id: str
    file: str
    old: str
    new: str
    means: str
    killed_by: str  # a pytest node id, or the name of a dbt unit test


class Outcome(StrEnum):
    """What became of a test. Only a difference says that it noticed; what does not compile proves nothing."""

    PASSED = "passed"
    DIFFERED = "differed"
    BROKE = "broke"


@dataclass(frozen=True)
class Result:
    outcome: Outcome
    detail: str = ""


class Verdict(StrEnum):
    KILLED = "killed"
    SURVIVED = "survived"
    PROVES_NOTHING = "proves nothing"


VERDICTS = {
    Outcome.PASSED: Verdict.SURVIVED,
    Outcome.DIFFERED: Verdict.KILLED,
    Outcome.BROKE: Verdict.PROVES_NOTHING,
}
# Runs the named tests on the rule set as it lies there; every one has a result.
Run = Callable[[Sequence[str]], Mapping[str, Result]]


def read(path: Path = LIST) -> list[Mutation]:
    """The mutations of a list. PermanentError names an entry that is incomplete or an id that stands twice."""
    mutations = []
    wanted = {field.name for field in fields(Mutation)}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutation", []):
        if entry.keys() != wanted:
            raise PermanentError(
                f"{path.name}: mutation {entry.get('id')} must have exactly {', '.join(sorted(wanted))}; "
                f"it differs in {', '.join(sorted(entry.keys() ^ wanted))}"
            )
        mutations.append(Mutation(**entry))
    ids = [mutation.id for mutation in mutations]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice or not ids:
        raise PermanentError(f"{path.name}: {', '.join(twice)} twice" if twice else f"{path.name} holds no mutation")
    return mutations


def check(mutations: Sequence[Mutation], rules: Path) -> None:
    """PermanentError for a stale list: each old text stands exactly once in its file, and the new one is another."""
    wrong = [problem for mutation in mutations if (problem := _problem(mutation, rules))]
    if wrong:
        raise PermanentError("the list of mutations does not fit the rule set:\n" + "\n".join(wrong))


def _problem(mutation: Mutation, rules: Path) -> str | None:
    path = rules / mutation.file
    if not path.is_file():
        return f"{mutation.id}: there is no {mutation.file}"
    times = path.read_text(encoding="utf-8").count(mutation.old) if mutation.old else 0
    if times != 1:
        return f"{mutation.id}: the old text stands {times} times in {mutation.file}, not once"
    return f"{mutation.id}: the new text is the old one" if mutation.new == mutation.old else None


@contextmanager
def applied(mutation: Mutation, rules: Path) -> Iterator[None]:
    """The mutation in the copy `rules`, taken back afterwards."""
    path = rules / mutation.file
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(mutation.old.encode(), mutation.new.encode()))
        yield
    finally:
        path.write_bytes(before)


def judge(mutations: Sequence[Mutation], rules: Path, run: Run) -> Iterator[tuple[Mutation, Verdict, str]]:
    """Each mutation's verdict, as it falls. PermanentError when a named test does not pass without any mutation."""
    named = list(dict.fromkeys(mutation.killed_by for mutation in mutations))
    failing = {name: result for name, result in run(named).items() if result.outcome is not Outcome.PASSED}
    if failing:
        told = "\n".join(f"{name}: {result.outcome}: {result.detail}" for name, result in failing.items())
        raise PermanentError(f"these tests do not pass on the rule set as it is, so they can kill nothing:\n{told}")
    for mutation in mutations:
        with applied(mutation, rules):
            result = run([mutation.killed_by])[mutation.killed_by]
        yield mutation, VERDICTS[result.outcome], result.detail
