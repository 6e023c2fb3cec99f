"""The pages under WSGI.  WSGI knows neither order nor repetition of fields, so they are shown sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from pages import page


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read() if _has_body(environ) else b""
    fields = [(_name(key), value) for key, value in sorted(environ.items()) if key.startswith("HTTP_")]
    fields += [(key, environ[key]) for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(key)]
    query = environ["QUERY_STRING"]
    target = environ.get("RAW_URI") or environ["PATH_INFO"] + (f"?{query}" if query else "")
    reply = page(environ["REQUEST_METHOD"], environ["PATH_INFO"], target, fields, body)
    headers = list(reply.fields)
    if reply.length is not None and reply.status not in (204, 304):
        headers.append(("Content-Length", str(reply.length)))
    start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", headers)
    return reply.pieces


def _has_body(environ: dict[str, Any]) -> bool:
    return bool(environ.get("CONTENT_LENGTH")) or environ.get("HTTP_TRANSFER_ENCODING") == "chunked"


def _name(key: str) -> str:
    return key.removeprefix("HTTP_").replace("_", "-")
