"""An unrecorded request: what it needs to go by the log, and whether it may be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.counters import Counters
from interceptor.exchange import Exchange
from interceptor.routing import SAFE_METHODS, Route
from interceptor.wire.request import Request

if TYPE_CHECKING:
    from interceptor.client import ClientConnection
    from interceptor.passage import Passage

# A safe request may be sent again by a proxy (RFC 9110 §9.2.2): once for a pooled connection that the target had
# closed meanwhile, and once more after a recovery.
ATTEMPTS_MAX = 4


class PassedExchange(Exchange):
    """An unrecorded request with its client.  `tunnelled` once both sides have left HTTP."""

    __slots__ = (
        "attempts", "cut_short", "head", "passage", "pieces", "pooled", "request", "route", "tunnelled", "uploaded",
    )  # fmt: skip

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
        # The client has ended its side within the content: there is no whole request (RFC 9112 §8).
        self.cut_short = False
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
        return safe and (self.stream is None or not self.stream.written)

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
            self.cut_short = not self.uploaded and not self.tunnelled
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
