"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import hdrs, web


def problem(status: int, detail: str, allow: str | None = None) -> web.Response:
    """Return the answer; `allow` are the methods that would be right."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    response = web.json_response(body, status=status, content_type="application/problem+json")
    if allow:
        response.headers[hdrs.ALLOW] = allow
    return response
