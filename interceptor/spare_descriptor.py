"""A second descriptor of a connection, for what it still holds when its transport has given it up.

Who closes a connection while more is on its way to it resets it (RFC 9112 §9.6).  Our next write fails then, perhaps
before the last answer was read, and the transport forgets that answer.  The kernel keeps it as long as a descriptor is
open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator

READ_BYTES_MAX = 256 * 1024


class SpareDescriptor:
    """Of a transport's socket; of an encrypted one there is none, because the transport alone could decrypt it."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        connected = transport.get_extra_info("socket")
        self._fd = -1
        if connected is not None and transport.get_extra_info("sslcontext") is None:
            # Where no descriptor is left it goes without.
            with contextlib.suppress(OSError):
                self._fd = os.dup(connected.fileno())

    def read(self) -> Iterator[bytes]:
        """Yield what had come before the connection broke."""
        try:
            while self._fd >= 0 and (data := os.read(self._fd, READ_BYTES_MAX)):
                yield data
        except OSError:
            # Nothing is left: EAGAIN, or the reset itself.
            return

    def close(self) -> None:
        """Release it. Can be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
