"""Opening a log for one command, and reading the wanted events of it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from interceptor.logview.errors import LogViewError
from interceptor.logview.filters import Filters
from interceptor.logview.joining import JoinedEvent, follow_joined, read_joined
from interceptor.logview.source import LogSource, open_source
from storage_backends.backend import Fact
from storage_backends.errors import LogDamagedError, LogError
from storage_backends.file.repair_plan import lost_end


@contextlib.asynccontextmanager
async def opened_source(log_url: str, key_file: Path | None = None) -> AsyncGenerator[LogSource, None]:
    """Open, and close at the end. Raises LogViewError, LogError."""
    source = await open_source(log_url, key_file)
    try:
        yield source
    finally:
        source.close()


def facts_of(source: LogSource) -> dict[str, Fact]:
    """Return the facts about the log, none where they are damaged: then `verify` says so."""
    try:
        return source.load_facts()
    except LogDamagedError:
        return {}


async def selected(source: LogSource, filters: Filters, last: int | None) -> AsyncGenerator[list[JoinedEvent], None]:
    """Yield the wanted events, or only the last so many of them.

    Raises LogDamagedError, LogGapError, LogViewError: also for an end that is gone, after what is left.
    """
    # Somebody who asks for a version that was trimmed shall be told; without --from the log's first one is meant.
    first_version = filters.from_version or source.first_version
    if filters.to_version is not None and filters.to_version < first_version:
        raise LogViewError(f"--to {filters.to_version}: the log begins with version {first_version}")
    if last is not None and not filters.looks_at_content:
        end_version = source.find_last_version()
        first_version = max(first_version, min(filters.to_version or end_version, end_version) - last + 1)
    facts = facts_of(source)
    with contextlib.closing(source.reader(first_version)) as reader:
        batches = read_joined(reader, replace(filters, from_version=first_version), facts)
        async with aclosing(batches if last is None else _last_of(batches, last)) as wanted:
            async for batch in wanted:
                yield batch
    if filters.to_version is None and (lost := lost_end(facts, source.find_last_version())) is not None:
        raise LogViewError(f"{lost}; what is left was read. `interceptor log verify` says what is wrong altogether")


async def followed(source: LogSource, count: int) -> AsyncGenerator[list[JoinedEvent], None]:
    """Yield the last so many events, then what comes, for ever. Raises LogDamagedError, LogGapError."""
    first_version = max(source.first_version, source.find_last_version() - count + 1)
    with contextlib.closing(source.reader(first_version)) as reader:
        async with aclosing(follow_joined(reader, Filters(first_version), facts_of(source))) as batches:
            async for batch in batches:
                yield batch


async def _last_of(
    batches: AsyncGenerator[list[JoinedEvent], None], count: int
) -> AsyncGenerator[list[JoinedEvent], None]:
    kept: deque[JoinedEvent] = deque(maxlen=count)
    async with aclosing(batches):
        try:
            async for batch in batches:
                kept.extend(batch)
        except LogError:
            yield list(kept)
            raise
    yield list(kept)
