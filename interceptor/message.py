"""The bytes in which events leave for the target: as they are in the log, or tagged.

With `--tag-requests` an application that talks to others learns what it is replaying.  Each request carries

- `Interceptor-Version: n`, the event's version;
- `Interceptor-Recorded-At`, when it was recorded: RFC 3339, UTC, microseconds;
- `Interceptor-Replay: 1`, if an incarnation may have got it before.

What a client sends under these names is taken out.  The log holds the request without tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from interceptor.delivery import Delivery
from storage_backends.records import Event

# WSGI and CGI take an underscore for a hyphen.
_OURS = re.compile(rb"\r\nInterceptor[-_](?:Version|Replay|Recorded[-_]At):[^\r\n]*", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Live events that were sent, to know them again behind a death; many more than can be in flight.
_SENT_KEPT = 1 << 16


def plain(deliveries: Sequence[Delivery]) -> bytes:
    """Return the events as they are in the log, in one piece."""
    parts = []
    for delivery in deliveries:
        event = delivery.event
        parts.append(event.head)
        if event.body:
            parts.append(event.body)
    return b"".join(parts)


class Tagger:
    """Tags what all lanes to one target send."""

    def __init__(self) -> None:
        self._sent: dict[int, None] = {}

    def tagged(self, deliveries: Sequence[Delivery]) -> bytes:
        """Return the events with the tags, in one piece."""
        parts = []
        sent = self._sent
        for delivery in deliveries:
            event = delivery.event
            parts.append(tagged_head(event, replay=delivery.is_replay or event.version in sent))
            if event.body:
                parts.append(event.body)
            if not delivery.is_replay:
                sent[event.version] = None
        while len(sent) > _SENT_KEPT:
            del sent[next(iter(sent))]
        return b"".join(parts)


def tagged_head(event: Event, *, replay: bool) -> bytes:
    """Return the head of an event with the tags."""
    recorded = _EPOCH + timedelta(microseconds=event.time_ns // 1000)
    return b"%bInterceptor-Version: %d\r\nInterceptor-Recorded-At: %b\r\n%b\r\n" % (
        without_tags(event.head)[:-2],
        event.version,
        recorded.isoformat(timespec="microseconds").replace("+00:00", "Z").encode(),
        b"Interceptor-Replay: 1\r\n" if replay else b"",
    )


def without_tags(head: bytes) -> bytes:
    """Return a head without the fields whose names are ours."""
    return _OURS.sub(b"", head)
