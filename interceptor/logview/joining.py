"""Events together with what became of them.

An outcome comes later in the log than its event, usually within milliseconds; a tombstone, much later.  So events
wait here, in order, for a bounded number of versions and bytes, and leave as soon as their outcome is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from time import monotonic

from interceptor.logview.filters import Filters
from storage_backends.backend import Fact, LogReader
from storage_backends.errors import LogError
from storage_backends.records import Event, Outcome, Quarantine, Record

AHEAD_EVENTS_MAX = 65_536
AHEAD_BYTES_MAX = 64 * 1024 * 1024
READ_RECORDS_MAX = 4_096
READ_BYTES_MAX = 4 * 1024 * 1024
POLL_S = 0.1
FOLLOWED_ANSWER_WAIT_S = 1.0


class JoinedEvent:
    """An event, its first outcome if there is one, and why it is quarantined, if it is."""

    __slots__ = ("event", "outcome", "quarantine")

    def __init__(self, event: Event, quarantine: str | None) -> None:
        self.event = event
        self.outcome: Outcome | None = None
        self.quarantine = quarantine


class Joiner:
    """Takes records in the log's order, gives wanted events in version order."""

    def __init__(self, filters: Filters, quarantined: Collection[int] = ()) -> None:
        self._filters = filters
        self._from_version = filters.from_version or 1
        self._to_version = filters.to_version or 2**64
        pattern = filters.head_pattern()
        self._matches = pattern.match if pattern is not None else None
        self._quarantined = quarantined
        self._waiting: dict[int, JoinedEvent] = {}
        self._waiting_bytes = 0
        self._seen_version = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def done(self) -> bool:
        """Whether nothing that follows in the log can matter any more."""
        return self._seen_version >= self._to_version and not self._waiting

    def take(self, records: list[Record]) -> list[JoinedEvent]:
        """Take the next records; return the events that need not wait any longer."""
        waiting, matches = self._waiting, self._matches
        from_version, to_version = self._from_version, self._to_version
        version = self._seen_version
        for record in records:
            if type(record) is Event:
                version = record.version
                if (matches is None or matches(record.head)) and from_version <= version <= to_version:
                    why = "see the fact `quarantined`" if version in self._quarantined else None
                    waiting[version] = JoinedEvent(record, why)
                    self._waiting_bytes += len(record.head) + len(record.body)
            elif not waiting:
                continue
            elif type(record) is Outcome:
                joined = waiting.get(record[0])
                if joined is not None and joined.outcome is None:
                    joined.outcome = record
            elif type(record) is Quarantine:
                joined = waiting.get(record.version)
                # Where it was released since, the fact has it no more.
                if joined is not None and joined.quarantine is not None:
                    joined.quarantine = record.reason
        self._seen_version = version
        return self._leave() if waiting else []

    def finish(self) -> list[JoinedEvent]:
        """Return the events whose outcome did not come."""
        left = [joined for joined in self._waiting.values() if self._wants(joined)]
        self._waiting.clear()
        self._waiting_bytes = 0
        return left

    def _leave(self) -> list[JoinedEvent]:
        ready: list[JoinedEvent] = []
        oldest_version = self._seen_version - AHEAD_EVENTS_MAX
        waiting, wants = self._waiting, self._filters.wants_status
        wanted_statuses: dict[int, bool] = {}
        left: list[int] = []
        for version, joined in waiting.items():
            outcome = joined.outcome
            if outcome is None:
                patient = version > oldest_version and self._waiting_bytes <= AHEAD_BYTES_MAX
                if patient and joined.quarantine is None:
                    break
                wanted = wants(None)
            else:
                status = outcome[1]
                if status not in wanted_statuses:
                    wanted_statuses[status] = wants(status)
                wanted = wanted_statuses[status]
            left.append(version)
            self._waiting_bytes -= len(joined.event.head) + len(joined.event.body)
            if wanted:
                ready.append(joined)
        if len(left) == len(waiting):
            waiting.clear()
        else:
            for version in left:
                del waiting[version]
        return ready

    def _wants(self, joined: JoinedEvent) -> bool:
        return self._filters.wants_status(joined.outcome.status if joined.outcome is not None else None)


async def read_joined(
    reader: LogReader, filters: Filters, facts: Mapping[str, Fact]
) -> AsyncGenerator[list[JoinedEvent], None]:
    """Yield the wanted events in batches, up to the present end of the log.

    Raises LogDamagedError, LogGapError, after everything before the place was yielded.
    """
    joiner = Joiner(filters, quarantined_in(facts))
    try:
        while not joiner.done and (records := await reader.next_batch(READ_RECORDS_MAX, READ_BYTES_MAX)):
            ready = joiner.take(records)
            if ready:
                yield ready
    except LogError:
        yield joiner.finish()
        raise
    yield joiner.finish()


async def follow_joined(
    reader: LogReader, filters: Filters, facts: Mapping[str, Fact]
) -> AsyncGenerator[list[JoinedEvent], None]:
    """Yield the wanted events for ever, as they come; an event waits a second for its answer, then goes without."""
    joiner = Joiner(filters, quarantined_in(facts))
    quiet_since_s: float | None = None
    while True:
        records = await reader.next_batch(READ_RECORDS_MAX, READ_BYTES_MAX)
        if records:
            quiet_since_s = None
            yield joiner.take(records)
            continue
        now_s = monotonic()
        quiet_since_s = quiet_since_s or now_s
        if joiner.waiting and now_s - quiet_since_s >= FOLLOWED_ANSWER_WAIT_S:
            yield joiner.finish()
        await asyncio.sleep(POLL_S)


def quarantined_in(facts: Mapping[str, Fact]) -> frozenset[int]:
    """Return the versions that the facts about a log call quarantined."""
    versions = facts.get("quarantined")
    return frozenset(v for v in versions if isinstance(v, int)) if isinstance(versions, list) else frozenset()
