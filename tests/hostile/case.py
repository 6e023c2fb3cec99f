"""One hostile input: what is sent, where it is known from, and what a client of ours reads in answer."""

from __future__ import annotations

from dataclasses import dataclass

# What stands behind a message to tell whether its end was seen where it is.
BEHIND = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """`data` is all that a connection carries before its sender ends its side.

    `ours` are the statuses that the client reads until the connection ends: 200 is the target's answer to one request.
    """

    name: str
    origin: str
    data: bytes
    ours: tuple[int, ...]


def post(*fields: bytes, body: bytes = b"", start: bytes = b"POST /case HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """Return a message; fields are lines without their CRLF."""
    lines = [start, *([host] if host else []), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(body: bytes, *fields: bytes) -> bytes:
    """Return a request whose content is `body` as it stands, said to be chunked."""
    return post(b"Transfer-Encoding: chunked", *fields, body=body)
