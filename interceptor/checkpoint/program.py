"""A program that is run to its end beside the event loop, which its pidfd tells of it.

Started by subprocess.Popen without anything of Python between fork and exec: that is a vfork, which costs a millisecond
whatever our memory, and can't meet a lock that another thread of ours holds.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence


class Program:
    """A started program; it has to be waited for."""

    def __init__(
        self, command: Sequence[str], *, output: int = subprocess.DEVNULL, pass_fds: Sequence[int] = ()
    ) -> None:
        """output: a descriptor for what it writes.  Raises OSError where it can't be executed."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=pass_fds
        )  # fmt: skip
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def ended(self) -> bool:
        """Whether `wait` has seen its end."""
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Return its exit code; when cancelled, it runs on.  For one at a time."""
        if self._process.returncode is not None:
            return self._process.returncode
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        return self._process.wait()

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
