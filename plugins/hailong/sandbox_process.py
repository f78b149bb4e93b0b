"""The sandbox as a process of ours: started in its own session, found again and stopped after `kill -9`."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from hailong.errors import PermanentError, TransientError
from hailong.settings import Settings


@dataclass(frozen=True)
class SandboxServer:
    """A running sandbox: its address, and the environment that points the package at it."""

    url: str
    token: str
    env: dict[str, str]
    drop: Path

    def set_clock(self, now: datetime) -> None:
        """Move the sources' present (local wall time); files due by then are dropped."""
        try:
            response = httpx.post(
                f"{self.url}/_sandbox/clock",
                json={"now": f"{now:%Y%m%d%H%M%S}"},
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=30,
                trust_env=False,
            )
        except httpx.TransportError as error:
            raise TransientError(f"the sandbox at {self.url} does not answer: {error}") from error
        if response.status_code != 200:
            raise PermanentError(f"the sandbox refused the time {now}: {response.status_code} {response.text[:300]}")


def start(settings: Settings, *, size: int, end: date, clock: datetime, timeout: float = 120) -> SandboxServer:
    """Start a sandbox under `HAILONG_HOME/sandbox`, in place of one that still runs there."""
    stop(settings)
    home = settings.home / "sandbox"
    drop = home / "drop"
    shutil.rmtree(drop, ignore_errors=True)  # what an earlier one dropped
    drop.mkdir(parents=True)
    log, ready = home / "sandbox.log", home / "ready.json"
    command = [
        sys.executable, "-m", "sandbox", "serve", "--port", "0", "--size", str(size), "--end", end.isoformat(),
        "--clock", f"{clock:%Y%m%d%H%M%S}", "--drop", str(drop), "--ready-file", str(ready),
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=settings.project,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    while not ready.is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = log.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise PermanentError(f"the sandbox did not start (`{' '.join(command[1:])}`): {said}")
        time.sleep(0.05)
    info: dict[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
    return SandboxServer(info["url"], info["token"], dict(info["env"]), drop)


def stop(settings: Settings) -> bool:
    """Stop the sandbox of this home; False when none ran."""
    ready = settings.home / "sandbox" / "ready.json"
    stopped = False
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, psutil.Error):
        process = psutil.Process(json.loads(ready.read_text(encoding="utf-8"))["pid"])
        if str(ready) in process.cmdline():  # its number may belong to somebody else by now
            process.terminate()
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(10)
            if process.is_running():
                process.kill()
            stopped = True
    ready.unlink(missing_ok=True)
    return stopped
