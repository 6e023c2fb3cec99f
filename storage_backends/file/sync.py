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


class SyncThread:
    """Runs work off the event loop; `answer` is called in the loop's thread with the exception that ended the work."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[], None], answer: Callable[[Exception | None], None]) -> None:
        """Hand over work. Called from the event loop's thread, which gets the answer."""
        self._queue.put(_Work(run, asyncio.get_running_loop(), answer))

    def stop(self) -> None:
        """Finish what was handed over and end the thread; blocks until then. Can be called twice."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            error: Exception | None = None
            try:
                work.run()
            except Exception as problem:
                error = problem
            # RuntimeError: the loop was closed meanwhile, so nobody is left to be told.
            with contextlib.suppress(RuntimeError):
                work.loop.call_soon_threadsafe(work.answer, error)
