"""The listener: accepts clients, knows them all, and ends those that take too long."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic

from interceptor.address import Address, UnixAddress
from interceptor.admission import Admission
from interceptor.client import ClientConnection
from interceptor.client_transport import ClientTransport
from interceptor.counters import Counters
from interceptor.limits import Limits
from interceptor.listening_sockets import BACKLOG, ListeningSockets
from interceptor.passages import Passages
from interceptor.release_gate import ReleaseGate
from interceptor.routing import Router

SWEEP_S = 1.0


class Listener:
    """What all client connections share.  `authority` is the target's host and port, for requests that name none."""

    def __init__(
        self,
        admission: Admission,
        gate: ReleaseGate,
        passages: Passages,
        router: Router,
        limits: Limits,
        counters: Counters,
        authority: bytes,
    ) -> None:
        self.admission = admission
        self.gate = gate
        self.passages = passages
        self.router = router
        self.limits = limits
        self.counters = counters
        self.authority = authority
        self.intake_bytes = 0
        # What the path of every request needs, one look-up away.
        self.admit = admission.admit
        self.records_all = router.records_all
        self.pipelined_requests_max = limits.pipelined_requests_max
        self.body_bytes_max = limits.body_bytes_max
        self._clients: set[ClientTransport] = set()
        self._servers: list[asyncio.AbstractServer] = []
        self._listening: ListeningSockets | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._quiet: asyncio.Future[None] | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def start(self, address: Address | UnixAddress) -> Address | UnixAddress:
        """Listen; return the address with the real port.  Raises ConfigurationError."""
        loop = asyncio.get_running_loop()
        self._listening = await ListeningSockets.open(address, "--listen", 0o660)
        for opened in self._listening.sockets:
            serve = loop.create_unix_server if opened.family == socket.AF_UNIX else loop.create_server
            self._servers.append(await serve(lambda: ClientConnection(self), sock=opened, backlog=BACKLOG))
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        return self._listening.address

    def opened(self, client: ClientTransport) -> None:
        """A client has connected."""
        self.counters.connections_opened += 1
        self._clients.add(client)
        if len(self._clients) > self.limits.connections_max:
            self.counters.limits_reached["connections_max"] += 1
            client.abort()

    def closed(self, client: ClientTransport) -> None:
        """A client's connection has ended; may be told twice."""
        self._clients.discard(client)
        if self._quiet is not None and not self._clients and not self._quiet.done():
            self._quiet.set_result(None)

    def stop_accepting(self) -> None:
        """Close the listening sockets; what is connected goes on."""
        for server in self._servers:
            server.close()
        if self._listening is not None:
            self._listening.close()

    def close_idle(self) -> None:
        """Close connections without a request, and the others after their present answers."""
        for client in list(self._clients):
            client.close_when_idle()

    async def wait_until_quiet(self, deadline_s: float) -> None:
        """Wait until every client has its answers and is gone.  Raises TimeoutError at `deadline_s` (monotonic)."""
        if not self._clients:
            return
        self._quiet = asyncio.get_running_loop().create_future()
        await asyncio.wait_for(self._quiet, max(0.0, deadline_s - monotonic()))

    def abort_all(self) -> None:
        """Cut every client."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for client in list(self._clients):
            client.abort()

    def _sweep(self) -> None:
        now_s = monotonic()
        for client in list(self._clients):
            client.sweep(now_s)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
