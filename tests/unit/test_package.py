"""The package is the one in this tree, and a command that is wrongly used says so in one message."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hailong
from hailong.errors import PermanentError, UsageError
from hailong.settings import PROJECT, Settings

ROOT = Path(__file__).resolve().parents[2]


def hailong_command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HAILONG_")}
    return subprocess.run(
        [sys.executable, "-m", "hailong.cli", *arguments],
        capture_output=True,
        text=True,
        env={**clean, **env},
        timeout=120,
    )


def test_the_package_is_installed_editable_from_this_tree() -> None:
    assert Path(hailong.__file__).resolve() == ROOT / "plugins" / "hailong" / "__init__.py"
    assert PROJECT == ROOT


def test_the_lock_is_complete_hashed_and_names_no_registry() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^[a-z0-9][a-z0-9._-]*==\S+ \\$", text, re.M)
    blocks = re.split(r"^(?=[a-z0-9][a-z0-9._-]*==)", text, flags=re.M)[1:]
    assert len(pins) == len(blocks) > 150
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_the_lock_pins_what_the_project_asks_for() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pins = {canonicalize_name(name): version for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+) \\$", text, re.M)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["dev"])]
    assert len(asked) > 40
    for requirement in asked:
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None and requirement.specifier.contains(pin, prereleases=True), (str(requirement), pin)


def test_every_file_the_design_fixes_is_there() -> None:
    for name in (
        "dags",
        "dbt_project",
        "expectations",
        "plugins",
        "tests",
        "sandbox",
        "docs",
        "Makefile",
        "README.md",
        ".ci/run",
    ):
        assert (ROOT / name).exists(), name


def test_a_missing_source_address_names_the_variable() -> None:
    settings = Settings.load({})
    with pytest.raises(PermanentError, match="HAILONG_SOURCE_TTHC_URL"):
        settings.source("tthc")
    with pytest.raises(UsageError, match="http"):
        Settings.load({"HAILONG_SOURCE_TTHC_URL": "ftp://x"}).source("tthc")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["candidate", "--period", "2026-13"], 2, "'2026-13' is not a period"),
        (["ingest", "dossier", "--since", "yesterday"], 2, "--since 'yesterday' is not a date"),
        (["ingest", "nonsense"], 2, "nonsense"),
        (["gate"], 2, "hailong gate --period"),
        (["frobnicate"], 2, "No such command"),
        (["publish"], 2, "--period"),
        (["verify"], 2, "hailong verify --chain"),
        (["verify", "--chain", "--current-rules"], 2, "hailong verify --chain"),
        (["restate", "--period", "2026-10", "--reason", " ", "--by", "x"], 2, "needs a reason"),
    ],
)
def test_wrong_use_exits_2_with_one_message(arguments: list[str], status: int, message: str, tmp_path: Path) -> None:
    done = hailong_command(*arguments, HAILONG_HOME=str(tmp_path))
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "pg").exists()  # found out before anything was started


@pytest.mark.parametrize("arguments", [["status"], ["build"], ["db", "migrate"], ["quarantine", "list"]])
def test_a_server_that_is_down_is_one_message_without_the_password(arguments: list[str], tmp_path: Path) -> None:
    done = hailong_command(
        *arguments, HAILONG_DSN="postgresql://someone:geheim@127.0.0.1:1/none", HAILONG_HOME=str(tmp_path)
    )
    assert done.returncode == 1
    assert "no connection to the warehouse at 127.0.0.1:1/none" in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "dsn", ["postgress://u:geheim@localhost/x", "postgresql://u:geheim@localhost/x?nonsense=1", "geheim"]
)
def test_a_mistyped_address_is_wrong_use_and_is_not_quoted(dsn: str, tmp_path: Path) -> None:
    done = hailong_command("status", HAILONG_DSN=dsn, HAILONG_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "HAILONG_DSN" in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr + done.stdout


def test_every_command_has_help_with_an_example() -> None:
    from hailong.cli import app

    commands = [
        (group.name, command) for group in app.registered_groups for command in group.typer_instance.registered_commands
    ]
    commands += [(None, command) for command in app.registered_commands]
    assert len(commands) > 15
    for group, command in commands:
        assert command.epilog and "hailong" in command.epilog, (group, command.name)
        assert command.callback and command.callback.__doc__, (group, command.name)


def test_no_two_kinds_of_work_hold_the_same_advisory_lock() -> None:
    held = [
        (number, path.relative_to(ROOT).as_posix())
        for folder in ("plugins", "expectations")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number in re.findall(r"^LOCK\w* = (\d[\d_]+)", path.read_text(encoding="utf-8"), re.M)
    ]
    assert len(held) > 5
    assert len({number for number, _ in held}) == len(held), held
