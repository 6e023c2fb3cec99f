"""A client's connection as a connection: whether it is read, how it ends, and what has taken too long.

What is read and answered on it is the subject of `client.ClientConnection`, which is built on this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from interceptor.client_deadlines import Deadlines, Phase, acknowledged_bytes
from interceptor.connection_room import Place
from interceptor.exchange import Exchange
from interceptor.passed_exchange import PassedExchange
from interceptor.wire.errors import RequestError
from interceptor.wire.request import Request, RequestReader

if TYPE_CHECKING:
    from interceptor.listener import Listener

# After a refusal the rest of the request is read and dropped for a moment: closing at once would reset the connection,
# and the client might never see the answer (RFC 9112 §9.6).
LINGER_S = 1.0
LINGER_BYTES_MAX = 16 * 1024 * 1024


class ClientTransport(asyncio.Protocol):
    """Knows what is under way on the connection, and ends it."""

    __slots__ = (
        "_answer_bytes",
        "_deadlines",
        "_eof",
        "_exchanges",
        "_intake_bytes",
        "_last",
        "_linger_left",
        "_linger_timer",
        "_listener",
        "_parked_bytes",
        "_paused",
        "_reader",
        "_request",
        "_requests",
        "_requests_max",
        "_transport",
        "_unread",
        "_upload",
        "last_version",
        "place",
        "stashed_bytes",
        "write_blocked",
    )

    _transport: asyncio.Transport

    def __init__(self, listener: Listener, place: Place) -> None:
        self._listener = listener
        self.place = place
        limits = listener.limits
        self._reader = RequestReader(
            limits.head_bytes_max, limits.target_bytes_max, limits.fields_max, limits.small_chunks_max
        )
        self._exchanges: deque[Exchange] = deque()
        # The request whose content is still being read, and the exchange that takes its content, or its tunnel's
        # bytes, as they come.
        self._request: Request | None = None
        self._upload: PassedExchange | None = None
        self._intake_bytes = 0
        self._paused = False
        self._last = False
        self._eof = False
        self._linger_left = LINGER_BYTES_MAX
        self._linger_timer: asyncio.TimerHandle | None = None
        # Something came behind the last request, and was dropped.
        self._unread = False
        self._requests = 0
        self._requests_max = limits.requests_per_connection_max
        # Of its last event.
        self.last_version = 0
        # What of answers and of unread requests is accounted for while this connection does not take or is not read.
        self._answer_bytes = 0
        self.stashed_bytes = 0
        self._parked_bytes = 0
        self._deadlines = Deadlines()
        self.write_blocked = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._detach()

    def pause_writing(self) -> None:
        self.write_blocked = True
        self.account_answers()

    @property
    def answer_bytes(self) -> int:
        """Bytes of answers that wait because the client does not take them, or not yet."""
        return self._answer_bytes

    def account_answers(self) -> None:
        """Say how much waits for this client now; where all together is too much, the one that holds most is cut."""
        now = self.stashed_bytes + (self._transport.get_write_buffer_size() if self.write_blocked else 0)
        budget = self._listener.gate.budget
        budget.memory_bytes += now - self._answer_bytes
        self._answer_bytes = now
        if budget.memory_is_full:
            self._listener.cut_slowest()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
            self._park(self._reader.buffered_bytes)

    def _resume_reading(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._park(0)
            self._transport.resume_reading()

    def _park(self, size_bytes: int) -> None:
        """Account for what was read and waits here while reading is paused."""
        listener = self._listener
        listener.intake_bytes += size_bytes - self._parked_bytes
        self._parked_bytes = size_bytes
        if listener.intake_bytes > listener.limits.intake_bytes_max and size_bytes:
            listener.counters.limits_reached["intake_bytes_max"] += 1
            listener.cut_soon(self)

    def _let_go_of_read(self) -> None:
        """Keep of what was read only what is still needed: nothing behind the last request, nothing parsed."""
        if self._last and self._upload is None:
            self._unread = bool(self._reader.take_rest()) or self._unread
        else:
            self._reader.compact()

    def _release_intake(self) -> None:
        self._listener.intake_bytes -= self._intake_bytes
        self._intake_bytes = 0

    def _refuse(self, error: RequestError) -> None:
        """Answer a request that can't be accepted, behind the answers that are still to come, and read no more."""
        raise NotImplementedError

    # --- the end

    def _end(self) -> None:
        """Close after what was written; where the client is still sending, linger, so that it can read that."""
        self._last = True
        self._upload = None
        reader = self._reader
        if self._transport.is_closing() or self._linger_timer is not None:
            return
        if self._eof or (reader.body_complete and reader.buffered_bytes == 0 and not (self._paused or self._unread)):
            self._transport.close()
            return
        self._resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._linger_timer = asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def _drop(self, size_bytes: int) -> None:
        self._linger_left -= size_bytes
        if self._linger_left < 0:
            self._transport.close()

    def close_when_idle(self) -> None:
        """Shut down: an idle connection is closed, another one after its present answers."""
        if not self._exchanges and self._request is None and not self._reader.buffered_bytes:
            self._last = True
            self._transport.close()
        elif self._exchanges:
            self._exchanges[-1].keep_alive = False
            self._last = True
        elif self._request is not None:
            self._request.keep_alive = False

    def abort(self) -> None:
        """Cut the connection."""
        transport = self._transport
        self._detach()
        transport.abort()

    def _detach(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        self._last = True
        self._request = None
        self._upload = None
        self._release_intake()
        self._park(0)
        self.stashed_bytes = 0
        self._listener.gate.budget.memory_bytes -= self._answer_bytes
        self._answer_bytes = 0
        self._listener.closed(self)
        exchanges, self._exchanges = self._exchanges, deque()
        for exchange in exchanges:
            self._listener.admission.forget(exchange)
            exchange.client_gone()

    def sweep(self, now_s: float) -> None:
        """Called every second or so: end what has taken too long or moves too slowly."""
        listener = self._listener
        phase = self._present_phase()
        name = self._deadlines.exceeded(phase, now_s, listener.limits)
        if name is None:
            return
        listener.counters.limits_reached[name] += 1
        if phase.kind in ("head", "body"):
            self._refuse(RequestError(408, f"the request was not complete within {name} (RFC 9110 §15.5.9)"))
        elif phase.kind == "idle":
            self._last = True
            self._transport.close()
        else:
            self.abort()

    def _present_phase(self) -> Phase:
        reader, requests = self._reader, self._requests
        if self._last and not self._exchanges:
            return self._writing_phase("closing")
        if self.write_blocked:
            return self._writing_phase("blocked")
        if self._exchanges:
            upload = self._upload
            if upload is None or upload.tunnelled:
                return Phase("answering", requests)
            if self._eof:
                return Phase("ended", (requests, upload.pieces))
            if upload.uploaded or upload.passage is None or self._paused:
                return Phase("answering", requests)
            return Phase("upload", requests, reader.body_bytes)
        if self._request is not None:
            return Phase("body", requests, reader.body_bytes)
        return Phase("head", requests, reader.buffered_bytes) if reader.buffered_bytes else Phase("idle", requests)

    def _writing_phase(self, kind: str) -> Phase:
        waiting_bytes = self._transport.get_write_buffer_size()
        taken_bytes = acknowledged_bytes(self._transport.get_extra_info("socket"))
        if taken_bytes is None or not waiting_bytes:
            # Whatever leaves the transport's buffer is progress.
            return Phase("stuck", (kind, self._requests, waiting_bytes))
        return Phase(kind, None, taken_bytes)
