"""A client's connection as a connection: whether it is read, how it ends, and what has taken too long.

What is read and answered on it is the subject of `client.ClientConnection`, which is built on this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

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
        "_eof",
        "_exchanges",
        "_intake_bytes",
        "_last",
        "_linger_left",
        "_linger_timer",
        "_listener",
        "_paused",
        "_phase",
        "_phase_since_s",
        "_reader",
        "_request",
        "_requests",
        "_transport",
        "_upload",
        "write_blocked",
    )

    _transport: asyncio.Transport

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        limits = listener.limits
        self._reader = RequestReader(limits.head_bytes_max, limits.target_bytes_max, limits.fields_max)
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
        self._requests = 0
        self._phase = ""
        self._phase_since_s = 0.0
        self.write_blocked = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._detach()

    def pause_writing(self) -> None:
        self.write_blocked = True

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

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
        if self._eof or (reader.body_complete and reader.buffered_bytes == 0 and not self._paused):
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
        self._listener.closed(self)
        exchanges, self._exchanges = self._exchanges, deque()
        for exchange in exchanges:
            self._listener.admission.forget(exchange)
            exchange.client_gone()

    def sweep(self, now_s: float) -> None:
        """Called every second or so: end what has taken too long."""
        phase = self._present_phase()
        if phase != self._phase:
            self._phase, self._phase_since_s = phase, now_s
            return
        limit_name = _LIMIT_OF_PHASE[phase.partition(" ")[0]]
        if limit_name is None or now_s - self._phase_since_s < getattr(self._listener.limits, limit_name):
            return
        self._listener.counters.limits_reached[limit_name] += 1
        if phase.startswith(("head", "body")):
            self._refuse(RequestError(408, f"the request was not complete within {limit_name} (RFC 9110 §15.5.9)"))
        elif phase.startswith("idle"):
            self._last = True
            self._transport.close()
        else:
            self.abort()

    def _present_phase(self) -> str:
        if self._last and not self._exchanges:
            return f"closing {self._transport.get_write_buffer_size()}"
        if self.write_blocked:
            # Whatever leaves the transport's buffer is progress.
            return f"blocked {self._transport.get_write_buffer_size()} {self._requests}"
        if self._exchanges:
            if self._eof and self._upload is not None:
                return f"ended {self._requests} {self._upload.pieces}"
            return f"answering {self._requests}"
        if self._request is not None:
            return f"body {self._requests}"
        return f"head {self._requests}" if self._reader.buffered_bytes else f"idle {self._requests}"


_LIMIT_OF_PHASE: dict[str, str | None] = {
    "closing": "client_write_timeout_s",
    "blocked": "client_write_timeout_s",
    "ended": "client_idle_timeout_s",
    "answering": None,
    "head": "head_timeout_s",
    "body": "body_timeout_s",
    "idle": "client_idle_timeout_s",
}
