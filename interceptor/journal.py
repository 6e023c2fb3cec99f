"""The proxy's use of the log: append before delivery, sync beside it, outcomes behind it.

One sync covers everything that arrived while the one before it was under way; `group_commit` says when the next one
starts.  In relaxed durability it starts a tenth of `relaxed_window_ms` after the first record that needs it, and
answers go at once, unless an event is older than the window and not durable: then they wait, or a disk that hangs would
make the bound on what was acknowledged and may be lost as large as the ring.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from time import monotonic, time_ns

from interceptor.counters import Counters
from interceptor.group_commit import GroupCommit
from interceptor.undurable_age import UndurableAge
from storage_backends.backend import Fact, LogBackend, LogReader
from storage_backends.errors import LogError, LogFailedError, LogUnavailableError
from storage_backends.memory import MemoryLog
from storage_backends.records import Event, Mark, Outcome, Quarantine, Record

logger = logging.getLogger(__name__)

# Outcomes go with the next events; where none come, they are written after this time.
OUTCOMES_LATEST_S = 0.005
OUTCOMES_BATCH_MAX = 1_024
# What the log had no room for is tried again after this time: facts, and outcomes behind which no event comes.
RETRY_S = 1.0

RELEASE_AT_ONCE = 1 << 62
# A sync has most of the relaxed window for itself, so that a slow one makes nobody wait.
_SYNC_STARTS_AT = 0.1
# So often in a relaxed window it is noted how far the log was, and, while answers wait, whether they still need to.
_AGE_STEPS = 80

# A named tuple's own constructor costs twice as much, once for each request.
_new_tuple = tuple.__new__


class Durability(Enum):
    """When an answer may leave (design rule 2)."""

    STRICT = "strict"
    RELAXED = "relaxed"


class Journal:
    """Owns the backend.  `release_version`: answers to events up to it may leave now."""

    def __init__(
        self,
        backend: LogBackend,
        loop: asyncio.AbstractEventLoop,
        durability: Durability,
        relaxed_window_ms: int,
        counters: Counters,
        commit_delay_us: int = 0,
    ) -> None:
        self.backend = backend
        self.durability = durability
        self.facts: dict[str, Fact] = backend.load_facts()
        self.failure: LogError | None = None
        self.unavailable: LogUnavailableError | None = None
        self.on_durable: Callable[[], None] = _ignore
        # A log that has refused events has flushed some, and may have room again.
        self.on_room: Callable[[], None] = _ignore
        self.on_failed: Callable[[LogError], None] = _ignore_error
        self._loop = loop
        self._window_s = relaxed_window_ms / 1000
        self._sync_after_s = self._window_s * _SYNC_STARTS_AT
        self._counters = counters
        self._outcomes: list[Record] = []
        self._outcomes_timer: asyncio.TimerHandle | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        self._facts_timer: asyncio.TimerHandle | None = None
        self._age_timer: asyncio.TimerHandle | None = None
        self._syncing = False
        self._unsynced = False
        self._sync_started_s = 0.0
        # When the oldest record was appended that no sync covers yet, and that the present one covers.
        self._unsynced_since_s = 0.0
        self._sync_covers_since_s = 0.0
        self._sync_covers = (0, 0)
        self._idle_waiters: list[asyncio.Future[None]] = []
        # In memory "durable" is what was appended: there is nothing to sync.
        # Only this very one: what a third party has made of it, or calls so, may have something to wait for.
        self._never_waits = type(backend) is MemoryLog
        self._strict = durability is Durability.STRICT and not self._never_waits
        self._relaxed = not self._strict and not self._never_waits
        self._age_step_s = self._window_s / _AGE_STEPS
        self._age = UndurableAge(self._age_step_s)
        self.group_commit = GroupCommit(loop, commit_delay_us if self._strict else 0, counters, self._start_sync)
        self._events_unsynced = False
        self._events_refused = False
        self.release_version = backend.durable_version if self._strict else RELEASE_AT_ONCE

    @property
    def last_version(self) -> int:
        return self.backend.last_version

    @property
    def may_have_lost_delivered_events(self) -> bool:
        """Whether an unclean stop may have lost events that a target has got: they were delivered and not yet kept."""
        unclean = self.last_version > 0 and self.facts.get("clean_stop") != self.last_version
        return unclean and not self.backend.keeps_what_it_takes

    @property
    def lost_events_until(self) -> int | None:
        """The last version at a clean stop, where the log ends before it: then its end is gone (design rule 8)."""
        stopped_at = self.facts.get("clean_stop")
        return stopped_at if isinstance(stopped_at, int) and stopped_at > self.last_version else None

    @property
    def durable_version(self) -> int:
        return self.backend.durable_version

    @property
    def durable_lag_s(self) -> float:
        """The age of the oldest record that is not durable; 0 if all are."""
        if self._never_waits or not (self._syncing or self._unsynced):
            return 0.0
        return monotonic() - (self._sync_covers_since_s if self._syncing else self._unsynced_since_s)

    def append(self, events: list[Event]) -> None:
        """Write events, and the outcomes that wait.  Raises LogUnavailableError (nothing taken) or LogFailedError."""
        records: list[Record] = [*self._outcomes, *events] if self._outcomes else events  # type: ignore[assignment]
        if self._relaxed:
            self._age.appending(self.backend.last_version, monotonic())
        self._append(records, with_events=True)
        if self._outcomes:
            self._outcomes = []
        if self._strict:
            self._events_unsynced = True
            if not self._syncing:
                self._commit()

    def append_mark(self, kind: str, version: int, **detail: str | int) -> None:
        """Write a mark (see `records.Mark`), if the log takes it: it only tells people who read the log."""
        self._append_if_possible(Mark(kind, version, time_ns(), detail))

    def append_quarantine(self, version: int, reason: str) -> None:
        """Write a tombstone for an event, if the log takes it; what counts is the fact `quarantined`."""
        self._append_if_possible(Quarantine(version, time_ns(), reason))

    def _append_if_possible(self, record: Record) -> None:
        try:
            self._append([record])
        except LogUnavailableError as error:
            logger.warning("%s is not written to the log: %s", record, error)

    def store_fact(self, name: str, value: Fact) -> None:
        """Keep a fact about the log beside it (see `LogBackend.store_facts`)."""
        self.facts[name] = value
        self._store_facts()

    @property
    def facts_are_stored(self) -> bool:
        """Whether the facts are durable as they are now."""
        return self._facts_timer is None

    def _store_facts(self) -> None:
        if self._facts_timer is not None:
            self._facts_timer.cancel()
            self._facts_timer = None
        try:
            self.backend.store_facts(self.facts)
        except LogUnavailableError as error:
            # Until then they hold in memory; nothing that is acknowledged rests on them.
            logger.warning("the facts about the log are stored later: %s", error)
            self._facts_timer = self._loop.call_later(RETRY_S, self._store_facts)

    def record_outcome(self, version: int, status: int, length_bytes: int, digest: int) -> None:
        """Take an outcome to be written behind."""
        outcomes = self._outcomes
        outcomes.append(_new_tuple(Outcome, (version, status, length_bytes, digest)))
        if self._outcomes_timer is None:
            self._outcomes_timer = self._loop.call_later(OUTCOMES_LATEST_S, self._outcomes_due)
        elif len(outcomes) >= OUTCOMES_BATCH_MAX:
            self.flush_outcomes()

    def flush_outcomes(self) -> None:
        """Write the outcomes that wait, if the log takes them; else they wait on."""
        if not self._outcomes or self.failure is not None:
            return
        try:
            self._append(self._outcomes)
        except LogFailedError:
            # Whoever needs to know has been told.
            return
        except LogError:
            if self._outcomes_timer is None:
                self._outcomes_timer = self._loop.call_later(RETRY_S, self._outcomes_due)
            return
        self._outcomes = []

    def reader(self, from_version: int) -> LogReader:
        """Return a cursor that sees everything that was appended or recorded so far.  Raises LogGapError."""
        self.flush_outcomes()
        return self.backend.reader(from_version)

    async def make_durable(self) -> None:
        """Flush what waits and wait until everything that was appended is durable.  Raises LogError."""
        self.flush_outcomes()
        while self._unsynced or self._syncing:
            if self.failure is not None:
                raise self.failure
            self._start_sync()
            waiter = self._loop.create_future()
            self._idle_waiters.append(waiter)
            await waiter
        if self.failure is not None:
            raise self.failure

    async def make_facts_durable(self) -> bool:
        """Wait until the facts are kept; return whether they are, False where the log has no room.  Raises LogError."""
        if self.facts_are_stored:
            # A database keeps them with or behind the records; a file log has them on disk by now.
            self._unsynced = True
            await self.make_durable()
        return self.facts_are_stored

    async def close(self, deadline_s: float | None = None) -> None:
        """Make everything durable and close the backend.

        `deadline_s`, by the loop's clock, ends the waiting.  Raises LogError, TimeoutError.
        """
        try:
            async with asyncio.timeout_at(deadline_s):
                await self.make_durable()
        finally:
            for timer in (self._outcomes_timer, self._sync_timer, self._facts_timer, self._age_timer):
                if timer is not None:
                    timer.cancel()
            self.group_commit.close()
            self.backend.close()

    def _append(self, records: list[Record], *, with_events: bool = False) -> None:
        if self.failure is not None:
            raise self.failure
        try:
            self.backend.append(records)
        except LogUnavailableError as error:
            if self.unavailable is None:
                logger.error("the log takes no records, requests are held: %s", error)
            self.unavailable = error
            if error.limit is not None:
                self._counters.limits_reached[error.limit] += 1
            self._events_refused = self._events_refused or with_events
            raise
        except LogFailedError as final:
            self._fail(final)
            raise
        # A few outcomes may find room where the events that are held find none.
        if self.unavailable is not None and (with_events or not self._events_refused):
            self.unavailable = None
            self._events_refused = False
            logger.warning("the log takes records again")
        if not self._unsynced:
            self._unsynced = True
            self._unsynced_since_s = monotonic()
        if self._sync_timer is None and not self._syncing and not self._never_waits:
            # In strict durability `append` does not wait for this; outcomes, written behind, do.
            self._sync_timer = self._loop.call_later(self._sync_after_s, self._sync_due)

    def _outcomes_due(self) -> None:
        self._outcomes_timer = None
        self.flush_outcomes()

    def _sync_due(self) -> None:
        self._sync_timer = None
        if self._unsynced:
            self._start_sync()

    def _commit(self) -> None:
        if self.group_commit.may_start():
            self._start_sync()

    def _start_sync(self) -> None:
        if self._syncing or self.failure is not None:
            return
        self.group_commit.sync_starts()
        self._syncing = True
        self._sync_started_s = monotonic()
        self._sync_covers_since_s = self._unsynced_since_s if self._unsynced else self._sync_started_s
        self._unsynced = self._events_unsynced = False
        backend = self.backend
        self._sync_covers = (backend.last_version - backend.durable_version, backend.ring.undurable_bytes)
        self.backend.sync(self._synced)
        if self._relaxed:
            self._bound_age()

    def _bound_age(self) -> None:
        """Relaxed: have answers wait for the log while an event is older than the window and not durable."""
        if self._age_timer is not None:
            self._age_timer.cancel()
            self._age_timer = None
        if self.failure is not None:
            return
        release_version = RELEASE_AT_ONCE
        if self._syncing:
            since_s = max(self._sync_covers_since_s, self._age.durable_until_s(self.backend.durable_version))
            left_s = since_s + self._window_s - monotonic()
            if left_s <= 0:
                if self.release_version == RELEASE_AT_ONCE:
                    self._counters.limits_reached["relaxed_window_ms"] += 1
                # What left has left; a part of it may be durable soon.
                release_version, left_s = self.backend.durable_version, self._age_step_s
            self._age_timer = self._loop.call_later(left_s, self._bound_age)
        if release_version != self.release_version:
            self.release_version = release_version
            self.on_durable()

    def _synced(self, error: LogError | None) -> None:
        self._syncing = False
        took_s = monotonic() - self._sync_started_s
        self._counters.sync.observe(took_s)
        if error is None:
            self._counters.spill_events.observe(self._sync_covers[0])
            self._counters.spill_bytes.observe(self._sync_covers[1])
        if error is not None:
            self._fail(error)
        elif self._strict:
            self.release_version = self.backend.durable_version
            self.group_commit.sync_ended(self.release_version)
            if self._events_unsynced:
                self._commit()
            self.on_durable()
        if error is None and self._events_refused:
            self.on_room()
        if self._unsynced and not self._syncing and self._sync_timer is None and error is None:
            self._sync_what_came_meanwhile()
        if self._relaxed and not self._syncing:
            self._bound_age()
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _sync_what_came_meanwhile(self) -> None:
        # In strict durability only outcomes wait for this; group commit says when events are synced.
        waited_s = monotonic() - self._unsynced_since_s if self._relaxed else 0.0
        if waited_s < self._sync_after_s:
            self._sync_timer = self._loop.call_later(self._sync_after_s - waited_s, self._sync_due)
        else:
            self._start_sync()

    def _fail(self, error: LogError) -> None:
        if self.failure is None:
            self.failure = error
            # In relaxed durability too: what left within the window has left, but nothing more does.
            self.release_version = self.backend.durable_version
            logger.critical("the log has failed, nothing is acknowledged any more: %s", error)
            self.on_failed(error)


def _ignore() -> None:
    """Nobody waits yet."""


def _ignore_error(error: LogError) -> None:
    """Nobody waits yet."""
