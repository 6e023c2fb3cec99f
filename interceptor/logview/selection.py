"""Opening a log for one command, and reading the wanted events of it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from interceptor.logview.filters import Filters
from interceptor.logview.joining import JoinedEvent, read_joined
from interceptor.logview.source import LogSource, open_source


@contextlib.asynccontextmanager
async def opened_source(log_url: str) -> AsyncGenerator[LogSource, None]:
    """Open, and close at the end. Raises LogViewError, LogError."""
    source = await open_source(log_url)
    try:
        yield source
    finally:
        source.close()


async def selected(source: LogSource, filters: Filters, last: int | None) -> AsyncGenerator[list[JoinedEvent], None]:
    """Yield the wanted events, or only the last so many of them. Raises LogDamagedError, LogGapError."""
    # Somebody who asked for a version that was trimmed shall be told; without --from the log's first one is meant.
    first_version = source.first_version if filters.from_version == 1 else filters.from_version
    if last is not None and not filters.looks_at_content:
        end_version = source.find_last_version()
        first_version = max(first_version, min(filters.to_version or end_version, end_version) - last + 1)
    with contextlib.closing(source.reader(first_version)) as reader:
        batches = read_joined(reader, replace(filters, from_version=first_version), source.load_facts())
        async with aclosing(batches if last is None else _last_of(batches, last)) as wanted:
            async for batch in wanted:
                yield batch


async def _last_of(
    batches: AsyncGenerator[list[JoinedEvent], None], count: int
) -> AsyncGenerator[list[JoinedEvent], None]:
    kept: deque[JoinedEvent] = deque(maxlen=count)
    async with aclosing(batches):
        async for batch in batches:
            kept.extend(batch)
    yield list(kept)
