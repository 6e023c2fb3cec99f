"""Accepting: who finds no room is closed at once; a PROXY header and a TLS handshake come before the first request.

Until these are done it counts as a connection, has `handshake_timeout_s`, and holds no more than the kernel's buffers.

The event loop's own server is not used.  It accepts whatever is queued in one turn (thousands, in a flood) before any
of them is counted, so that neither a limit nor the latency of others would hold.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from interceptor.client import ClientConnection
from interceptor.connection_room import UNKNOWN_PEER, ConnectionRoom, Place
from interceptor.counters import Counters
from interceptor.server_tls import ServerTls
from interceptor.tasks import TaskGroup
from interceptor.wire.proxy_protocol import V2_BYTES_MAX, ProxyHeaderError, ProxyHeaderReader

logger = logging.getLogger(__name__)

# So many connections are accepted before others get their turn: about 2 ms.
ACCEPTS_PER_TURN = 16
# Without a free descriptor the queue waits for so long.
NO_DESCRIPTOR_PAUSE_S = 0.1
SHUTDOWN_TIMEOUT_S = 5.0

MakeClient = Callable[[Place, bytes], ClientConnection]


class Acceptor:
    """Accepts on `listening` and makes clients: `make_client(place, scheme)`."""

    def __init__(
        self, listening: socket.socket, counters: Counters, handshake_timeout_s: float,
        *, tls: ServerTls | None, proxy_protocol: bool, room: ConnectionRoom, make_client: MakeClient,
    ) -> None:  # fmt: skip
        self._listening = listening
        self._counters = counters
        self._timeout_s = handshake_timeout_s
        self._tls = tls
        self._proxy_protocol = proxy_protocol
        self._room = room
        self._make_client = make_client
        self._loop = asyncio.get_running_loop()
        # Who has a header or a handshake to give may take long, and is cut at the end; who has neither is soon there.
        self._preparing = TaskGroup("acceptor")
        self._connecting = TaskGroup("acceptor")
        self._closed = False

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
        """Cut what is being prepared; who was accepted and has nothing to prepare becomes a client."""
        await self._preparing.cancel_all()
        await self._connecting.finish_all()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                logger.warning("can't accept a connection: %s", error)
                self._loop.remove_reader(self._listening)
                self._loop.call_later(NO_DESCRIPTOR_PAUSE_S, self.start)
                return
            # With the PROXY protocol the peer is a balancer, and the header names the client.
            named = isinstance(peer, tuple) and not self._proxy_protocol
            place = self._room.take(peer[0].encode() if named else UNKNOWN_PEER)
            if place is None:
                accepted.close()
                continue
            accepted.setblocking(False)
            if accepted.family != socket.AF_UNIX:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tasks = self._preparing if self._tls is not None or self._proxy_protocol else self._connecting
            tasks.start(self._prepare(accepted, place))

    async def _prepare(self, accepted: socket.socket, place: Place) -> None:
        handed_over = prepared = False
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._proxy_protocol and not await self._read_proxy_header(accepted, place):
                    return
                handed_over = True
                await self._hand_over(accepted, place)
                prepared = True
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
            if not prepared:
                place.give_back()
            if not handed_over:
                accepted.close()

    async def _hand_over(self, accepted: socket.socket, place: Place) -> None:
        client = self._make_client(place, b"http" if self._tls is None else b"https")
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(lambda: client, accepted)
                return
            await self._loop.connect_accepted_socket(
                lambda: client, accepted, ssl=self._tls.context,
                ssl_handshake_timeout=self._timeout_s, ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )  # fmt: skip
        except BaseException:
            # Ended between the client's connection_made and here, uvloop closes the transport and tells nobody.
            client.connection_lost(None)
            raise

    async def _read_proxy_header(self, accepted: socket.socket, place: Place) -> bool:
        """Take the header, and not a byte behind it: that belongs to TLS or HTTP.  Return whether there is room."""
        reader = ProxyHeaderReader()
        while not reader.complete:
            await self._readable(accepted)
            seen = accepted.recv(V2_BYTES_MAX, socket.MSG_PEEK)
            if not seen:
                raise ProxyHeaderError("the connection ended within the PROXY header")
            accepted.recv(reader.feed(seen))
        if reader.client is not None:
            return place.rename(reader.client.encode())
        # A balancer's own connection (LOCAL, UNKNOWN): the peer is the client.
        peer = accepted.getpeername()
        return place.rename(peer[0].encode()) if isinstance(peer, tuple) else True

    async def _readable(self, accepted: socket.socket) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(accepted, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(accepted)
