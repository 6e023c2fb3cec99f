"""Secrets in field lines: the values of some fields are replaced before anything is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interceptor.logview.errors import LogViewError
from storage_backends.records import Event

DEFAULT_FIELDS = ("Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie")
REDACTED = b"***"
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Redaction:
    """Replaces the values of the named fields.  With no name it replaces nothing. Raises LogViewError for no name."""

    def __init__(self, names: Sequence[str]) -> None:
        for name in names:
            if not _NAME.fullmatch(name):
                raise LogViewError(f"--redact-header {name}: this can't be the name of a header field")
        self._lines = (
            re.compile(rb"(?im)^(%b):[^\r\n]*" % b"|".join(re.escape(name.encode()) for name in names))
            if names
            else None
        )

    def apply(self, event: Event) -> tuple[Event, bool]:
        """Return the event as it may be shown, and whether that is another one than it was."""
        if self._lines is None:
            return event, False
        head, in_head = self._lines.subn(rb"\1: " + REDACTED, event.head)
        body, in_trailers = event.body, 0
        trailers_at = _trailers_at(event)
        if trailers_at is not None:
            trailers, in_trailers = self._lines.subn(rb"\1: " + REDACTED, body[trailers_at:])
            body = body[:trailers_at] + trailers
        if not in_head and not in_trailers:
            return event, False
        return Event(event.version, event.time_ns, head, body), True


def _trailers_at(event: Event) -> int | None:
    """Return where the trailer fields of a chunked body begin; None without any."""
    if b"chunked" not in event.head.lower() or event.body.endswith(b"\r\n0\r\n\r\n"):
        return None
    at = event.body.rfind(b"\r\n0\r\n")
    if at >= 0:
        return at + 5
    return 3 if event.body.startswith(b"0\r\n") else None
