"""JSON lines: what `show --json` and `export` write, and `import` reads.

Bytes stand as text under their name where they are UTF-8, else as base64 under NAME_base64, so that they come back
exactly as they were.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NamedTuple

from interceptor.logview.content import decode_content, request_line
from interceptor.logview.errors import LogViewError
from interceptor.logview.joining import JoinedEvent
from interceptor.logview.lines import time_text
from storage_backends.records import Event, Outcome


class ImportedEvent(NamedTuple):
    """One line that was read back."""

    event: Event
    outcome: Outcome | None
    quarantine: str | None
    redacted: bool


def bytes_fields(name: str, data: bytes) -> dict[str, str]:
    """Return the data under `name`, or under `name`_base64 where it is no UTF-8."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def as_json(joined: JoinedEvent, *, with_message: bool, with_content: bool, redacted: bool) -> dict[str, Any]:
    """Return the event as an object: with its exact head and body, and with its decoded body, where asked for."""
    event, outcome = joined.event, joined.outcome
    method, target, _ = request_line(event.head)
    line: dict[str, Any] = {
        "version": event.version,
        "time_ns": event.time_ns,
        "time": time_text(event.time_ns, precise=True),
        "method": method,
        "target": target,
        "outcome": outcome
        and {"status": outcome.status, "length_bytes": outcome.length_bytes, "digest": f"{outcome.digest:016x}"},
    }
    if joined.quarantine is not None:
        line["quarantined"] = joined.quarantine
    if redacted:
        line["redacted"] = True
    if with_message:
        line |= bytes_fields("head", event.head) | bytes_fields("body", event.body)
    if with_content:
        content = decode_content(event.head, event.body)
        if content.notes:
            line["content_notes"] = content.notes
        line |= {"content": content.text} if content.text is not None else bytes_fields("content", content.data)
    return line


def parse_line(text: str, place: str) -> ImportedEvent:
    """Return the event of one line. Raises LogViewError, which names the place."""
    try:
        line = json.loads(text)
        event = Event(_number(line["version"]), _number(line["time_ns"]), _data(line, "head"), _data(line, "body"))
        outcome = _outcome(event.version, line.get("outcome"))
        quarantine = line.get("quarantined")
        if quarantine is not None and not isinstance(quarantine, str):
            raise TypeError("`quarantined` is no text")
    except KeyError as error:
        raise LogViewError(
            f"{place}: {error} is missing; only what `export --format jsonl` wrote can be read"
        ) from error
    except (ValueError, TypeError, AttributeError, binascii.Error) as error:
        raise LogViewError(f"{place} is no line that `export --format jsonl` wrote: {error}") from error
    return ImportedEvent(event, outcome, quarantine, bool(line.get("redacted")))


def _outcome(version: int, outcome: Any) -> Outcome | None:
    if outcome is None:
        return None
    status, length_bytes = _number(outcome["status"]), _number(outcome["length_bytes"])
    return Outcome(version, status, length_bytes, _number(int(outcome["digest"], 16)))


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError(f"{value!r} is no whole number that a log can hold")
    return value


def _data(line: dict[str, Any], name: str) -> bytes:
    if f"{name}_base64" in line:
        return base64.b64decode(line[f"{name}_base64"], validate=True)
    text = line[name]
    if not isinstance(text, str):
        raise TypeError(f"`{name}` is no text")
    return text.encode()
