"""The listener: accepts clients, knows them all, and ends those that take too long or too much."""

from __future__ import annotations

import asyncio
import socket
from operator import attrgetter
from time import monotonic

from interceptor.acceptor import Acceptor
from interceptor.address import Address, UnixAddress
from interceptor.admission import Admission
from interceptor.client import ClientConnection
from interceptor.client_transport import ClientTransport
from interceptor.connection_room import ConnectionRoom
from interceptor.counters import Counters
from interceptor.limits import Limits
from interceptor.listening_sockets import ListeningSockets
from interceptor.passages import Passages
from interceptor.release_gate import ReleaseGate
from interceptor.routing import Router
from interceptor.server_tls import ServerTls

# Every client is looked at about so often, but only so many in one turn of the event loop: well below a millisecond.
SWEEP_S = 1.0
SWEPT_PER_TURN = 64


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
        self._room = ConnectionRoom(limits, counters)
        self._listening: ListeningSockets | None = None
        self._acceptors: list[Acceptor] = []
        self._tls: ServerTls | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._unswept: list[ClientTransport] = []
        self._sweep_pause_s = SWEEP_S
        self._quiet: asyncio.Future[None] | None = None
        self._cutting = False

    @property
    def connections(self) -> int:
        """How many clients are connected, those included that have not finished their handshake."""
        return self._room.taken

    async def start(
        self,
        address: Address | UnixAddress,
        *,
        unix_mode: int = 0o660,
        tls: ServerTls | None = None,
        proxy_protocol: bool = False,
    ) -> Address | UnixAddress:
        """Listen; return the address with the real port.  Raises ConfigurationError."""
        self._listening = await ListeningSockets.open(address, "--listen", unix_mode)
        self._tls = tls
        for opened in self._listening.sockets:
            self._accept_on(opened, proxy_protocol)
        if tls is not None:
            tls.watch()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        return self._listening.address

    def _accept_on(self, opened: socket.socket, proxy_protocol: bool) -> None:
        acceptor = Acceptor(
            opened,
            self.counters,
            self.limits.handshake_timeout_s,
            tls=self._tls,
            proxy_protocol=proxy_protocol,
            room=self._room,
            make_client=lambda place, scheme: ClientConnection(self, place, scheme),
        )
        acceptor.start()
        self._acceptors.append(acceptor)

    def opened(self, client: ClientTransport) -> None:
        """A client has connected."""
        self.counters.connections_opened += 1
        self._clients.add(client)

    def closed(self, client: ClientTransport) -> None:
        """A client's connection has ended; may be told twice."""
        self._clients.discard(client)
        client.place.give_back()
        if self._quiet is not None and not self._clients and not self._quiet.done():
            self._quiet.set_result(None)

    def cut_soon(self, client: ClientTransport) -> None:
        """Cut a client once those who are at work with it have returned."""
        asyncio.get_running_loop().call_soon(client.abort)

    def cut_slowest(self) -> None:
        """Answers take too much memory: soon cut those for whom most waits, until they do no more."""
        if not self._cutting:
            self._cutting = True
            asyncio.get_running_loop().call_soon(self._cut_slowest)

    def _cut_slowest(self) -> None:
        self._cutting = False
        while self.gate.budget.memory_is_full and self._clients:
            slowest = max(self._clients, key=attrgetter("answer_bytes"))
            if not slowest.answer_bytes:
                return
            self.counters.limits_reached["answers_memory_bytes_max"] += 1
            slowest.abort()

    def stop_accepting(self) -> None:
        """Close the listening sockets; what is connected goes on."""
        for acceptor in self._acceptors:
            acceptor.close()
        if self._tls is not None:
            self._tls.close()
        if self._listening is not None:
            self._listening.close()

    def close_idle(self) -> None:
        """Close connections without a request, and the others after their present answers."""
        for client in list(self._clients):
            client.close_when_idle()

    async def wait_until_quiet(self, deadline_s: float) -> None:
        """Wait until every client has its answers and is gone.  Raises TimeoutError at `deadline_s` (monotonic)."""
        for acceptor in self._acceptors:
            await acceptor.abort()
        # Once more, for those who were being accepted the first time.
        self.close_idle()
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
        if not self._unswept:
            self._unswept = list(self._clients)
            self._sweep_pause_s = SWEEP_S / (len(self._unswept) // SWEPT_PER_TURN + 1)
        for client in self._unswept[-SWEPT_PER_TURN:]:
            if client in self._clients:
                client.sweep(now_s)
        del self._unswept[-SWEPT_PER_TURN:]
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep_pause_s, self._sweep)
