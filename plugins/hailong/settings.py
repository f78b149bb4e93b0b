"""Where things are: everything that the environment may change, read once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import hailong
from hailong.errors import PermanentError, UsageError

PROJECT = Path(hailong.__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """A remote system: base address and bearer token."""

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """The environment of one process (names: `design.md`, "Public interface")."""

    home: Path
    project: Path
    rules: Path
    contracts: Path
    dsn: str | None = field(repr=False)  # holds a password
    signers: tuple[str, ...]
    timezone: str
    env: Mapping[str, str] = field(repr=False)

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None) -> Settings:
        env = dict(os.environ if env is None else env)
        _check_dsn(env.get("HAILONG_DSN"))
        return cls(
            home=Path(env.get("HAILONG_HOME") or PROJECT / ".hailong").absolute(),
            project=PROJECT,
            rules=Path(env.get("HAILONG_RULES") or PROJECT / "dbt_project").absolute(),
            contracts=Path(env.get("HAILONG_CONTRACTS") or PROJECT / "expectations" / "contracts").absolute(),
            dsn=env.get("HAILONG_DSN") or None,
            signers=tuple(name.strip() for name in env.get("HAILONG_SIGNERS", "").split(",") if name.strip()),
            timezone=env.get("HAILONG_TIMEZONE") or "Asia/Ho_Chi_Minh",
            env=env,
        )

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def editions(self) -> Path:
        return self.home / "editions"

    @property
    def data_docs(self) -> Path:
        return self.home / "data_docs"

    def source(self, system: str) -> Source:
        """Address of a system; PermanentError names the variable that is missing."""
        name = f"HAILONG_SOURCE_{system.upper()}_URL"
        url = self.env.get(name)
        if not url:
            raise PermanentError(
                f"no address for the system '{system}': set {name} (and {name[:-4]}_TOKEN), "
                "or start the sandbox with `hailong sandbox serve`, which prints both"
            )
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{name} is not an http(s) address")  # not quoted: it may hold a password
        return Source(url.rstrip("/"), self.env.get(f"{name[:-4]}_TOKEN", ""))

    @cached_property
    def code_version(self) -> str:
        """Package version and commit, as stamped on batches and editions."""
        version_file = self.project / "VERSION"
        if version_file.is_file():
            return version_file.read_text(encoding="utf-8").splitlines()[0]  # the second line is when it was built
        try:
            commit = subprocess.run(
                ["git", "-C", str(self.project), "rev-parse", "--short=12", "HEAD"],
                capture_output=True, text=True, timeout=10, check=True,
            ).stdout.strip()  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return hailong.__version__
        return f"{hailong.__version__}+{commit}"


def _check_dsn(dsn: str | None) -> None:
    """UsageError for an address that is not one; it is never quoted, because it holds a password."""
    if dsn and not dsn.startswith(("postgresql://", "postgres://")):
        raise UsageError("HAILONG_DSN is not an address: write postgresql://user:password@host:5432/database")
