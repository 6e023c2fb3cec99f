"""One client's connection: requests in, answers out, in order.

A request is read whole before it is admitted, so that a slow sender holds up nobody (design rule 6).  Pipelined
requests (RFC 9112 §9.3.2) are admitted as they come; their answers leave in the order of the requests.  A request
that is not recorded waits until it is the first in line, because it goes another way than those before it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from interceptor.client_transport import ClientTransport
from interceptor.connection_room import Place
from interceptor.exchange import Exchange, RecordedExchange
from interceptor.passed_exchange import PassedExchange
from interceptor.refusals import CONTINUE
from interceptor.routing import Route
from interceptor.wire import chunked
from interceptor.wire.errors import RequestError
from interceptor.wire.forwarding import Forwarder
from interceptor.wire.request import Request

if TYPE_CHECKING:
    from interceptor.listener import Listener

# While an unrecorded request is under way, what follows it waits here; reading goes on up to this, in order to see
# whether the client leaves.
AHEAD_BYTES_MAX = 32 * 1024
# What a client's transport takes before it says "no more"; beyond it everything is accounted for.
WRITE_BUFFER_BYTES_MAX = 64 * 1024
# A read that brings more than this is not kept as a whole once its requests are parsed.
KEPT_READ_BYTES_MAX = 16 * 1024


class ClientConnection(ClientTransport):
    """Created by the listener for each accepted connection."""

    __slots__ = ("_answered_continue", "_deferred", "_forwarder", "_scheme")

    def __init__(self, listener: Listener, place: Place, scheme: bytes) -> None:
        super().__init__(listener, place)
        self._scheme = scheme
        # A request that goes another way than the log and waits for those before it.
        self._deferred: tuple[Request, Route] | None = None
        self._answered_continue = False

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Said, because it is another with TLS (512 KiB) than without.
        self._transport.set_write_buffer_limits(WRITE_BUFFER_BYTES_MAX)
        self._forwarder = Forwarder(self.place.peer, self._scheme, self._listener.authority)
        self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._upload is not None:
            self._reader.feed(data)
            self._pump_upload()
        elif self._last:
            self._drop(len(data))
            return
        else:
            self._reader.feed(data)
            try:
                self._read_requests()
            except RequestError as error:
                self._refuse(error)
        if len(data) > KEPT_READ_BYTES_MAX:
            self._let_go_of_read()

    def eof_received(self) -> bool:
        self._eof = True
        if self._upload is not None:
            return self._upload.client_ended()
        # A client may shut its sending side down and still wait for its answers; half a request is none.
        if self._request is not None:
            self._last = True
            self._request_complete()
        if self._exchanges and self._listener.admission.holds(self._exchanges[0]):
            # Most who end their side while they wait have given up; what nobody waits for must not happen later.
            return False
        # TLS has no half-closed connections here: an end is an end.
        return bool(self._exchanges) and self._transport.can_write_eof()

    def resume_writing(self) -> None:
        self.write_blocked = False
        self.account_answers()
        if self._exchanges:
            first = self._exchanges[0]
            if first.stream is not None:
                first.stream.pump()
            elif self._upload is first:
                first.drained()
        if self._paused:
            self._resume()

    # --- requests

    def _read(self) -> None:
        try:
            self._read_requests()
        except RequestError as error:
            self._refuse(error)

    def _read_requests(self) -> None:
        listener = self._listener
        reader = self._reader
        while not self._last:
            request = self._request
            if request is None:
                if self.write_blocked or len(self._exchanges) >= listener.pipelined_requests_max:
                    self._pause()
                    return
                request = reader.read_head()
                if request is None:
                    return
                self._requests += 1
                if self._requests == self._requests_max:
                    listener.counters.limits_reached["requests_per_connection_max"] += 1
                    request.keep_alive = False
                if request.upgrade is not None or not listener.records_all:
                    route = listener.router.route(request)
                    if route is not Route.RECORD:
                        self._deferred = (request, route)
                        self._pause()
                        self._pass_deferred()
                        return
            body = reader.read_body(listener.body_bytes_max)
            if body is None:
                self._request = request
                self._await_body()
                return
            if self._request is not None:
                self._request_complete()
            if request.chunked:
                body = chunked.encode_whole(body, reader.trailers)
            exchange = RecordedExchange(
                self,
                listener.gate,
                self._forwarder.head(request),
                body,
                request.version_minor == 1,
                request.keep_alive,
                request.method == b"HEAD",
            )
            self._exchanges.append(exchange)
            if not request.keep_alive:
                self._last = True
            listener.admit(exchange)
            if not reader.has_more:
                return

    def _request_complete(self) -> None:
        """The content that was awaited is there."""
        self._request = None
        self._answered_continue = False
        self._release_intake()

    def _await_body(self) -> None:
        """Ask for the content where the client waits to be asked, and account for what has come of it."""
        listener, request = self._listener, self._request
        assert request is not None
        if request.expects_continue and not self._answered_continue and not self._exchanges:
            # The ambassador reads requests whole, so the expectation ends with it (RFC 9110 §10.1.1).
            self._answered_continue = True
            if self._reader.body_bytes == 0:
                self._transport.write(CONTINUE)
        listener.intake_bytes += self._reader.body_bytes - self._intake_bytes
        self._intake_bytes = self._reader.body_bytes
        if listener.intake_bytes > listener.limits.intake_bytes_max:
            most = listener.limits.intake_bytes_max
            raise RequestError(503, f"more than {most} bytes of contents are being read", "intake_bytes_max")

    def _refuse(self, error: RequestError) -> None:
        """Answer a request that can't be accepted, behind the answers that are still to come, and read no more."""
        listener = self._listener
        if error.limit is not None:
            listener.counters.limits_reached[error.limit] += 1
        self._last = True
        self._request = None
        self._release_intake()
        exchange = Exchange(self, listener.counters, http11=True, keep_alive=False, is_head_request=False)
        self._exchanges.append(exchange)
        self._resume_reading()
        exchange.refuse(error.status, error.reason)

    # --- requests that are not recorded

    def _pass_deferred(self) -> None:
        if self._deferred is None or self._exchanges:
            return
        request, route = self._deferred
        self._deferred = None
        write_head = self._forwarder.upgrade_head if route is Route.UPGRADE else self._forwarder.head
        exchange = PassedExchange(self, self._listener.counters, request, write_head(request), route)
        self._exchanges.append(exchange)
        # From here on this exchange sees what comes: its content, its tunnel, or at least that the client has left.
        self._upload = exchange
        self._resume_reading()
        if route is Route.ADMIN:
            self._listener.passages.start(exchange)
        else:
            self._listener.admission.admit_passed(exchange)

    def open_upload(self, exchange: PassedExchange) -> None:
        """The exchange has its connection, or its tunnel: pass on what is there, and what will come."""
        self._resume_reading()
        self._pump_upload()
        if self._eof and not exchange.client_ended():
            self.abort()

    def uploading(self, exchange: PassedExchange) -> bool:
        """Whether content of the exchange's request is still to come."""
        return self._upload is exchange and not self._reader.body_complete

    def close_tunnel(self) -> None:
        """The target has ended the tunnel: close after what was written."""
        self._last = True
        self._upload = None
        self._transport.close()

    def pause_upload(self) -> None:
        """The target takes no more for now."""
        self._pause()

    def resume_upload(self) -> None:
        """The target takes more."""
        self._resume_reading()

    def _pump_upload(self) -> None:
        exchange, reader = self._upload, self._reader
        assert exchange is not None
        if exchange.tunnelled:
            if reader.buffered_bytes:
                exchange.write_upload(reader.take_rest())
            return
        try:
            if exchange.passage is not None and not exchange.uploaded:
                self._pass_content(exchange)
        except RequestError as error:
            # The target has got half a request: its connection is cut, so that it does not wait for the rest.
            self._upload = None
            exchange.abandon()
            self._last = True
            exchange.keep_alive = False
            exchange.refuse(error.status, error.reason)
            return
        if reader.buffered_bytes > AHEAD_BYTES_MAX:
            self._pause()

    def _pass_content(self, exchange: PassedExchange) -> None:
        reader, is_chunked = self._reader, exchange.request.chunked
        piece = reader.read_piece()
        while piece is not None:
            exchange.write_upload(chunked.encode_piece(piece) if is_chunked else piece)
            piece = reader.read_piece()
        if reader.body_complete:
            exchange.uploaded = True
            if is_chunked:
                exchange.write_upload(chunked.encode_whole(b"", reader.trailers))

    # --- answers

    def is_first(self, exchange: Exchange) -> bool:
        """Whether the exchange is the one whose answer the client waits for next."""
        return bool(self._exchanges) and self._exchanges[0] is exchange

    def write(self, data: bytes) -> None:
        """Write a part of the first exchange's answer."""
        self._transport.write(data)

    def answer_whole(self, exchange: Exchange, data: bytes) -> None:
        """Take a whole answer; it leaves when those before it have left."""
        exchanges = self._exchanges
        if exchanges[0] is not exchange:
            exchange.whole = data
            self.stashed_bytes += len(data)
            self.account_answers()
            return
        self._transport.write(data)
        if (
            exchange.keep_alive
            and len(exchanges) == 1
            and not (self._paused or self._eof or self._request or self._upload or self.write_blocked)
        ):
            exchanges.popleft()
        else:
            self.finished(exchange)

    def finished(self, exchange: Exchange) -> None:
        """The first exchange's answer has left completely."""
        exchanges = self._exchanges
        exchanges.popleft()
        while exchange.keep_alive and exchanges and exchanges[0].whole is not None:
            exchange = exchanges.popleft()
            data = cast(bytes, exchange.whole)
            self.stashed_bytes -= len(data)
            self._transport.write(data)
        if self.write_blocked or self._answer_bytes:
            self.account_answers()
        if not exchange.keep_alive:
            self._end()
            return
        was_passed = self._upload is not None
        self._upload = None
        if exchanges:
            first = exchanges[0]
            if first.stream is not None:
                first.stream.pump()
        elif self._request is not None:
            self._await_body()
        if self._paused or was_passed or self._eof:
            self._resume()

    def _resume(self) -> None:
        if self._deferred is not None:
            self._pass_deferred()
        elif self._upload is None:
            self._resume_reading()
            self._read()
            self._let_go_of_read()
            if self._eof and not (self._exchanges or self._paused):
                self._end()
