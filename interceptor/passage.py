"""What goes past the log: safe reads under --record unsafe, bypassed routes, upgrades, and the admin on the same port.

Each has a connection to the target to itself while it lasts; reads take theirs from a pool.  Design rule 2 holds here
too: what the target sends is passed on once everything that was delivered before it is durable, because it may show
effects of that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, cast

from interceptor.address import Address
from interceptor.answer_stream import AnswerStream
from interceptor.counters import Counters
from interceptor.exchange import Exchange
from interceptor.limits import Limits
from interceptor.release_gate import ReleaseGate
from interceptor.routing import SAFE_METHODS, Route
from interceptor.tasks import TaskGroup
from interceptor.wire.answer import Answer, AnswerReader
from interceptor.wire.errors import AnswerError
from interceptor.wire.request import Request

if TYPE_CHECKING:
    from interceptor.admission import Admission
    from interceptor.client import ClientConnection

# A safe request may be sent again by a proxy (RFC 9110 §9.2.2): once for a pooled connection that the target had
# closed meanwhile, and once more after a recovery.
ATTEMPTS_MAX = 4
# Raw bytes that wait at the gate for one connection; beyond it nothing more is read from the target.
GATED_BYTES_MAX = 256 * 1024


class PassedExchange(Exchange):
    """An unrecorded request with its client.  `tunnelled` once both sides have left HTTP."""

    __slots__ = ("attempts", "head", "passage", "pieces", "pooled", "request", "route", "tunnelled", "uploaded")

    def __init__(
        self, client: ClientConnection, counters: Counters, request: Request, head: bytes, route: Route
    ) -> None:
        super().__init__(
            client,
            counters,
            http11=request.version_minor == 1,
            keep_alive=request.keep_alive,
            is_head_request=request.method == b"HEAD",
        )
        self.request = request
        # The expectation is the application's to meet: only it knows whether it wants the content (RFC 9110 §10.1.1).
        self.head = head[:-2] + b"Expect: 100-continue\r\n\r\n" if request.expects_continue else head
        self.route = route
        self.uploaded = not request.has_body
        self.tunnelled = False
        # Whether it counts among the reads of the pool; how often the target has sent something.
        self.pooled = False
        self.pieces = 0
        self.attempts = 0
        self.passage: Passage | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.head)

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again: safe, without content, and its client has got nothing yet."""
        safe = self.request.method in SAFE_METHODS and not self.request.has_body and self.route is not Route.UPGRADE
        return safe and (self.stream is None or not self.stream.touched)

    def write_upload(self, data: bytes) -> None:
        """Pass content of the request, or bytes of the tunnel, to the target."""
        if self.passage is not None:
            self.passage.write(data)

    def client_ended(self) -> bool:
        """The client has ended its sending side; return whether its connection stays open."""
        if self.passage is None:
            # Asked again when there is one.
            return True
        if self.tunnelled or self.route is Route.BYPASS:
            # What that means is for the application to say, as if the client had been its own.
            self.passage.write_eof()
            # If the target now closes, it is because of that, and no reason to ask again.
            self.attempts = ATTEMPTS_MAX
            return True
        if not self.uploaded:
            self.abandon()
        return self.uploaded

    def refuse(self, status: int, detail: str, retry_after_s: int | None = None) -> None:
        if self.client is not None and self.client.uploading(self):
            # What is still to come of the content must not be taken for the next request.
            self.keep_alive = False
        super().refuse(status, detail, retry_after_s)

    def abandon(self) -> None:
        """Cut the connection to the target."""
        passage, self.passage = self.passage, None
        if passage is not None:
            passage.abort()

    def client_gone(self) -> None:
        super().client_gone()
        self.abandon()

    def drained(self) -> None:
        if self.passage is not None:
            self.passage.resume()


class Passages:
    """Opens, pools and counts the connections beside the lane."""

    def __init__(
        self,
        target: Address,
        gate: ReleaseGate,
        limits: Limits,
        counters: Counters,
        delivered_version: Callable[[], int],
    ) -> None:
        self.admission: Admission
        self.admin_socket: str | None = None
        self.on_target_unreachable: Callable[[], None] = _ignore
        self.on_idle: Callable[[], None] | None = None
        self.gate = gate
        self.limits = limits
        self.counters = counters
        self.delivered_version = delivered_version
        self._target = target
        self._idle: deque[tuple[float, Passage]] = deque()
        self._queue: deque[PassedExchange] = deque()
        self._reads = 0
        self._open: set[Passage] = set()
        self._tasks = TaskGroup("passages")

    @property
    def reads_in_flight(self) -> int:
        """Pooled requests that a drain waits for."""
        return self._reads

    @property
    def tunnels(self) -> int:
        """Connections that have left HTTP."""
        return sum(1 for passage in self._open if passage.tunnelled)

    def start(self, exchange: PassedExchange) -> None:
        """Send the request on its way."""
        if exchange.client is None:
            return
        if exchange.route is Route.READ:
            if self._reads >= self.limits.pool_connections_max:
                self.counters.limits_reached["pool_connections_max"] += 1
                self._queue.append(exchange)
                return
            self._reads += 1
            exchange.pooled = True
        if exchange.attempts == 0:
            self._count(exchange.route)
        exchange.attempts += 1
        # What can't be sent again must not run into a connection that the target is about to close.
        if exchange.route is Route.READ and exchange.attempts == 1 and exchange.repeatable:
            passage = self._take_idle()
            if passage is not None:
                passage.begin(exchange)
                return
        self._tasks.start(self._connect(exchange))

    def ended(self, passage: Passage, exchange: PassedExchange, *, reusable: bool) -> None:
        """An exchange is over; its connection may serve another read."""
        if exchange.route is Route.READ and reusable:
            self._idle.append((monotonic(), passage))
        self.release(exchange)

    def broke(self, exchange: PassedExchange, detail: str) -> None:
        """The target's connection was lost before the answer was complete, or could not be made."""
        self.release(exchange)
        if exchange.client is None:
            return
        if exchange.route is not Route.ADMIN:
            self.on_target_unreachable()
        if exchange.repeatable and exchange.attempts < ATTEMPTS_MAX:
            if exchange.stream is not None:
                exchange.stream.close()
                exchange.stream = None
            self.admission.put_back(exchange)
            return
        exchange.refuse(502, detail)

    def forget(self, passage: Passage) -> None:
        """A connection has closed."""
        self._open.discard(passage)
        self._idle = deque(item for item in self._idle if item[1] is not passage)

    def close_idle(self) -> None:
        """Close the pool: the incarnation is over, or a checkpoint wants no connection open."""
        idle, self._idle = self._idle, deque()
        for _, passage in idle:
            passage.abort()

    async def close(self) -> None:
        """Cut everything."""
        await self._tasks.cancel_all()
        for passage in list(self._open):
            passage.abort()

    def _count(self, route: Route) -> None:
        if route is Route.READ:
            self.counters.unrecorded += 1
        elif route is Route.BYPASS:
            self.counters.bypassed += 1
        elif route is Route.UPGRADE:
            self.counters.tunnels += 1

    def _take_idle(self) -> Passage | None:
        # The newest first; what has been idle for long is not used again, so that the race with the server's own
        # keep-alive timeout is not run.
        while self._idle:
            since_s, passage = self._idle.pop()
            if monotonic() - since_s < self.limits.lane_idle_max_s and passage.usable:
                return passage
            passage.abort()
        return None

    def release(self, exchange: PassedExchange) -> None:
        """A read is over, or was given up: the next one may go; may be told twice."""
        if not exchange.pooled:
            return
        exchange.pooled = False
        self._reads -= 1
        while self._queue and self._reads < self.limits.pool_connections_max:
            self.start(self._queue.popleft())
        if self._reads == 0 and self.on_idle is not None:
            self.on_idle()

    async def _connect(self, exchange: PassedExchange) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.connect_timeout_s):
                if exchange.route is Route.ADMIN:
                    _, passage = await loop.create_unix_connection(lambda: Passage(self), self.admin_socket)
                else:
                    _, passage = await loop.create_connection(
                        lambda: Passage(self), self._target.host, self._target.port
                    )
        except (OSError, TimeoutError) as error:
            self.broke(exchange, f"no connection to {self._target}: {error}")
            return
        self._open.add(passage)
        if exchange.client is None:
            passage.abort()
            self.release(exchange)
            return
        passage.begin(exchange)


class Passage(asyncio.Protocol):
    """A connection to the target that carries one exchange at a time."""

    def __init__(self, passages: Passages) -> None:
        self._passages = passages
        self._reader = AnswerReader(passages.limits.answer_head_bytes_max)
        self._exchange: PassedExchange | None = None
        self._answer: Answer | None = None
        self._gated: deque[tuple[int, bytes]] = deque()
        self._gated_bytes = 0
        self._reading_paused = False
        self._ended: tuple[Exception | None] | None = None
        self.tunnelled = False

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._ended is None and not self._transport.is_closing()

    def begin(self, exchange: PassedExchange) -> None:
        """Carry this exchange."""
        self._exchange = exchange
        self._answer = None
        exchange.passage = self
        self._transport.write(exchange.head)
        if exchange.client is not None:
            exchange.client.open_upload(exchange)

    def write(self, data: bytes) -> None:
        """Send content of the request, or bytes of the tunnel."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def write_eof(self) -> None:
        """End our sending side: the client has ended its own."""
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def resume(self) -> None:
        """The client takes more."""
        if self._reading_paused and not self._gated and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Cut the connection; the exchange is not told."""
        exchange = self._exchange
        self._take_off()
        self._transport.abort()
        if exchange is not None:
            self._passages.release(exchange)

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        if self._exchange is not None and self._exchange.client is not None:
            self._exchange.client.pause_upload()

    def resume_writing(self) -> None:
        if self._exchange is not None and self._exchange.client is not None:
            self._exchange.client.resume_upload()

    def data_received(self, data: bytes) -> None:
        gate, version = self._passages.gate, self._passages.delivered_version()
        if not self._gated and gate.is_open(version):
            self._take(data)
            return
        # It may show effects of everything that was delivered until now.
        self._gated.append((version, data))
        self._gated_bytes += len(data)
        if self._gated_bytes > GATED_BYTES_MAX:
            self._pause_reading()
        if len(self._gated) == 1:
            gate.after(version, self._pass_gated, self._drop_gated)

    def connection_lost(self, exc: Exception | None) -> None:
        self._passages.forget(self)
        self._ended = (exc,)
        if not self._gated:
            self._finish_lost()

    # --- the gate

    def _pass_gated(self) -> None:
        gate = self._passages.gate
        while self._gated and gate.is_open(self._gated[0][0]):
            _, data = self._gated.popleft()
            self._gated_bytes -= len(data)
            self._take(data)
        if self._gated:
            gate.after(self._gated[0][0], self._pass_gated, self._drop_gated)
        elif self._ended is not None:
            self._finish_lost()
        else:
            self.resume()

    def _drop_gated(self) -> None:
        """The log has failed: what was read may show what is not durable, so nobody gets it (design rule 9)."""
        self._gated.clear()
        self._gated_bytes = 0
        client = self._exchange.client if self._exchange is not None else None
        self.abort()
        if client is not None:
            client.abort()

    # --- answers

    def _take(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.client is None:
            # Nobody asked for this: the connection can't be trusted.
            self.abort()
            return
        exchange.pieces += 1
        if self.tunnelled:
            self._relay(exchange.client, data)
            return
        self._reader.feed(data)
        try:
            self._read(exchange)
        except AnswerError as error:
            self._take_off()
            self._transport.abort()
            self._fail(exchange, f"the target's answer is malformed: {error.reason}")

    def _read(self, exchange: PassedExchange) -> None:
        reader = self._reader
        while self._exchange is exchange:
            if self._answer is None:
                answer = reader.read_head(exchange.is_head_request)
                if answer is None:
                    return
                if answer.status == 101:
                    self._switch(exchange, answer)
                    return
                stream = self._open_stream(exchange)
                if answer.interim:
                    if exchange.http11 and (answer.status != 100 or exchange.request.expects_continue):
                        stream.put_interim(answer.head)
                    continue
                self._answer = answer
                if answer.closes and exchange.client is not None and exchange.client.uploading(exchange):
                    # An early answer: nobody will read the rest of the request (RFC 9112 §9.5).
                    exchange.keep_alive = False
                stream.begin(answer)
            piece = reader.read_piece()
            if piece and exchange.stream is not None and exchange.stream.put(piece):
                self._pause_reading()
            if self._exchange is not exchange:
                return
            if reader.complete:
                self._complete(exchange)
            elif not piece:
                return

    def _open_stream(self, exchange: PassedExchange) -> AnswerStream:
        if exchange.stream is None:
            limits = self._passages.limits
            exchange.stream = AnswerStream(exchange, limits.answer_memory_bytes_max, limits.answer_spool_bytes_max)
            exchange.stream.release()
        return exchange.stream

    def _complete(self, exchange: PassedExchange) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        assert exchange.stream is not None
        uploading = exchange.client is not None and exchange.client.uploading(exchange)
        reusable = not answer.closes and not uploading and self._reader.buffered_bytes == 0
        self._take_off()
        if uploading:
            exchange.keep_alive = False
        counters = self._passages.counters
        counters.answers_by_class[answer.status // 100] += 1
        counters.request.observe(monotonic() - exchange.arrived_s)
        if uploading:
            # What waits to be written would keep it open for as long as the target does not read.
            self._transport.abort()
        elif not reusable or exchange.route is not Route.READ:
            self._transport.close()
            reusable = False
        self._passages.ended(self, exchange, reusable=reusable)
        exchange.stream.end(self._reader.trailers)

    def _switch(self, exchange: PassedExchange, answer: Answer) -> None:
        if exchange.route is not Route.UPGRADE or exchange.client is None:
            raise AnswerError("101 to a request that asked for no upgrade (RFC 9110 §15.2.2)")
        client = exchange.client
        self.tunnelled = exchange.tunnelled = True
        client.write(b"%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (answer.head[:-2], answer.upgrade))
        rest = self._reader.take_rest()
        if rest:
            client.write(rest)
        client.open_upload(exchange)

    def _relay(self, client: ClientConnection, data: bytes) -> None:
        client.write(data)
        if client.write_blocked:
            self._pause_reading()

    # --- the end

    def _take_off(self) -> None:
        """Part from the exchange."""
        if self._exchange is not None:
            self._exchange.passage = None
            self._exchange = None

    def _finish_lost(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        client = exchange.client
        clean = self._ended is not None and self._ended[0] is None
        if self.tunnelled:
            self._take_off()
            if client is not None:
                client.close_tunnel()
            return
        if clean and self._answer is not None and self._reader.end_of_stream():
            self._complete(exchange)
            return
        self._take_off()
        self._fail(exchange, "the target closed the connection before its answer was complete")

    def _fail(self, exchange: PassedExchange, detail: str) -> None:
        self._answer = None
        self._passages.broke(exchange, detail)

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()


def _ignore() -> None:
    """Nobody listens yet."""
