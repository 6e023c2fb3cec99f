"""One event as a line, as a line with its body below, and times as text."""

from __future__ import annotations

from datetime import UTC, datetime

from interceptor.logview.content import decode_content, hexdump, printable, request_line
from interceptor.logview.joining import JoinedEvent

SHOWN_TEXT_MAX = 64 * 1024
HEADING = f"{'version':>8}  {'time (UTC)':<23}  {'method':<7} {'target':<40} {'status':>6} {'length':>9}  digest"


def time_text(time_ns: int | None, *, precise: bool = False) -> str:
    """Return a time as 2026-01-31T23:59:59.123 (with Z and nanoseconds if precise); `-` for none."""
    if time_ns is None:
        return "-"
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{time_ns} ns"
    return f"{text}.{rest_ns:09}Z" if precise else f"{text}.{rest_ns // 1_000_000:03}"


def event_line(joined: JoinedEvent) -> str:
    """Return the event as one line."""
    event, outcome = joined.event, joined.outcome
    method, target, _ = request_line(event.head)
    answer = (
        f"{outcome.status:>6} {outcome.length_bytes:>9}  {outcome.digest:016x}" if outcome else f"{'-':>6} {'-':>9}  -"
    )
    mark = f"  QUARANTINED: {printable(joined.quarantine)}" if joined.quarantine is not None else ""
    return (
        f"{event.version:>8}  {time_text(event.time_ns):<23}  {printable(method):<7} {printable(target):<40} "
        f"{answer}{mark}"
    )


def event_text(joined: JoinedEvent) -> str:
    """Return the event as a line, with its head and its decoded body below."""
    event = joined.event
    content = decode_content(event.head, event.body)
    head = printable(event.head.decode("latin-1").replace("\r\n", "\n")).rstrip("\n")
    parts = [event_line(joined), _indented(head)]
    if content.notes:
        parts.append(f"    ({'; '.join(content.notes)})")
    if content.data:
        parts += ["", _indented(_body_text(content.text, content.data))]
    return "\n".join(parts) + "\n"


def _body_text(text: str | None, data: bytes) -> str:
    if text is None:
        return hexdump(data)
    shown = printable(text[:SHOWN_TEXT_MAX].replace("\r\n", "\n"))
    return shown if len(text) <= SHOWN_TEXT_MAX else f"{shown}\n… {len(text) - SHOWN_TEXT_MAX} more characters"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.split("\n"))
