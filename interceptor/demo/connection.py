"""One keep-alive HTTP/1.1 connection that never repeats a request.

Ordinary client libraries send a request again when a kept-alive connection breaks, which would hide exactly what the
demonstration is there to show.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NamedTuple

from interceptor.demo.errors import RequestFailedError

HOST = "127.0.0.1"
# Longer than the interceptor holds a request (hold_time_max_s): its 503 is to be seen, not cut off.
ANSWER_TIMEOUT_S = 45.0

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class Answer(NamedTuple):
    """A status and a body."""

    status: int
    body: bytes


class Connection:
    """Sends one request after the other; connects at the first, and again after a failure."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, target: str) -> Answer:
        """Send once, return the answer whatever its status.  Raises RequestFailedError."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._exchange(method, target)
        except TimeoutError as error:
            self.close()
            raise RequestFailedError(f"{method} {target}: no answer in {ANSWER_TIMEOUT_S:g} s") from error
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            self.close()
            raise RequestFailedError(f"{method} {target}: {error or type(error).__name__}") from error
        except asyncio.CancelledError:
            # What is still under way would be taken for the answer to the next request.
            self.close()
            raise

    async def json(self, target: str) -> Any:
        """Return the decoded answer to a GET.  Raises RequestFailedError, also for any status but 200."""
        answer = await self.request("GET", target)
        if answer.status != 200:
            raise RequestFailedError(f"GET {target}: {answer.status}: {answer.body[:200]!r}")
        return json.loads(answer.body)

    def close(self) -> None:
        """Drop the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, method: str, target: str) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        writer.write(f"{method} {target} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\n{length}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status, size = _STATUS.match(head), _LENGTH.search(head)
        if status is None or size is None:
            raise OSError(f"an answer without status or length: {head[:100]!r}")
        body = await reader.readexactly(int(size[1]))
        if _CLOSE.search(head):
            self.close()
        return Answer(int(status[1]), body)
