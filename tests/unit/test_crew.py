"""Processes that help: their errors reach the reader, and none outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import psutil
import pytest

from hailong.errors import PermanentError, TransientError
from hailong.extract.crew import Crew, hands_here, result_of


def test_tasks_are_done_elsewhere_with_what_the_reader_knows() -> None:
    known = {"a": 1}

    def work(given: str, number: int) -> tuple[int, int]:
        return os.getpid(), known[given] + number

    with Crew(work, 2) as crew:
        found = [result_of(crew.take("a", number)) for number in range(5)]
    assert [told for _, told in found] == [1, 2, 3, 4, 5]
    assert os.getpid() not in {pid for pid, _ in found}


def test_what_goes_wrong_in_a_task_is_raised_here() -> None:
    def work(given: str, number: int) -> None:
        raise PermanentError(f"{given} {number}")

    with Crew(work, 1) as crew, pytest.raises(PermanentError, match="page 7"):
        result_of(crew.take("page", 7))


def test_a_killed_process_is_a_failure_that_may_pass() -> None:
    def work(given: Any, number: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with Crew(work, 1) as crew:
        with pytest.raises(TransientError, match=r"was killed.*Nothing was landed"):
            result_of(crew.take(None, 0))
        with pytest.raises(TransientError, match="was killed"):
            result_of(crew.take(None, 1))


def test_a_reader_that_is_killed_takes_its_crew_with_it() -> None:
    script = r"""
        import os, sys, time
        from hailong.extract.crew import Crew

        def work(given, number):
            os.write(1, f"{os.getpid()}\n".encode())  # one write: two lines printed at once can run together
            time.sleep(600)

        with Crew(work, 2) as crew:
            tasks = [crew.take(None, number) for number in range(2)]
            tasks[0].result()
    """
    reader = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    crew = [psutil.Process(int(reader.stdout.readline())) for _ in range(2)]
    reader.kill()
    reader.wait()
    deadline = time.monotonic() + 60
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in crew):
        assert time.monotonic() < deadline, "they are still there"
        time.sleep(0.02)


def test_a_single_core_has_no_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert hands_here() == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert hands_here() == 2
