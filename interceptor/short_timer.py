"""A timer for less than a millisecond, which is the least that the event loop's own timers can tell.

Linux's timerfd, watched like a socket.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class ShortTimer:
    """Calls `due` once after each `start`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Callable[[], None]) -> None:
        """Raises OSError where the system has no such timers."""
        self._loop = loop
        self._due = due
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._timer = _Timer()
        self.running = False
        loop.add_reader(self._fd, self._ready)

    def start(self, delay_us: int) -> None:
        """Begin to wait so long, at least 1, unless it waits already."""
        if not self.running:
            self.running = True
            self._set(delay_us)

    def stop(self) -> None:
        """Take a start back."""
        if self.running:
            self.running = False
            self._set(0)

    def _set(self, delay_us: int) -> None:
        value = self._timer.value
        value.seconds, value.nanoseconds = delay_us // 1_000_000, delay_us % 1_000_000 * 1000
        self._settime(self._fd, 0, ctypes.byref(self._timer), None)

    def close(self) -> None:
        """Release the timer. Can be called twice."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self.running = False

    def _ready(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            # It was taken back in the same turn of the loop.
            return
        if self.running:
            self.running = False
            self._due()
