"""Processes that convert pages beside the one that reads them: Python runs one thread at a time, and pages are hard work.

They are forked, so they share what is loaded and remembered; they are given bytes, give back rows, and touch neither network
nor database. Who calls keeps the order, so the outcome is the same with any number of them.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Self

from hailong.errors import TransientError

MOST_HANDS = 4
COLLECT_EVERY = 100  # tasks between two looks for garbage
_PR_SET_PDEATHSIG = 1

Work = Callable[[Any, int], Any]
_work: Work | None = None  # of a process of the crew
_done = 0


def hands_here() -> int:
    """How many processes are worth while: one a core; none with a single core, or where we may have no children."""
    cores = len(os.sched_getaffinity(0))
    return 0 if cores < 2 or multiprocessing.current_process().daemon else min(MOST_HANDS, cores)


class Crew:
    """`hands` processes that do `work(given, number)`; they are hired with the first task. None of them outlives us."""

    def __init__(self, work: Work, hands: int) -> None:
        self.hands = hands
        self._work = work
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def take(self, given: Any, number: int) -> Future[Any]:
        """The task's outcome, when it is done; ask for it with `result_of`."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.hands, multiprocessing.get_context("fork"), initializer=_begin, initargs=(self._work, os.getpid())
            )
        try:
            return self._pool.submit(_do, given, number)
        except BrokenProcessPool as error:
            raise _killed() from error


def result_of(task: Future[Any]) -> Any:
    """What the task came to; TransientError when its process was killed."""
    try:
        return task.result()
    except BrokenProcessPool as error:
        raise _killed() from error


def _killed() -> TransientError:
    return TransientError(
        "a process that converts pages was killed, for want of memory perhaps. Nothing was landed; free some and run it again"
    )


def _begin(work: Work, parent: int) -> None:
    """Ctrl-C is for the reader to handle, and a reader that is killed takes its crew with it."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    _work = work


def _do(given: Any, number: int) -> Any:
    global _done
    assert _work is not None
    _done += 1
    if _done % COLLECT_EVERY == 0:
        gc.collect()
    return _work(given, number)
