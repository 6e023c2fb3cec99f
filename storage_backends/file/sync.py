"""The thread that waits for the disk, so that the event loop never does.

One daemon thread a log: it sleeps in a queue, does one piece of work after the other in the order in which they were
handed over, and tells the event loop how each ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple


class _Work(NamedTuple):
    run: Callable[[], None]
    loop: asyncio.AbstractEventLoop
    answer: Callable[[Exception | None], None]


class _LastWork(NamedTuple):
    run: Callable[[], None]


class SyncThread:
    """Runs work off the event loop; `answer` is called in the loop's thread with the exception that ended the work."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Work | _LastWork] = SimpleQueue()
        self._last_error: Exception | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[], None], answer: Callable[[Exception | None], None]) -> None:
        """Hand over work. Called from the event loop's thread, which gets the answer."""
        self._queue.put(_Work(run, asyncio.get_running_loop(), answer))

    def finish(self, run: Callable[[], None], timeout_s: float | None = None) -> None:
        """Do what was handed over, then `run`, and end the thread; blocks until then.

        Raises TimeoutError after `timeout_s` (the thread then goes on by itself, or stays where it hangs), else what
        `run` raises.
        """
        self._queue.put(_LastWork(run))
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError
        if self._last_error is not None:
            raise self._last_error

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            error: Exception | None = None
            try:
                work.run()
            except Exception as problem:
                error = problem
            if isinstance(work, _LastWork):
                self._last_error = error
                return
            # RuntimeError: the loop was closed meanwhile, so nobody is left to be told.
            with contextlib.suppress(RuntimeError):
                work.loop.call_soon_threadsafe(work.answer, error)
