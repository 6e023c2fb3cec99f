"""The protocol between the log's users and the places where a log can be kept.

One exclusive writer, any number of readers.  All methods are called from the event loop's thread and none of them
blocks on a disk's or a database's flush: `append` takes records, `sync` makes what was taken durable and calls back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from storage_backends.errors import LogError
from storage_backends.records import Record

# What JSON can say.
Fact: TypeAlias = "str | int | float | bool | list[Fact] | dict[str, Fact] | None"


class RingState(NamedTuple):
    """How full the bounded memory in front of the log's place is (`ring_events_max`, `ring_bytes_max`).

    `undurable_bytes` is what was appended and does not survive yet what this backend promises.
    """

    events: int
    size_bytes: int
    events_max: int
    bytes_max: int
    undurable_bytes: int


class LogReader(Protocol):
    """A cursor.  It sees every record that was appended, in append order, and can go on where it had ended."""

    async def next_batch(self, events_max: int, bytes_max: int) -> list[Record]:
        """Return the next records, at most about `events_max` records or `bytes_max` bytes of them; [] at the end.

        A later call returns what was appended since.  Raises LogDamagedError at a damaged record, after everything
        before it has been returned, LogKeyError in the same way at a sealed event whose key was not given, and
        LogGapError when what comes next was trimmed or dropped.
        """
        ...

    def close(self) -> None:
        """Release what the cursor holds.  Can be called twice."""
        ...


class LogBackend(Protocol):
    """Where a log is kept.  Opened by `storage_backends.open_log(url)`."""

    @property
    def url(self) -> str:
        """Where the log is kept, without secrets."""
        ...

    async def start(self) -> None:
        """Do what opening needs to wait for; awaited once, before anything else.

        Raises LogConfigurationError, LogLockedError, LogDamagedError, LogKeyError, LogUnavailableError.
        """
        ...

    @property
    def keeps_what_it_takes(self) -> bool:
        """Whether records survive our own death as soon as `append` returns, and not only when they are durable."""
        ...

    @property
    def first_version(self) -> int:
        """The oldest event that can be read; last_version + 1 when there is none."""
        ...

    @property
    def last_version(self) -> int:
        """The newest event that was appended; 0 when there never was one."""
        ...

    @property
    def durable_version(self) -> int:
        """Every event up to it survives what this backend promises (memory: the life of this process)."""
        ...

    @property
    def size_bytes(self) -> int:
        """What the log occupies at its place."""
        ...

    @property
    def ring(self) -> RingState:
        """What is kept in memory, for metrics."""
        ...

    def append(self, records: Sequence[Record]) -> None:
        """Take records; events among them continue last_version without a gap (else ValueError).

        When it returns, readers see them, and they survive the death of this process (not of the machine), where
        the backend can promise that at all.  Raises LogUnavailableError (nothing of the batch was kept, the same
        batch may be appended later) or LogFailedError.
        """
        ...

    def sync(self, done: Callable[[LogError | None], None]) -> None:
        """Start to make durable what was appended so far; `done` is called once from the event loop's thread.

        One sync at a time.  After `done(error)` with an error the backend is failed for good: each further append
        and sync raises LogFailedError (design rule 9).
        """
        ...

    def reader(self, from_version: int) -> LogReader:
        """Return a cursor that begins at or before the event `from_version` (records before it may be skipped).

        Raises LogGapError if that event was trimmed or dropped. from_version = last_version + 1 reads the future.
        """
        ...

    def trim(self, below_version: int) -> None:
        """Allow the backend to forget events below `below_version`; it may keep some of them."""
        ...

    def load_facts(self) -> dict[str, Fact]:
        """Return the facts that were stored last; {} for a new log."""
        ...

    def store_facts(self, facts: Mapping[str, Fact]) -> None:
        """Replace the facts about the log (which incarnation is in step, what is quarantined, a clean stop), durably.

        For a few small values that change seldom; may block for one flush.  Raises LogUnavailableError: the old ones
        then stand.
        """
        ...

    def close(self) -> None:
        """Flush, release the writer's lock.  Can be called twice.

        Blocks for a bounded time.  A sync that is under way was given up by its caller, who is told nothing more.
        """
        ...
