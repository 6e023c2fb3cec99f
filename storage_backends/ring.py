"""The ring: the newest records in memory, bounded in number and bytes; the oldest are dropped.

Every entry has a position that never changes, so a cursor is one integer and a read is a slice.  Outcomes are as
many as events but need nobody's attribute access here, so the consecutive ones of a batch are packed into one entry.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

from storage_backends.errors import LogGapError
from storage_backends.records import Event, Mark, Outcome, Quarantine, Record

EVENT_OVERHEAD_BYTES = 240
"""What CPython needs for an Event beside its bytes: object, two integers, two bytes headers, the ring's slot."""

RARE_ENTRY_BYTES = 1024
PACKED_OVERHEAD_BYTES = 48
_COMPACT_AT_ENTRIES = 1024

_OUTCOME = struct.Struct("<QIQQ")

_Entry: TypeAlias = Event | bytes | Quarantine | Mark | None
"""bytes are packed outcomes; None is a dropped entry whose slot has not been given back yet."""


class Ring:
    """A bounded sequence of records. The newest entry is kept even if it alone exceeds the bound in bytes."""

    __slots__ = (
        "_base",
        "_entries",
        "_start",
        "bytes_max",
        "entries_max",
        "first_version",
        "last_version",
        "size_bytes",
    )

    def __init__(self, entries_max: int, bytes_max: int) -> None:
        self._entries: list[_Entry] = []
        self._base = 0
        self._start = 0
        self.entries_max = entries_max
        self.bytes_max = bytes_max
        self.first_version = 1
        self.last_version = 0
        self.size_bytes = 0

    @property
    def end(self) -> int:
        """The position that the next entry will get."""
        return self._base + len(self._entries)

    def append(self, records: Sequence[Record]) -> None:
        """Add a batch, then drop what exceeds the bounds. Raises ValueError (nothing was added) on a version gap."""
        version = self.last_version
        size_bytes = 0
        staged: list[_Entry] = []
        stage = staged.append
        outcomes: list[Outcome] = []
        for record in records:
            if type(record) is Event:
                version += 1
                if record.version != version:
                    raise ValueError(f"event {record.version} does not continue version {version - 1}")
                if outcomes:
                    size_bytes += _stage_packed(staged, outcomes)
                    outcomes = []
                size_bytes += len(record.head) + len(record.body) + EVENT_OVERHEAD_BYTES
                stage(record)
            elif type(record) is Outcome:
                outcomes.append(record)
            elif isinstance(record, (Quarantine, Mark)):
                if outcomes:
                    size_bytes += _stage_packed(staged, outcomes)
                    outcomes = []
                size_bytes += RARE_ENTRY_BYTES
                stage(record)
            else:
                raise ValueError(f"{type(record).__name__} is no record of the log")
        if outcomes:
            size_bytes += _stage_packed(staged, outcomes)
        entries = self._entries
        entries += staged
        self.last_version = version
        self.size_bytes += size_bytes
        if len(entries) - self._start > self.entries_max or self.size_bytes > self.bytes_max:
            self._drop()

    def position(self, version: int) -> int:
        """Return the position right behind the event `version` − 1.

        Raises LogGapError unless first_version <= version <= last_version + 1.
        """
        if version < self.first_version:
            raise self.gap(f"version {version} is no longer in memory")
        if version > self.last_version + 1:
            raise LogGapError(f"version {version} is not yet in the log, whose last version is {self.last_version}")
        low, high = self._start, len(self._entries)
        while low < high:
            middle = (low + high) // 2
            found = middle
            while found < high and type(self._entries[found]) is not Event:
                found += 1
            entry = self._entries[found] if found < high else None
            if type(entry) is Event and entry.version < version:
                low = found + 1
            else:
                high = middle
        return self._base + low

    def read(self, position: int, records_max: int, bytes_max: int) -> tuple[list[Record], int]:
        """Return about `records_max` records or `bytes_max` bytes from `position`, and the position behind them.

        At least one entry is returned unless there is none. Raises LogGapError if `position` was dropped.
        """
        index = position - self._base
        if index < self._start:
            raise self.gap("the reader was overtaken: what it would have read next was dropped from memory")
        records: list[Record] = []
        size_bytes = 0
        entries = self._entries
        while index < len(entries) and len(records) < records_max and size_bytes < bytes_max:
            entry = entries[index]
            index += 1
            if type(entry) is Event:
                size_bytes += len(entry.head) + len(entry.body)
                records.append(entry)
            elif type(entry) is bytes:
                size_bytes += len(entry)
                records += map(Outcome._make, _OUTCOME.iter_unpack(entry))
            elif isinstance(entry, (Quarantine, Mark)):
                records.append(entry)
        return records, self._base + index

    def trim(self, below_version: int) -> None:
        """Drop the events below `below_version` and what stands before and between them."""
        while self.first_version < below_version and self.first_version <= self.last_version:
            self._drop_first()
        self._compact()

    def gap(self, what: str) -> LogGapError:
        """Return the error for something that was dropped."""
        return LogGapError(
            f"{what}; the first version kept is {self.first_version} (the memory log is bounded by ring_events_max"
            f" = {self.entries_max} and ring_bytes_max = {self.bytes_max}; a file or database log keeps everything)"
        )

    def _drop(self) -> None:
        last = len(self._entries) - 1
        while self._start < last and (last - self._start >= self.entries_max or self.size_bytes > self.bytes_max):
            self._drop_first()
        self._compact()

    def _drop_first(self) -> None:
        entry = self._entries[self._start]
        self._entries[self._start] = None
        self._start += 1
        if type(entry) is Event:
            self.first_version = entry.version + 1
            self.size_bytes -= len(entry.head) + len(entry.body) + EVENT_OVERHEAD_BYTES
        else:
            self.size_bytes -= _entry_bytes(entry)

    def _compact(self) -> None:
        # Giving slots back only when half are empty makes the cost of the copy a constant for each entry.
        if self._start > _COMPACT_AT_ENTRIES and 2 * self._start > len(self._entries):
            del self._entries[: self._start]
            self._base += self._start
            self._start = 0


def _stage_packed(staged: list[_Entry], outcomes: list[Outcome]) -> int:
    """Add outcomes as one entry, 28 bytes each; return its size. Raises ValueError for a number out of range."""
    try:
        packed = b"".join([_OUTCOME.pack(*outcome) for outcome in outcomes])
    except struct.error as error:
        raise ValueError(f"an outcome can't be kept: {error}") from error
    staged.append(packed)
    return len(packed) + PACKED_OVERHEAD_BYTES


def _entry_bytes(entry: _Entry) -> int:
    return len(entry) + PACKED_OVERHEAD_BYTES if type(entry) is bytes else RARE_ENTRY_BYTES
