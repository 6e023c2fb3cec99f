"""Order by choice: what order the application needs, and so how many lanes deliver to it.

`total`: every event in one order, down one lane.  `key:…`: order within each key, exact for state that falls apart by
session, room or cart; a key always takes the same lane.  `arrival`: versions by arrival, delivery by any free lane,
exact only where requests commute.

A key is computed from the head that is delivered, live and in each replay, so the log needs to know nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote_to_bytes

from interceptor.errors import ConfigurationError
from storage_backends.backend import Fact

Key = Callable[[bytes], bytes | None]
"""Returns the key in a request's head, None where there is none (an empty one is none)."""

LANES_DEFAULT = 16

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# They say how a message is sent, or end at this hop; the target gets no such field from a client as it was.
_NO_KEYS = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
)
_COOKIE_FIELD = re.compile(rb"(?i)\ncookie:([^\r]*+)")
_KEY_SEGMENT = "{key}"


class OrderKind(Enum):
    """What is delivered in order."""

    TOTAL = "total"
    ARRIVAL = "arrival"
    KEY = "key"


@dataclass(frozen=True)
class Order:
    """`text` is what was asked for; `key` is set for OrderKind.KEY."""

    kind: OrderKind = OrderKind.TOTAL
    text: str = "total"
    key: Key | None = None

    @classmethod
    def parse(cls, text: str) -> Order:
        """Read total, arrival, key:header:NAME, key:cookie:NAME or key:path:TEMPLATE.  Raises ConfigurationError."""
        if text in (OrderKind.TOTAL.value, OrderKind.ARRIVAL.value):
            return cls(OrderKind(text), text)
        kind, _, rest = text.partition(":")
        source, _, argument = rest.partition(":")
        if kind == "key" and source in _KEYS:
            try:
                return cls(OrderKind.KEY, text, _KEYS[source](argument))
            except ValueError as error:
                raise ConfigurationError(f"--order {text}: {error}") from None
        raise ConfigurationError(
            f"--order {text}: expected total, arrival, key:header:NAME, key:cookie:NAME or key:path:TEMPLATE"
        )

    def lanes(self, asked: int | None, lanes_max: int) -> int:
        """Return how many lanes to use; None asks for the default.  Raises ConfigurationError."""
        if asked is not None and asked > 1 and self.kind is OrderKind.TOTAL:
            raise ConfigurationError(
                f"--lanes {asked}: --order total is one order down one lane; several need --order key:… or arrival"
            )
        if asked is not None and asked > lanes_max:
            raise ConfigurationError(f"--lanes {asked}: more than lanes_max ({lanes_max})")
        if self.kind is OrderKind.TOTAL:
            return 1
        return min(LANES_DEFAULT, lanes_max) if asked is None else asked


def order_of_log(facts: Mapping[str, Fact]) -> str:
    """Return the order in which the log's last events were delivered, by the fact of that name."""
    return str(facts.get("order", OrderKind.TOTAL.value))


def header_key(name: str) -> Key:
    """Take the field `name`, in any case; lines of the same name are one value, joined by comma (RFC 9110 §5.2, §5.3).

    Raises ValueError.
    """
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not the name of a header field")
    if name.lower() in _NO_KEYS:
        raise ValueError(f"{name} says how a message is sent, not what it belongs to")
    find = re.compile(rb"(?i)\n%b:[\t ]*+([^\r]*+)" % re.escape(name.encode())).findall

    def key(head: bytes) -> bytes | None:
        values = find(head)
        if not values:
            return None
        return (values[0].rstrip() if len(values) == 1 else b", ".join(map(bytes.rstrip, values))) or None

    return key


def cookie_key(name: str) -> Key:
    """Take the first cookie `name` (RFC 6265 §4.1.1: its value may be in quotes).  Raises ValueError."""
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not the name of a cookie")
    wanted = name.encode()

    def key(head: bytes) -> bytes | None:
        for field in _COOKIE_FIELD.findall(head):
            for pair in field.split(b";"):
                found, equals, value = pair.partition(b"=")
                if equals and found.strip(b" \t") == wanted:
                    value = value.strip(b" \t")
                    if len(value) > 1 and value[:1] == value[-1:] == b'"':
                        value = value[1:-1]
                    return value or None
        return None

    return key


def path_key(template: str) -> Key:
    """Take a segment of the path, as `/rooms/{key}/*` says.  Raises ValueError.

    A segment of the template is `{key}` (once), `*` for any one segment, or text; `*` as the last one stands for any
    rest, nothing included, so that /rooms/7 and /rooms/7/messages have the same key.  Segments are compared and taken
    percent-decoded (RFC 3986 §6.2.2.2: other spellings of the same path), the query is left out.
    """
    if not template.startswith("/"):
        raise ValueError("a template begins with /, for example /rooms/{key}/*")
    segments = template[1:].split("/")
    if segments.count(_KEY_SEGMENT) != 1:
        raise ValueError("a template holds the segment {key} once, for example /rooms/{key}/*")
    for segment in segments:
        if segment not in ("*", _KEY_SEGMENT) and re.search(r"[{}*?#\s]", segment):
            raise ValueError(f"the segment {segment!r} is neither text nor * nor {{key}}")
    open_ended = segments[-1] == "*"
    if open_ended:
        segments.pop()
    position, count = segments.index(_KEY_SEGMENT), len(segments)
    literals = [
        (index, unquote_to_bytes(segment))
        for index, segment in enumerate(segments)
        if segment not in ("*", _KEY_SEGMENT)
    ]

    def key(head: bytes) -> bytes | None:
        path = head.split(b" ", 2)[1].partition(b"?")[0]
        parts = path[1:].split(b"/")
        if len(parts) < count or (len(parts) > count and not open_ended):
            return None
        if b"%" in path:
            parts = [unquote_to_bytes(part) for part in parts]
        for index, literal in literals:
            if parts[index] != literal:
                return None
        return parts[position] or None

    return key


_KEYS: dict[str, Callable[[str], Key]] = {"header": header_key, "cookie": cookie_key, "path": path_key}
