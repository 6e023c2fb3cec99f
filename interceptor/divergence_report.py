"""Divergent events for people: what was expected, what came, and a command line that shows the request again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from interceptor.divergence import OutcomeComparison
from interceptor.journal import Journal
from interceptor.logview.redaction import DEFAULT_FIELDS
from storage_backends.records import Event

SECRET_FIELDS = DEFAULT_FIELDS
_BATCH_RECORDS_MAX = 64
_BATCH_BYTES_MAX = 1 << 20
# curl sets these by itself.
_FRAMING = frozenset({"host", "content-length", "transfer-encoding"})


async def add_requests(
    journal: Journal, comparison: OutcomeComparison, target: str, secret_fields: Sequence[str] = SECRET_FIELDS
) -> None:
    """Put the request beside each of the first divergences.  Raises LogError."""
    for divergence in comparison.first:
        event = await _event(journal, divergence.version)
        if event is not None:
            comparison.requests[divergence.version] = curl_line(event, target, secret_fields)


def curl_line(event: Event, target: str, secret_fields: Sequence[str] = SECRET_FIELDS) -> str:
    """Return a command that sends the request to `target`; the values of secret fields are left out as ***.

    Content is not shown, since nobody knows what is secret in it: `interceptor log show --body` does.
    """
    lines = event.head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    # Told only the method, curl would wait for the content that HEAD never brings.
    words = ["curl", "-I"] if method == "HEAD" else ["curl", "-i", "-X", method]
    words.append(f"{target}{path}")
    for line in filter(None, lines[1:]):
        name, _, value = line.partition(":")
        if name.lower() in _FRAMING:
            continue
        secret = any(re.fullmatch(re.escape(each), name, re.IGNORECASE) for each in secret_fields)
        words += ["-H", f"{name}: ***" if secret else f"{name}:{value}"]
    if event.body:
        words += ["--data-binary", f"@event-{event.version}.body"]
    return shlex.join(words)


async def _event(journal: Journal, version: int) -> Event | None:
    reader = journal.reader(version)
    try:
        while records := await reader.next_batch(_BATCH_RECORDS_MAX, _BATCH_BYTES_MAX):
            for record in records:
                if isinstance(record, Event) and record.version >= version:
                    return record if record.version == version else None
    finally:
        reader.close()
    return None
