"""The pages that every Python target serves, as functions from what came to what is answered."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

PIECE_BYTES = 65_536
PATTERN = bytes(range(256)) * (PIECE_BYTES // 256)
# What a proxy adds, or what belongs to one connection only; the host differs because the port does.
_NOT_COMPARED = {
    "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "host", "connection", "keep-alive",
    "transfer-encoding", "te", "upgrade", "expect", "proxy-connection",
}  # fmt: skip


@dataclass
class Page:
    """An answer: `pieces` without a length if `length` is None."""

    status: int
    fields: list[tuple[str, str]] = field(default_factory=list)
    pieces: Iterator[bytes] | list[bytes] = field(default_factory=list)
    length: int | None = 0


def echo(method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Page:
    """Show what the application saw."""
    seen = [[name, value] for name, value in fields if name.lower() not in _NOT_COMPARED]
    shown = {"method": method, "target": target, "fields": seen, "body": base64.b64encode(body).decode()}
    text = json.dumps(shown).encode()
    return Page(200, [("Content-Type", "application/json")], [text], len(text))


def pattern(size: int) -> Iterator[bytes]:
    """Yield `size` bytes in pieces."""
    while size > 0:
        yield PATTERN[:size]
        size -= PIECE_BYTES


def page(method: str, path: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Page:
    """Answer a request whose body was read."""
    what, _, argument = path.removeprefix("/").partition("/")
    if what == "bytes":
        return Page(200, [("Content-Type", "application/octet-stream")], pattern(int(argument)), int(argument))
    if what == "stream":
        return Page(200, [("Content-Type", "application/octet-stream")], pattern(int(argument)), None)
    if what == "status":
        return Page(int(argument), [("ETag", '"abc"'), ("X-Page", "status")], [], 0)
    if what == "fields":
        several = [("Set-Cookie", "a=1; Path=/"), ("X-MiXeD-CaSe", "One"), ("Set-Cookie", "b=2"), ("x-mixed-case", "")]
        return Page(200, several, [b"fields"], 6)
    if what == "gzip":
        packed = gzip.compress(PATTERN, mtime=0)
        return Page(200, [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")], [packed], len(packed))
    return echo(method, target, fields, body)
