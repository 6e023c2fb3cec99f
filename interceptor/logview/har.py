"""HAR 1.2 (HTTP Archive), which browsers' developer tools and load generators read."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from importlib.metadata import version as package_version
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from interceptor.logview.content import decode_content, fields_of, request_line
from interceptor.logview.joining import JoinedEvent
from interceptor.logview.lines import time_text


def har_begin(*, redacted: bool) -> str:
    """Return what stands before the entries.  `redacted`: values may have been replaced."""
    creator = {"name": "interceptor", "version": package_version("interceptor-ambassador")}
    head = {"version": "1.2", "creator": creator, "pages": [], "_redacted": redacted}
    return '{"log": ' + json.dumps(head)[:-1] + ', "entries": [\n'


HAR_END = "\n]}}\n"


def har_entry(joined: JoinedEvent, *, redacted: bool) -> dict[str, Any]:
    """Return one event; of the answer the log knows status, length and digest only."""
    event, outcome = joined.event, joined.outcome
    method, target, protocol = request_line(event.head)
    fields = fields_of(event.head)
    host = next((value for name, value in fields if name.lower() == "host"), "unknown")
    url = target if "://" in target else f"http://{host}{target}"
    request: dict[str, Any] = {
        "method": method,
        "url": url,
        "httpVersion": protocol,
        "cookies": [],
        "headers": [{"name": name, "value": value} for name, value in fields],
        "queryString": [
            {"name": name, "value": value}
            for name, value in parse_qsl(_query(target), keep_blank_values=True, encoding="utf-8", errors="replace")
        ],
        "headersSize": len(event.head),
        "bodySize": len(event.body),
    }
    if event.body:
        request["postData"] = _post_data(joined, fields)
    entry: dict[str, Any] = {
        "startedDateTime": time_text(event.time_ns, precise=True),
        "time": 0,
        "request": request,
        "response": _response(joined),
        "cache": {},
        "timings": {"send": 0, "wait": 0, "receive": 0},
        "_version": event.version,
    }
    if outcome is not None:
        entry["_digest"] = f"{outcome.digest:016x}"
    if joined.quarantine is not None:
        entry["_quarantined"] = joined.quarantine
    if redacted:
        entry["_redacted"] = True
    return entry


def _post_data(joined: JoinedEvent, fields: list[tuple[str, str]]) -> dict[str, Any]:
    content = decode_content(joined.event.head, joined.event.body)
    mime_type = next((value for name, value in fields if name.lower() == "content-type"), "application/octet-stream")
    if content.text is not None:
        return {"mimeType": mime_type, "params": [], "text": content.text}
    text = base64.b64encode(content.data).decode()
    return {"mimeType": mime_type, "params": [], "text": text, "_encoding": "base64"}


def _response(joined: JoinedEvent) -> dict[str, Any]:
    outcome = joined.outcome
    status = outcome.status if outcome is not None else 0
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    size_bytes = outcome.length_bytes if outcome is not None else -1
    return {
        "status": status, "statusText": phrase, "httpVersion": "HTTP/1.1", "cookies": [], "headers": [],
        "content": {"size": max(0, size_bytes), "mimeType": "x-unknown"}, "redirectURL": "", "headersSize": -1,
        "bodySize": size_bytes,
    }  # fmt: skip


def _query(target: str) -> str:
    try:
        return urlsplit(target).query
    except ValueError:
        return target.partition("?")[2]
