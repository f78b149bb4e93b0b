"""The rule set: the dbt project with its seeds, hashed as a whole and packed so that an edition can be rebuilt."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hailong.errors import PermanentError
from hailong.settings import Settings

SEEDS = "seeds"  # the folder of what a rule set holds as data: the Decision's rules; all else of it is code
_GENERATED = {"target", "logs", "dbt_packages", "__pycache__"}


def rule_files(rules: Path) -> list[Path]:
    """Files of the rule set relative to its folder, by path; without hidden ones and what dbt generates."""
    if not (rules / "dbt_project.yml").is_file():
        raise PermanentError(
            f"no rule set in {rules}: dbt_project.yml is missing. Set HAILONG_RULES to a dbt project folder."
        )
    found = [
        path.relative_to(rules)
        for path in rules.rglob("*")
        if path.is_file()
        and not any(part in _GENERATED or part.startswith(".") for part in path.relative_to(rules).parts)
    ]
    return sorted(found, key=lambda path: path.as_posix())


def rules_sha256(rules: Path) -> str:
    """Hash over path and content of every file: the same on every machine, whatever the files' times and modes."""
    digest = hashlib.sha256()
    for path in rule_files(rules):
        content = hashlib.sha256((rules / path).read_bytes()).hexdigest()
        digest.update(f"{path.as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def pack(settings: Settings) -> tuple[str, Path]:
    """Hash the rule set and keep it as `home/rules/<sha256>.tar.gz`; packing it again gives the same bytes."""
    sha256 = rules_sha256(settings.rules)
    path = settings.home / "rules" / f"{sha256}.tar.gz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_bytes(_archive(settings.rules))
        partial.replace(path)
    return sha256, path


def unpack(settings: Settings, sha256: str, folder: Path) -> None:
    """Lay a rule set that was kept into an empty folder. PermanentError when it is gone, or is not what its name says."""
    path = settings.home / "rules" / f"{sha256}.tar.gz"
    if not path.is_file():
        raise PermanentError(
            f"the rule set {sha256[:12]} is not kept in {path.parent}, so nothing can be built by it: restore that file from "
            "a backup"
        )
    with tarfile.open(path) as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is None or not (folder / entry.name).resolve().is_relative_to(folder.resolve()):
                raise PermanentError(
                    f"the rule set in {path} holds {entry.name}, which no rule set has: restore that file"
                )
            (folder / entry.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / entry.name).write_bytes(content.read())
    if (found := rules_sha256(folder)) != sha256:
        raise PermanentError(
            f"the rule set in {path} was changed: its checksum is {found[:12]}…. Restore that file from a backup"
        )


@contextmanager
def laid_out(settings: Settings, sha256: str) -> Iterator[Settings]:
    """The settings with a rule set that was kept, for as long as it lasts."""
    with tempfile.TemporaryDirectory(prefix="hailong-rules-") as folder:
        unpack(settings, sha256, Path(folder))
        yield replace(settings, rules=Path(folder))


@contextmanager
def with_seeds_of(kept: Settings, today: Settings) -> Iterator[Settings]:
    """The models of one rule set over the seeds of another, for as long as it lasts: rules changed, and code did not."""
    with tempfile.TemporaryDirectory(prefix="hailong-rules-") as folder:
        for source, seeds in ((kept.rules, False), (today.rules, True)):
            for path in rule_files(source):
                if (path.parts[0] == SEEDS) is seeds:
                    (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source / path, Path(folder) / path)
        yield replace(kept, rules=Path(folder))


def _archive(rules: Path) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for path in rule_files(rules):
            content = (rules / path).read_bytes()
            entry = tarfile.TarInfo(path.as_posix())
            entry.size, entry.mode, entry.mtime = len(content), 0o644, 0
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
