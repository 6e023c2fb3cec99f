"""One connection to the target beside the lane, carrying one unrecorded exchange at a time.

What the target sends waits at the gate until everything that was delivered before it is durable (design rule 2).
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, cast

from interceptor.answer_stream import AnswerStream
from interceptor.passed_exchange import ATTEMPTS_MAX, PassedExchange
from interceptor.routing import Route
from interceptor.spare_descriptor import SpareDescriptor
from interceptor.wire.answer import Answer, AnswerReader, Framing
from interceptor.wire.errors import AnswerError

if TYPE_CHECKING:
    from interceptor.client import ClientConnection
    from interceptor.passages import Passages

# Raw bytes that wait at the gate for one connection; beyond it nothing more is read from the target.
GATED_BYTES_MAX = 256 * 1024


def _protocols(field: bytes) -> set[bytes]:
    """Return the names in an Upgrade field; their case does not count (RFC 9110 §7.8)."""
    return {name.strip(b" \t") for name in field.lower().split(b",")} - {b""}


class Passage(asyncio.Protocol):
    """A connection to the target that carries one exchange at a time."""

    def __init__(self, passages: Passages) -> None:
        self._passages = passages
        self._reader = AnswerReader(passages.limits.answer_head_bytes_max)
        self._exchange: PassedExchange | None = None
        self._answer: Answer | None = None
        # The answer is released whole, so that a target that dies within it has shown nothing to the client.
        self._collecting = False
        self._gated: deque[tuple[int, bytes]] = deque()
        self._gated_bytes = 0
        self._reading_paused = False
        self._ended = False
        # The target said that it has ended: by FIN, with TLS by its closure alert (uvloop tells of nothing else).
        self._eof = False
        self.tunnelled = False
        # While there is content of a request to send, which the target may refuse unread.
        self._spare: SpareDescriptor | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return not self._ended and not self._transport.is_closing()

    @property
    def to_admin(self) -> bool:
        """Whether it leads to the admin, and not to the target."""
        return self._exchange is not None and self._exchange.route is Route.ADMIN

    def begin(self, exchange: PassedExchange) -> None:
        """Carry this exchange."""
        self._exchange = exchange
        self._answer = None
        exchange.passage = self
        clean = self._passages.clean_head
        self._transport.write(exchange.head if clean is None else clean(exchange.head))
        if exchange.client is not None:
            exchange.client.open_upload(exchange)

    def write(self, data: bytes) -> None:
        """Send content of the request, or bytes of the tunnel."""
        if self._transport.is_closing():
            return
        if self._spare is None and not self.tunnelled:
            self._spare = SpareDescriptor(self._transport)
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

    def take_back_read(self) -> PassedExchange | None:
        """Part from a read of which the client has got nothing, and cut the connection; return it."""
        exchange = self._exchange
        if exchange is None or exchange.client is None or exchange.route is not Route.READ or not exchange.repeatable:
            return None
        self._answer = None
        self._gated.clear()
        self._passages.gate.budget.memory_bytes -= self._gated_bytes
        self._gated_bytes = 0
        self._take_off()
        self._transport.abort()
        return exchange

    def cut(self) -> None:
        """Cut the connection, as if the target had; the exchange is told."""
        self._transport.abort()

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
        gate.budget.memory_bytes += len(data)
        if self._gated_bytes > GATED_BYTES_MAX or gate.budget.memory_is_full:
            self._pause_reading()
        if len(self._gated) == 1:
            gate.after(version, self._pass_gated, self._drop_gated)

    def eof_received(self) -> bool:
        self._eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._passages.forget(self)
        if self._spare is not None:
            if exc is not None:
                for data in self._spare.read():
                    self.data_received(data)
            self._spare.close()
        self._ended = True
        if not self._gated:
            self._finish_lost()

    # --- the gate

    def _pass_gated(self) -> None:
        gate = self._passages.gate
        while self._gated and gate.is_open(self._gated[0][0]):
            _, data = self._gated.popleft()
            self._gated_bytes -= len(data)
            gate.budget.memory_bytes -= len(data)
            self._take(data)
        if self._gated:
            gate.after(self._gated[0][0], self._pass_gated, self._drop_gated)
        elif self._ended:
            self._finish_lost()
        else:
            self.resume()

    def _drop_gated(self) -> None:
        """The log has failed: what was read may show what is not durable, so nobody gets it (design rule 9)."""
        self._gated.clear()
        self._passages.gate.budget.memory_bytes -= self._gated_bytes
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
            # It did answer: asked again it would say the same.
            exchange.attempts = ATTEMPTS_MAX
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
                        stream.release()
                        stream.put_interim(answer.head)
                    continue
                self._answer = answer
                if answer.closes and exchange.client is not None and exchange.client.uploading(exchange):
                    # An early answer: nobody will read the rest of the request (RFC 9112 §9.5).
                    exchange.keep_alive = False
                self._collecting = exchange.route is Route.READ and self._is_short(answer)
                if not self._collecting:
                    stream.release()
                stream.begin(answer)
            piece = reader.read_piece()
            last = reader.complete
            if piece and exchange.stream is not None and exchange.stream.put(piece, last) and not self._collecting:
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
            exchange.stream = AnswerStream(
                exchange, limits.answer_memory_bytes_max, limits.answer_spool_bytes_max, self._passages.gate.budget
            )
        return exchange.stream

    def _is_short(self, answer: Answer) -> bool:
        return answer.framing is Framing.LENGTH and answer.length <= self._passages.limits.answer_whole_bytes_max

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
        exchange.stream.release()
        exchange.stream.end(self._reader.trailers)

    def _switch(self, exchange: PassedExchange, answer: Answer) -> None:
        if exchange.route is not Route.UPGRADE or exchange.client is None:
            raise AnswerError("101 to a request that asked for no upgrade (RFC 9110 §15.2.2)")
        taken = _protocols(answer.upgrade)
        if not taken or not taken <= _protocols(exchange.request.upgrade or b""):
            # Client and target would go on in two protocols.
            raise AnswerError("101 to a protocol that was not asked for (RFC 9110 §7.8)")
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
        if self.tunnelled:
            self._take_off()
            if client is not None:
                client.close_tunnel()
            return
        # What ends with the connection is whole only if that end was said, and not by whoever cut it (RFC 9112 §9.8).
        if self._eof and self._answer is not None and self._reader.end_of_stream():
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
