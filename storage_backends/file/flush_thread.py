"""Flushes by a thread that never waits for the interpreter's lock, where that thread was compiled (see `hotpath`)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import Callable

from hotpath import execution

INT_BYTES = 4


class FlushThread:
    """Flushes one file at a time."""

    def __init__(self) -> None:
        """Raises ImportError (it is not compiled) or OSError (no thread, no descriptors)."""
        if execution != "compiled":
            raise ImportError(execution)
        from hotpath.flush_loop import start  # noqa: PLC0415  only there if it was compiled

        self.under_way = False
        requests_fd, self._requests_fd = os.pipe()
        self._results_fd, results_fd = os.pipe()
        try:
            start(requests_fd, results_fd)
        except OSError:
            for fd in (requests_fd, self._requests_fd, self._results_fd, results_fd):
                os.close(fd)
            raise
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: Callable[[OSError | None], None] = _nobody

    def submit(self, fd: int, ended: Callable[[OSError | None], None]) -> None:
        """Flush a file; `ended` is called in the event loop with the error, if there was one."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            loop.add_reader(self._results_fd, self._result_there)
        self.under_way = True
        self._ended = ended
        os.write(self._requests_fd, fd.to_bytes(INT_BYTES, sys.byteorder))

    def leave_loop(self) -> None:
        """Have the event loop wait for nothing any more: from here on `wait` does."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._results_fd)
        # uvloop has made it another.
        os.set_blocking(self._results_fd, True)

    def wait(self) -> OSError | None:
        """Wait for what is under way, in another thread than the loop's, which is told; return the error too."""
        error = self._read_result()
        if self._loop is not None:
            # RuntimeError: the loop was closed meanwhile, so nobody is left to be told.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended, error)
        return error

    def close(self) -> None:
        """End the thread; nothing is under way any more."""
        os.close(self._requests_fd)
        os.close(self._results_fd)

    def _result_there(self) -> None:
        self.under_way = False
        self._ended(self._read_result())

    def _read_result(self) -> OSError | None:
        result = os.read(self._results_fd, INT_BYTES)
        if len(result) < INT_BYTES:
            return OSError(errno.EPIPE, "the thread that flushes has ended")
        error = int.from_bytes(result, sys.byteorder)
        return OSError(error, os.strerror(error)) if error else None


def _nobody(error: OSError | None) -> None:
    """Nothing was submitted."""
