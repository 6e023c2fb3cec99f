"""Is the target ready to be projected into?  One attempt at a time; `judgement.wait_for_target` repeats it.

By default it is once it accepts a connection and lets it stand: a connection in the kernel's queue says only
that somebody will listen, and a forwarder in front of an application that still starts accepts and closes.  With a
path, once it answers a GET of it with 2xx.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from interceptor.address import Target
from interceptor.target.connection_owner import Acceptance, accepted_inode, owner_of
from interceptor.target.one_get import open_stream
from interceptor.target.serving_process import ServingProcess

logger = logging.getLogger(__name__)

# Long enough for the close or reset of one who accepts only to turn away.
_STANDS_S = 0.003
_QUEUE_POLL_S = 0.001
# A listener that accepts nothing for so long is tried again, by a new connection.
_QUEUED_MAX_S = 1.0
_ANSWER_MAX_S = 5.0


Check = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


class Acceptor(NamedTuple):
    """Who has accepted a connection, as far as that can be seen."""

    owner: int | None


class Readiness(Protocol):
    """What the wait for a target needs to know.  `reason`: why the last attempt failed."""

    reason: str

    async def attempt(self) -> bool:
        """Try once, within seconds; whether the target can take the first event now."""


@dataclass
class TargetReadiness:
    """Asks the target itself.  What it finds out about who accepts goes to `serving`, if that is wanted."""

    target: Target
    path: str | None
    connect_timeout_s: float
    serving: ServingProcess | None
    reason: str = ""

    async def attempt(self) -> bool:
        """See Readiness.  `reason` says why not."""
        found = await self._meet(self._stands)
        if found is None:
            return False
        if self.serving is not None and found.owner is not None:
            # Servers that fork for each connection have another process for the next; it holds no state.
            again = await self._meet(_look_only)
            if again is None:
                return False
            if again.owner == found.owner:
                self.serving.watch(found.owner)
                return await self._asked() and self._still_serves(found.owner)
        return await self._asked()

    async def _asked(self) -> bool:
        return self.path is None or await self._meet(self._answers) is not None

    def _still_serves(self, pid: int) -> bool:
        if self.serving is not None and self.serving.pid == pid:
            return True
        self.reason = f"process {pid}, which accepted connections, has ended"
        return False

    async def _meet(self, check: Check) -> Acceptor | None:
        """Make a connection; return who has accepted it, None if that or the check fails."""
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                reader, writer = await open_stream(self.target)
        except (OSError, TimeoutError) as error:
            self.reason = f"no connection: {str(error) or 'timed out'}"
            return None
        try:
            inode = await self._accepted(reader, writer.get_extra_info("socket"))
            if inode is None:
                return None
            looking = None
            if self.serving is not None and isinstance(inode, int):
                looking = asyncio.get_running_loop().run_in_executor(None, owner_of, inode)
            passed = await check(reader, writer)
            owner = await looking if looking is not None else None
            return Acceptor(owner) if passed else None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, connection: socket.socket) -> int | Acceptance | None:
        for _ in range(int(_QUEUED_MAX_S / _QUEUE_POLL_S)):
            found = accepted_inode(connection)
            if found is not Acceptance.QUEUED:
                return found
            if reader.at_eof():
                self.reason = "it closes connections before it accepts them"
                return None
            await asyncio.sleep(_QUEUE_POLL_S)
        self.reason = "it listens and accepts no connection"
        return None

    async def _stands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            async with asyncio.timeout(_STANDS_S):
                await reader.read(1)
        except TimeoutError:
            return True
        except OSError:
            pass
        self.reason = "it accepts connections and closes them at once"
        return False

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        path = self.path
        request = f"GET {path} HTTP/1.1\r\nHost: {self.target.authority}\r\nConnection: close\r\n\r\n"
        if writer.transport.is_closing():
            # It has died since it accepted: uvloop raises RuntimeError for a write to what is closed.
            self.reason = "it closed the connection before it was asked"
            return False
        try:
            async with asyncio.timeout(_ANSWER_MAX_S):
                writer.write(request.encode())
                line = await reader.readline()
        except (OSError, TimeoutError, ValueError) as error:
            self.reason = f"GET {path}: {str(error) or 'no answer'}"
            return False
        words = line.split(b" ", 2)
        if line.startswith(b"HTTP/1.") and len(words) > 1 and len(words[1]) == 3 and words[1].startswith(b"2"):
            return True
        self.reason = f"GET {path} is answered {line.decode(errors='replace').strip() or 'with a closed connection'!r}"
        return False


async def _look_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    return True
