"""The process that serves the ordered connection, where it can be seen, and its end.

A prefork server's master keeps the listening socket when the worker that holds the state dies, so the socket tells
nothing.  The process that accepted our connection does: its end is the end of the memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from interceptor.target.connection_owner import serving_identity
from interceptor.target.detection import DeathDetector
from interceptor.target.program import takes_turns


class ServingProcess:
    """`on_exit(pid)` is called when it ends after `settle`.  `gone` stays true until `forget`.

    Before that it holds nothing of ours: if it ends while the target is still waited for, it is forgotten.
    """

    def __init__(self, on_exit: Callable[[int], None] | None = None) -> None:
        self.pid: int | None = None
        self.identity: str | None = None
        # Its program is one whose servers take pipelined requests in turn.
        self.takes_turns = False
        self.gone = False
        self.on_exit = on_exit
        self._settled = False
        self._pidfd: int | None = None

    @property
    def is_known_alive(self) -> bool:
        """It was seen, and has not ended."""
        return self._pidfd is not None and not self.gone

    def watch(self, pid: int) -> None:
        """It is this process; its end counts from now on."""
        self.forget()
        try:
            self._pidfd = os.pidfd_open(pid)
            self.identity = serving_identity(pid)
            self.takes_turns = takes_turns(pid)
        except OSError:
            self.forget()
            return
        self.pid = pid
        asyncio.get_running_loop().add_reader(self._pidfd, self._exited)

    def settle(self) -> None:
        """The target is ready: from now on the end of this process is the end of the incarnation."""
        self._settled = True

    def forget(self) -> None:
        """The incarnation is over, or another one is looked for."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self.pid = self.identity = None
        self.gone = self._settled = self.takes_turns = False

    def _exited(self) -> None:
        assert self._pidfd is not None
        if not self._settled:
            self.forget()
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self.gone = True
        if self.on_exit is not None and self.pid is not None:
            self.on_exit(self.pid)


class ServedDetector:
    """A detector that also takes the end of the serving process for the end of the incarnation."""

    def __init__(self, detector: DeathDetector, serving: ServingProcess) -> None:
        self._detector = detector
        self._serving = serving

    @property
    def awaits_connection(self) -> bool:
        """See DeathDetector."""
        return self._detector.awaits_connection

    async def ask(self) -> bool:
        """See DeathDetector."""
        return await self._detector.ask()

    def look(self) -> str | None:
        """See DeathDetector."""
        return None if self._serving.gone else self._detector.look()

    def connection_lost(self) -> None:
        """A process that is known to live has its memory: it has only closed a connection."""
        if not self._serving.is_known_alive:
            self._detector.connection_lost()

    def close(self) -> None:
        """See DeathDetector."""
        self._serving.forget()
        self._detector.close()
