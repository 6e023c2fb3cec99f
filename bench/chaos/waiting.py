"""Waiting for what nobody tells: a file that appears, a socket that listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

POLL_S = 0.002


async def until(condition: Callable[[], object], timeout_s: float) -> None:
    """Return as soon as the condition holds.  Raises TimeoutError."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        if condition():
            return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {timeout_s:g} s")
        await asyncio.sleep(POLL_S)
