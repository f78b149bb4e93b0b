"""The runner of `make mutate` can fail: a stale list, a mutation that nothing notices, one that does not compile."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from hailong.errors import PermanentError
from hailong.settings import PROJECT, Settings
from hailong.warehouse.dbt import DbtFailed, DbtRun, Node
from tests.mutate import __main__ as command
from tests.mutate import mutations, named
from tests.mutate.mutations import Mutation, Outcome, Result, Verdict, applied, check, judge, read
from tests.mutate.outcomes import outcome_of

RULE = "case when k > 20 then 1 end -- above\n"
AT_TWENTY = Mutation("at_twenty", "models/k.sql", "k > 20", "k >= 20", "20 is enough", "k_is_above_twenty")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "k.sql").write_text(RULE, encoding="utf-8")
    return tmp_path


def by_text(rules: Path, noticed: Outcome) -> Callable[[Sequence[str]], Mapping[str, Result]]:
    """Stands in for running tests: they pass while the rule is as it was, else they come to `noticed`."""

    def run(names: Sequence[str]) -> dict[str, Result]:
        is_whole = (rules / "models" / "k.sql").read_text(encoding="utf-8") == RULE
        return {name: Result(Outcome.PASSED if is_whole else noticed, "told") for name in names}

    return run


@pytest.mark.parametrize(
    ("noticed", "verdict"),
    [
        (Outcome.DIFFERED, Verdict.KILLED),
        (Outcome.PASSED, Verdict.SURVIVED),
        (Outcome.BROKE, Verdict.PROVES_NOTHING),
    ],
)
def test_only_a_difference_kills(rules: Path, noticed: Outcome, verdict: Verdict) -> None:
    assert list(judge([AT_TWENTY], rules, by_text(rules, noticed))) == [(AT_TWENTY, verdict, "told")]
    assert (rules / "models" / "k.sql").read_text(encoding="utf-8") == RULE


def test_a_test_that_fails_without_a_mutation_kills_nothing(rules: Path) -> None:
    (rules / "models" / "k.sql").write_text("other", encoding="utf-8")
    with pytest.raises(PermanentError, match="k_is_above_twenty: differed: told"):
        list(judge([AT_TWENTY], rules, by_text(rules, Outcome.DIFFERED)))


def test_the_rule_comes_back_when_a_run_dies(rules: Path) -> None:
    with pytest.raises(KeyboardInterrupt), applied(AT_TWENTY, rules):
        assert "k >= 20" in (rules / "models" / "k.sql").read_text(encoding="utf-8")
        raise KeyboardInterrupt
    assert (rules / "models" / "k.sql").read_text(encoding="utf-8") == RULE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("case when k > 21 then 1 end", "stands 0 times in models/k.sql"),
        (RULE + RULE, "stands 2 times in models/k.sql"),
        (None, "there is no models/k.sql"),
    ],
)
def test_a_stale_mutation_is_refused(rules: Path, text: str | None, told: str) -> None:
    check([AT_TWENTY], rules)
    path = rules / "models" / "k.sql"
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    with pytest.raises(PermanentError, match=f"at_twenty: .*{told}"):
        check([AT_TWENTY], rules)


def test_a_mutation_that_changes_nothing_is_refused(rules: Path) -> None:
    same = Mutation("same", "models/k.sql", "k > 20", "k > 20", "", "t")
    with pytest.raises(PermanentError, match="the new text is the old one"):
        check([same], rules)


def entry(**changed: str | None) -> str:
    whole = {"id": "a", "file": "f", "old": "o", "new": "n", "means": "m", "killed_by": "t"} | changed
    return "[[mutation]]\n" + "".join(f'{name} = "{value}"\n' for name, value in whole.items() if value is not None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (entry() + entry(), "a twice"),
        (entry(killed_by=None), "differs in killed_by"),
        (entry(note="x"), "differs in note"),
        ("", "holds no mutation"),
    ],
)
def test_a_list_that_is_not_one_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mutations.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PermanentError, match=told):
        read(path)


# -- the command ----------------------------------------------------------------------------------------------------------


@dataclass
class Stub:
    rules: Path
    run: Callable[[Sequence[str]], Mapping[str, Result]]


@pytest.fixture
def mutate(rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Function that runs the command on a list of two mutations, whose tests come to `noticed`; exit code and output."""
    (tmp_path / "dbt_project").symlink_to(rules)
    monkeypatch.setattr(command, "PROJECT", tmp_path)
    two = [AT_TWENTY, Mutation("no_points", "models/k.sql", "then 1", "then 0", "nothing", "other")]
    monkeypatch.setattr(command, "read", lambda: two)

    def run(*arguments: str, noticed: Outcome = Outcome.DIFFERED) -> tuple[int, str]:
        @contextmanager
        def bench() -> Iterator[Stub]:
            yield Stub(rules, by_text(rules, noticed))

        monkeypatch.setattr(command, "bench", bench)
        said = io.StringIO()
        code = command.main(arguments, Console(file=said, width=200))
        return code, said.getvalue()

    return run


def test_all_killed_is_exit_0(mutate: Callable[..., tuple[int, str]]) -> None:
    code, said = mutate()
    assert code == 0
    assert "2 of 2 killed" in said


@pytest.mark.parametrize("noticed", [Outcome.PASSED, Outcome.BROKE])
def test_a_survivor_is_exit_1(mutate: Callable[..., tuple[int, str]], noticed: Outcome) -> None:
    code, said = mutate(noticed=noticed)
    assert code == 1
    assert "0 of 2 killed" in said
    assert "at_twenty, no_points" in said


def test_a_stale_list_is_exit_1_before_anything_runs(mutate: Callable[..., tuple[int, str]], rules: Path) -> None:
    (rules / "models" / "k.sql").write_text("other", encoding="utf-8")
    code, said = mutate("--only", "at_twenty")
    assert code == 1
    assert "no_points: the old text stands 0 times" in said
    assert "killed" not in said


def test_one_is_chosen_by_its_id_and_an_unknown_id_is_wrong_use(mutate: Callable[..., tuple[int, str]]) -> None:
    assert "1 of 1 killed" in mutate("--only", "no_points")[1]
    with pytest.raises(SystemExit) as refused:
        mutate("--only", "nothing")
    assert refused.value.code == 2


def test_the_list_is_shown_and_nothing_runs(mutate: Callable[..., tuple[int, str]]) -> None:
    code, said = mutate("--list", noticed=Outcome.PASSED)
    assert code == 0
    assert re.search(r"no_points.*models/k\.sql.*nothing.*other", said)


# -- what a test saw ------------------------------------------------------------------------------------------------------


def node(status: str, name: str = "a", message: str | None = None) -> Node:
    return Node(f"unit_test.hailong.model.{name}", status, 0.1, None, message, None)


REFUSED = 'Database Error: new row for relation "dossier_flow" violates check constraint "flow_open_overdue"'


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AssertionError("assert 1 == 2"), Outcome.DIFFERED),
        (DbtFailed("rows found", DbtRun(Path(), 1, (node("pass"), node("fail")))), Outcome.DIFFERED),
        (DbtFailed("rows found and SQL wrong", DbtRun(Path(), 1, (node("fail"), node("error")))), Outcome.BROKE),
        (DbtFailed("refused", DbtRun(Path(), 1, (node("error", message=REFUSED),))), Outcome.DIFFERED),
        (
            DbtFailed("refused, and wrong", DbtRun(Path(), 1, (node("error", message=REFUSED), node("error")))),
            Outcome.BROKE,
        ),
        (DbtFailed("does not parse", DbtRun(Path(), 2)), Outcome.BROKE),
        (PermanentError("refused"), Outcome.BROKE),
    ],
)
def test_a_test_that_stops_for_another_reason_saw_no_difference(error: Exception, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(
    ("status", "outcome"), [("pass", Outcome.PASSED), ("fail", Outcome.DIFFERED), ("error", Outcome.BROKE)]
)
def test_a_dbt_unit_test_differs_breaks_or_is_not_there(
    monkeypatch: pytest.MonkeyPatch, rules: Path, status: str, outcome: Outcome
) -> None:
    def run(*_: object, **__: object) -> DbtRun:
        finished = DbtRun(Path(), 0, (node(status),))
        if status == "pass":
            return finished
        raise DbtFailed("", finished)

    monkeypatch.setattr(named.dbt, "run", run)
    here = named.Bench(rules, "", Settings.load({"HAILONG_RULES": str(rules)}))
    assert {name: result.outcome for name, result in here.run(["a", "gone"]).items()} == {
        "a": outcome,
        "gone": Outcome.BROKE,
    }


def test_dbt_is_told_that_a_seed_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It keeps what it parsed, rows of seeds with it: every mutation of a seed would survive."""
    told: list[object] = []

    def run(*_: object, variables: object) -> DbtRun:
        told.append(variables)
        return DbtRun(Path(), 0, (node("pass"),))

    monkeypatch.setattr(named.dbt, "run", run)
    here = named.Bench(tmp_path, "", Settings.load({"HAILONG_RULES": str(tmp_path)}))
    (tmp_path / "seeds").mkdir()
    for value in ("true", "true", "false"):
        (tmp_path / "seeds" / "duty.csv").write_text(f"index_code,is_owed\nC,{value}\n", encoding="utf-8")
        here.run(["a"])
    assert told[0] == told[1] != told[2]


def test_a_pytest_node_passes_differs_breaks_or_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_passes(): pass\n"
        "def test_differs(): assert 1 == 2\n"
        "def test_breaks(): 1 / 0\n"
        "def test_skips(): pytest.skip('no data')\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_stands_on_what_breaks(broken): assert False\n",
        encoding="utf-8",
    )
    (tmp_path / "plugins").symlink_to(PROJECT / "plugins")
    (tmp_path / "tests").symlink_to(PROJECT / "tests")
    names = ("passes", "differs", "breaks", "skips", "stands_on_what_breaks", "is_gone")
    told = named.Bench(tmp_path, "", None).run([f"test_it.py::test_{name}" for name in names[:-1]])  # type: ignore[arg-type]
    told |= named.Bench(tmp_path, "", None).run(["test_it.py::test_is_gone"])  # type: ignore[arg-type]
    assert [result.outcome for result in told.values()] == [
        Outcome.PASSED, Outcome.DIFFERED, Outcome.BROKE, Outcome.BROKE, Outcome.BROKE, Outcome.BROKE,
    ]  # fmt: skip
    assert "no data" in told["test_it.py::test_skips"].detail


# -- the list -------------------------------------------------------------------------------------------------------------


def test_the_list_fits_the_rule_set_and_names_tests_that_are_there() -> None:
    listed = read(mutations.LIST)
    check(listed, PROJECT / "dbt_project")
    assert len(listed) >= 30
    models = PROJECT / "dbt_project" / "models"
    units = {
        name
        for path in models.rglob("_*unit_tests.yml")
        for name in re.findall(r"^  - name: (\S+)", path.read_text(encoding="utf-8"), re.M)
    }
    for mutation in listed:
        path, _, test = mutation.killed_by.partition("::")
        if test:
            assert f"def {test.partition('[')[0]}(" in (PROJECT / path).read_text(encoding="utf-8"), mutation.id
        else:
            assert mutation.killed_by in units, mutation.id
