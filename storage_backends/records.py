"""What a log is made of: events, outcomes, quarantine tombstones and marks.

Events are numbered 1, 2, 3, … without gaps.  The other records refer to events by version and carry no number of
their own; they keep their place in the append order.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Event:
    """One recorded request, exactly the bytes that are forwarded (design rule 5).

    `head` is the serialised request line and fields with the final empty line; `body` is what follows it on the
    wire, chunked framing and trailers included, so that head + body is the whole message.
    """

    __slots__ = ("body", "head", "time_ns", "version")

    def __init__(self, version: int, time_ns: int, head: bytes, body: bytes) -> None:
        self.version = version
        self.time_ns = time_ns
        self.head = head
        self.body = body

    @property
    def size_bytes(self) -> int:
        return len(self.head) + len(self.body)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and (self.version, self.time_ns, self.head, self.body) == (
            other.version,
            other.time_ns,
            other.head,
            other.body,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Event(version={self.version}, time_ns={self.time_ns}, head={self.head!r}, body={self.body!r})"


class Outcome(NamedTuple):
    """What the target answered to an event.  `digest` is the XXH3-64 of the decoded body, `length_bytes` its length."""

    version: int
    status: int
    length_bytes: int
    digest: int


class Quarantine(NamedTuple):
    """A tombstone: the event killed the target again and again, and is delivered to no incarnation any more."""

    version: int
    time_ns: int
    reason: str


class Mark(NamedTuple):
    """A fact about the log's own life at a place in it: `incarnation`, `clean-stop`, `checkpoint`.

    `version` is the last event that the fact covers; `detail` holds plain msgpack-able values.
    """

    kind: str
    version: int
    time_ns: int
    detail: dict[str, str | int]


Record: TypeAlias = Event | Outcome | Quarantine | Mark
