"""What a lane delivers and whom it tells: one event on its way to one incarnation.

A live event has a client behind it (`exchange.RecordedExchange`), a replayed one has a recorded outcome to be compared
with (`projector.Replay`).  The lane sees no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from interceptor.wire.answer import Answer
from storage_backends.records import Event


class Delivery(Protocol):
    """Receives the answer to its event: whole, or as head, pieces and end."""

    @property
    def event(self) -> Event: ...

    @property
    def is_head_request(self) -> bool: ...

    @property
    def is_replay(self) -> bool:
        """Whether it was delivered before our start or to an earlier incarnation, and nobody waits for the answer."""
        ...

    def take_interim(self, answer: Answer) -> None:
        """A 1xx answer; the final one follows."""
        ...

    def take_whole(self, answer: Answer, content: bytes, digest: int) -> None:
        """The whole answer.  `digest` is the XXH3-64 of `content`."""
        ...

    def take_head(self, answer: Answer) -> None:
        """The head of an answer whose content follows in pieces."""
        ...

    def take_piece(self, piece: bytes, last: bool) -> bool:
        """A piece of content; return whether the client behind takes it too slowly to be sent more.

        `last` says that `take_end` follows at once.
        """
        ...

    def watch_drain(self, resume: Callable[[], None]) -> None:
        """Call `resume` once the client behind has taken what there was, or has gone."""
        ...

    def take_end(self, length_bytes: int, digest: int, trailers: bytes) -> None:
        """The end of an answer that came in pieces."""
        ...

    def take_interruption(self) -> None:
        """The answer broke off; it will begin again with another incarnation, or `take_refusal` follows."""
        ...

    def take_refusal(self, status: int, detail: str) -> None:
        """There will be no answer from the target: tell the client so."""
        ...

    def take_overdue(self, arrived_before_s: float) -> bool:
        """Tell the client that it has waited for too long, if it came before that; return whether it did."""
        ...
