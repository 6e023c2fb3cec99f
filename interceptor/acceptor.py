"""Accepting where a connection needs something before its first request: a PROXY header, a TLS handshake, or both.

Until that is done it counts as a connection, has `handshake_timeout_s`, and holds no more than the kernel's buffers.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from interceptor.client import ClientConnection
from interceptor.counters import Counters
from interceptor.server_tls import ServerTls
from interceptor.tasks import TaskGroup
from interceptor.wire.proxy_protocol import V2_BYTES_MAX, ProxyHeaderError, ProxyHeaderReader

logger = logging.getLogger(__name__)

# So many connections are accepted before others get their turn.
ACCEPTS_PER_TURN = 64
# Without a free descriptor the queue waits for so long.
NO_DESCRIPTOR_PAUSE_S = 0.1
SHUTDOWN_TIMEOUT_S = 5.0

MakeClient = Callable[[bytes | None, bytes], ClientConnection]


class Acceptor:
    """Accepts on `listening` and makes clients: `make_client(address, scheme)`, the address as a PROXY header says."""

    def __init__(
        self, listening: socket.socket, counters: Counters, handshake_timeout_s: float,
        *, tls: ServerTls | None, proxy_protocol: bool, has_room: Callable[[], bool], make_client: MakeClient,
    ) -> None:  # fmt: skip
        self._listening = listening
        self._counters = counters
        self._timeout_s = handshake_timeout_s
        self._tls = tls
        self._proxy_protocol = proxy_protocol
        self._has_room = has_room
        self._make_client = make_client
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskGroup("acceptor")
        self._closed = False
        # Connections that are not clients yet.
        self.preparing = 0

    def start(self) -> None:
        """Accept from now on."""
        if not self._closed:
            self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Accept no more."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening)

    async def abort(self) -> None:
        """Cut what is being prepared."""
        await self._tasks.cancel_all()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, _peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                logger.warning("can't accept a connection: %s", error)
                self._loop.remove_reader(self._listening)
                self._loop.call_later(NO_DESCRIPTOR_PAUSE_S, self.start)
                return
            if not self._has_room():
                self._counters.limits_reached["connections_max"] += 1
                accepted.close()
                continue
            accepted.setblocking(False)
            if accepted.family != socket.AF_UNIX:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.preparing += 1
            self._tasks.start(self._prepare(accepted))

    async def _prepare(self, accepted: socket.socket) -> None:
        handed_over = False
        try:
            async with asyncio.timeout(self._timeout_s):
                address = await self._read_proxy_header(accepted) if self._proxy_protocol else None
                handed_over = True
                await self._hand_over(accepted, address)
        except ProxyHeaderError as error:
            self._counters.handshakes_failed["proxy"] += 1
            logger.debug("a connection is refused: %s", error)
        except TimeoutError:
            self._counters.limits_reached["handshake_timeout_s"] += 1
        except (OSError, ssl.SSLError) as error:
            # The peer's mistakes are counted, not shown: anybody could fill the log with them.
            self._counters.handshakes_failed["tls" if handed_over else "proxy"] += 1
            logger.debug("a connection ended before its first request: %s", error)
        finally:
            self.preparing -= 1
            if not handed_over:
                accepted.close()

    async def _hand_over(self, accepted: socket.socket, address: bytes | None) -> None:
        if self._tls is None:
            await self._loop.connect_accepted_socket(lambda: self._make_client(address, b"http"), accepted)
            return
        await self._loop.connect_accepted_socket(
            lambda: self._make_client(address, b"https"), accepted, ssl=self._tls.context,
            ssl_handshake_timeout=self._timeout_s, ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )  # fmt: skip

    async def _read_proxy_header(self, accepted: socket.socket) -> bytes | None:
        """Take the header, and not a byte behind it: that belongs to TLS or HTTP."""
        reader = ProxyHeaderReader()
        while not reader.complete:
            await self._readable(accepted)
            seen = accepted.recv(V2_BYTES_MAX, socket.MSG_PEEK)
            if not seen:
                raise ProxyHeaderError("the connection ended within the PROXY header")
            accepted.recv(reader.feed(seen))
        return reader.client.encode() if reader.client is not None else None

    async def _readable(self, accepted: socket.socket) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(accepted, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(accepted)
