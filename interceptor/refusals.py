"""Answers that the ambassador gives by itself, as problem details (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus


def refusal(status: int, detail: str, *, close: bool, retry_after_s: int | None = None) -> bytes:
    """Return a whole answer.  `close` announces that the connection ends with it (RFC 9112 §9.6)."""
    title = HTTPStatus(status).phrase
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode() + b"\n"
    fields = [
        f"HTTP/1.1 {status} {title}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
    ]
    if retry_after_s is not None:
        fields.append(f"Retry-After: {retry_after_s}")
    if close:
        fields.append("Connection: close")
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
