"""The listener: accepts clients, knows them all, and ends those that take too long."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic

from interceptor.address import Address
from interceptor.admission import Admission
from interceptor.client import ClientConnection
from interceptor.counters import Counters
from interceptor.errors import ConfigurationError
from interceptor.limits import Limits
from interceptor.passages import Passages
from interceptor.release_gate import ReleaseGate
from interceptor.routing import Router

SWEEP_S = 1.0
BACKLOG = 4_096


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
        self._clients: set[ClientConnection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._quiet: asyncio.Future[None] | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def start(self, address: Address) -> Address:
        """Listen; return the address with the real port.  Raises ConfigurationError."""
        loop = asyncio.get_running_loop()
        host = None if address.host in ("", "*") else address.host
        try:
            self._server = await loop.create_server(
                lambda: ClientConnection(self), host, address.port, backlog=BACKLOG, reuse_address=True
            )
        except (OSError, socket.gaierror) as error:
            raise ConfigurationError(f"can't listen on {address}: {error}; choose another --listen") from error
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        return Address(address.host, self._server.sockets[0].getsockname()[1])

    def opened(self, client: ClientConnection) -> None:
        """A client has connected."""
        self.counters.connections_opened += 1
        self._clients.add(client)
        if len(self._clients) > self.limits.connections_max:
            self.counters.limits_reached["connections_max"] += 1
            client.abort()

    def closed(self, client: ClientConnection) -> None:
        """A client's connection has ended; may be told twice."""
        self._clients.discard(client)
        if self._quiet is not None and not self._clients and not self._quiet.done():
            self._quiet.set_result(None)

    def stop_accepting(self) -> None:
        """Close the listening sockets; what is connected goes on."""
        if self._server is not None:
            self._server.close()

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
