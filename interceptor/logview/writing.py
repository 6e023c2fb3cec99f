"""Events to an output, as lines, JSON lines or HAR."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeAlias

from interceptor.logview.errors import LogViewError
from interceptor.logview.har import HAR_END, har_begin, har_entry
from interceptor.logview.joining import JoinedEvent
from interceptor.logview.jsonl import as_json
from interceptor.logview.lines import event_line, event_text
from interceptor.logview.redaction import Redaction

Format: TypeAlias = Callable[[JoinedEvent], str]


def chosen_format(redaction: Redaction, *, as_json: bool, with_body: bool) -> Format:
    """Return what makes a line, or a line with head and body, or a JSON line, of an event."""
    if as_json:
        return json_format(redaction, with_message=with_body, with_content=with_body)
    if not with_body:
        return event_line
    return lambda joined: event_text(_redacted(joined, redaction)[0])


def json_format(redaction: Redaction, *, with_message: bool, with_content: bool) -> Format:
    """Return what makes a JSON line of an event."""

    def format_event(joined: JoinedEvent) -> str:
        shown, changed = _redacted(joined, redaction)
        return json.dumps(as_json(shown, with_message=with_message, with_content=with_content, redacted=changed))

    return format_event


def write_out(text: str) -> None:
    """Write to standard output, where somebody may be waiting for it."""
    sys.stdout.write(text)
    sys.stdout.flush()


async def write_all(
    batches: AsyncIterator[list[JoinedEvent]], format_event: Format, write: Callable[[str], object]
) -> int:
    """Write each event; return how many there were."""
    count = 0
    async for batch in batches:
        if batch:
            count += len(batch)
            write("".join([f"{format_event(joined)}\n" for joined in batch]))
    return count


async def write_har(
    batches: AsyncIterator[list[JoinedEvent]], redaction: Redaction, is_redacting: bool, output: TextIO
) -> int:
    """Write one HAR document; return how many events are in it."""
    count = 0
    output.write(har_begin(redacted=is_redacting))
    async for batch in batches:
        for joined in batch:
            shown, changed = _redacted(joined, redaction)
            output.write((",\n" if count else "") + json.dumps(har_entry(shown, redacted=changed)))
            count += 1
    output.write(HAR_END)
    return count


@contextmanager
def opened_output(path: Path | None) -> Iterator[TextIO]:
    """Give a new file, which must not exist yet, or standard output. Raises LogViewError."""
    if path is None:
        yield sys.stdout
        return
    try:
        # It may hold secrets, as the log does.
        with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
    except FileExistsError as error:
        raise LogViewError(f"{path} exists already: choose another name, or remove it") from error
    except OSError as error:
        raise LogViewError(f"{path} can't be written: {error.strerror}") from error


def _redacted(joined: JoinedEvent, redaction: Redaction) -> tuple[JoinedEvent, bool]:
    event, changed = redaction.apply(joined.event)
    if not changed:
        return joined, False
    shown = JoinedEvent(event, joined.quarantine)
    shown.outcome = joined.outcome
    return shown, True
