"""The ring in front of the segments: the newest batches, as they were appended, bounded in events and bytes.

The bytes of a batch are in the page cache before it is delivered, so nothing is ever spilled late and nothing is lost
when a batch is dropped from here: a reader then takes it from the file.  What is not flushed yet is bounded by the
same numbers (`FileLog.append` refuses), because a disk that hangs would else let the page cache grow without an end.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from storage_backends.file.segment import HEADER_BYTES, Segment
from storage_backends.records import Record

RECORD_OVERHEAD_BYTES = 240
"""What CPython needs for an event or an outcome beside its bytes; an estimate, so that taking a batch costs no loop."""

_COMPACT_AT_BATCHES = 1024

# A named tuple's own constructor costs twice as much.
_new_tuple = tuple.__new__


class RecentBatch(NamedTuple):
    """One append: where its frames stand, which versions it takes the log from and to, and its records in clear."""

    place: tuple[int, int]
    next_version: int
    events: int
    segment: Segment
    end_bytes: int
    records: Sequence[Record]
    size_bytes: int


class RecentBatches:
    """The newest batches in order, each with a number that never changes. The newest one is always kept."""

    __slots__ = ("_base", "_batches", "_start", "bytes_max", "events", "events_max", "size_bytes")

    def __init__(self, events_max: int, bytes_max: int) -> None:
        self.events_max = events_max
        self.bytes_max = bytes_max
        self._batches: list[RecentBatch | None] = []
        self._base = 0
        self._start = 0
        self.events = 0
        self.size_bytes = 0

    def add(
        self, segment: Segment, begin_bytes: int, next_version: int, end_version: int, records: Sequence[Record]
    ) -> None:
        """Take a batch whose frames stand in `segment` from `begin_bytes` on; drop what exceeds the bounds."""
        end_bytes = segment.end_bytes
        events = end_version - next_version
        size_bytes = end_bytes - begin_bytes + RECORD_OVERHEAD_BYTES * len(records)
        batch = (
            (segment.first_version, begin_bytes),
            next_version,
            events,
            segment,
            end_bytes,
            tuple(records),
            size_bytes,
        )
        self._batches.append(_new_tuple(RecentBatch, batch))
        self.events += events
        self.size_bytes += size_bytes
        if self.events > self.events_max or self.size_bytes > self.bytes_max:
            self._drop()

    @property
    def end(self) -> int:
        """The number that the next batch will get."""
        return self._base + len(self._batches)

    @property
    def begin(self) -> tuple[int, int] | None:
        """The first place that can be read here: a segment's first version and an offset in it; None without any."""
        first = self._batches[self._start] if self._start < len(self._batches) else None
        return first.place if first else None

    def get(self, number: int) -> RecentBatch | None:
        """Return the batch of that number; None if it was dropped or is still to come."""
        at = number - self._base
        return self._batches[at] if self._start <= at < len(self._batches) else None

    def number_at(self, place: tuple[int, int]) -> int | None:
        """Return the number of the batch that begins at the place; None if none here does."""
        return self._number(bisect_left(self._batches, place, lo=self._start, key=_place), place)

    def number_for(self, version: int) -> int | None:
        """Return the number of the batch from which the event `version`, and what follows the one before, is read."""
        at = bisect_left(self._batches, version, lo=self._start, key=_next_version) - 1
        if at >= self._start:
            return self._base + at
        # The log's very first batch has nothing before it.
        return self._number(self._start, (1, HEADER_BYTES)) if version == 1 else None

    def _number(self, at: int, place: tuple[int, int]) -> int | None:
        batch = self._batches[at] if at < len(self._batches) else None
        return self._base + at if batch and batch.place == place else None

    def _drop(self) -> None:
        batches = self._batches
        while (self.events > self.events_max or self.size_bytes > self.bytes_max) and self._start < len(batches) - 1:
            batch = batches[self._start]
            assert batch is not None
            batches[self._start] = None
            self._start += 1
            self.events -= batch.events
            self.size_bytes -= batch.size_bytes
        if self._start > _COMPACT_AT_BATCHES and 2 * self._start > len(self._batches):
            del self._batches[: self._start]
            self._base += self._start
            self._start = 0


def _place(batch: RecentBatch | None) -> tuple[int, int]:
    assert batch is not None
    return batch.place


def _next_version(batch: RecentBatch | None) -> int:
    assert batch is not None
    return batch.next_version
