"""One request of one client and the way of its answer back.

`RecordedExchange` is an event with a client behind it; `passed_exchange.PassedExchange` goes by the log.  Both put
their answer through the same client side: whole if it is small, as an `AnswerStream` otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from interceptor.answer_stream import AnswerStream
from interceptor.refusals import refusal
from interceptor.wire.answer import Answer, Framing
from storage_backends.records import Event

if TYPE_CHECKING:
    from interceptor.client import ClientConnection
    from interceptor.counters import Counters
    from interceptor.release_gate import ReleaseGate


class Exchange:
    """The client's side of a request.  `client` is None once the client has gone."""

    __slots__ = ("arrived_s", "client", "counters", "http11", "is_head_request", "keep_alive", "stream", "whole")

    def __init__(
        self, client: ClientConnection, counters: Counters, *, http11: bool, keep_alive: bool, is_head_request: bool
    ) -> None:
        self.client: ClientConnection | None = client
        self.counters = counters
        self.http11 = http11
        self.keep_alive = keep_alive
        self.is_head_request = is_head_request
        self.arrived_s = monotonic()
        self.stream: AnswerStream | None = None
        # An answer that is complete and released, and waits for the ones before it on the same connection.
        self.whole: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """What it occupies while it is held."""
        return 0

    def client_head(self, answer: Answer) -> bytes:
        """Return the head as this client gets it: framing and persistence that fit its version (RFC 9112 §6, §9.3)."""
        head = answer.head
        if answer.framing is not Framing.LENGTH:
            if self.http11:
                head = head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
            else:
                self.keep_alive = False
        if self.keep_alive:
            return head if self.http11 else head[:-2] + b"Connection: keep-alive\r\n\r\n"
        return head[:-2] + b"Connection: close\r\n\r\n"

    def refuse(self, status: int, detail: str, retry_after_s: int | None = None) -> None:
        """Answer with a problem of our own, or cut the client if a part of another answer has left already."""
        client = self.client
        if client is None:
            return
        if self.stream is not None and self.stream.touched:
            self.stream.abort()
            return
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        self.counters.refused[status] += 1
        data = refusal(status, detail, close=not self.keep_alive, retry_after_s=retry_after_s)
        if self.is_head_request:
            data = data[: data.index(b"\r\n\r\n") + 4]
        client.answer_whole(self, data)

    def client_gone(self) -> None:
        """The client went away; what was sequenced goes on without it (design rule 3)."""
        self.client = None
        if self.stream is not None:
            self.stream.close()
        self.drained()

    def drained(self) -> None:
        """The client took everything that there was."""


class RecordedExchange(Exchange):
    """An event with its client.  `event` is set by the sequencer; until then the request is held."""

    __slots__ = ("_gate", "_on_drained", "_status", "body", "event", "head", "refused")

    event: Event
    is_replay = False

    def __init__(
        self, client: ClientConnection, gate: ReleaseGate, head: bytes, body: bytes,
        http11: bool, keep_alive: bool, is_head_request: bool,
    ) -> None:  # fmt: skip
        # Not by super().__init__: this is the path of every request.
        self.client = client
        self.counters = gate.counters
        self.http11 = http11
        self.keep_alive = keep_alive
        self.is_head_request = is_head_request
        self.arrived_s = monotonic()
        self.stream = None
        self.whole = None
        self._gate = gate
        self._status = 0
        self.head = head
        self.body = body
        self._on_drained: Callable[[], None] | None = None
        # The client has got a refusal (answer_timeout_s); the event itself is still under way.
        self.refused = False

    @property
    def size_bytes(self) -> int:
        return len(self.head) + len(self.body)

    def take_interim(self, answer: Answer) -> None:
        # The ambassador has answered 100 by itself; what else is interim is passed on (RFC 9110 §15.2).
        if answer.status != 100 and self.http11 and self._listening:
            self._open_stream().put_interim(answer.head)

    def take_whole(self, answer: Answer, content: bytes, digest: int) -> None:
        if self.stream is None:
            self._gate.settle(self, answer, content, digest)
        else:
            self.take_head(answer)
            self.take_piece(content, last=True)
            self.take_end(len(content), digest, b"")

    def take_head(self, answer: Answer) -> None:
        self._status = answer.status
        if self._listening:
            self._open_stream().begin(answer)

    def take_piece(self, piece: bytes, last: bool) -> bool:
        return self.stream is not None and self._listening and self.stream.put(piece, last)

    def take_end(self, length_bytes: int, digest: int, trailers: bytes) -> None:
        if self.stream is not None and self._listening:
            self.stream.end(trailers)
        self._gate.settle_stream(self, self._status, length_bytes, digest)

    def take_interruption(self) -> None:
        stream = self.stream
        self._status = 0
        if stream is None:
            return
        if stream.touched:
            stream.interrupt()
        else:
            stream.close()
            self.stream = None

    def take_refusal(self, status: int, detail: str) -> None:
        if not self.refused:
            self.refuse(status, detail)
        self._gate.give_up(self)

    def take_overdue(self, arrived_before_s: float) -> bool:
        if self.arrived_s >= arrived_before_s:
            return False
        # Once its head is there, an answer may take as long as it takes.
        if self._listening and not self._status:
            self.counters.limits_reached["answer_timeout_s"] += 1
            self.refuse(504, f"the application has not answered event {self.event.version} within answer_timeout_s")
            self.refused = True
        return True

    def watch_drain(self, resume: Callable[[], None]) -> None:
        self._on_drained = resume
        if self.client is None:
            self.drained()

    def drained(self) -> None:
        if self._on_drained is not None:
            resume, self._on_drained = self._on_drained, None
            resume()

    @property
    def _listening(self) -> bool:
        return self.client is not None and not self.refused

    def _open_stream(self) -> AnswerStream:
        if self.stream is None:
            self.stream = self._gate.open_stream(self)
        return self.stream
