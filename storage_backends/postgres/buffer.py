"""What was appended and is not committed yet: bounded, in order, and readable.

Records are kept in the batches in which they came, so taking them costs almost nothing; a key (version, ordinal), the
primary key in the table, says where a batch begins.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from storage_backends.backend import RingState
from storage_backends.postgres.rows import EVENT_BYTES_MAX, check_outcome, rare_fields
from storage_backends.records import Event, Outcome, Record
from storage_backends.ring import EVENT_OVERHEAD_BYTES, RARE_ENTRY_BYTES

OUTCOME_BYTES = 240
"""What CPython needs for an Outcome and its four integers."""

Key: TypeAlias = tuple[int, int]


class Batch(NamedTuple):
    """One append.  `before` is the key of the record in front of it, `end` that of its last one."""

    before: Key
    end: Key
    records: Sequence[Record]
    entries: int
    size_bytes: int
    content_bytes: int


class Uncommitted:
    """The batches between what is committed (`begin`) and what was appended (`end`)."""

    def __init__(self, entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._batches: list[Batch] = []
        self.begin: Key = (0, 0)
        self.end: Key = (0, 0)
        self.entries = 0
        self.size_bytes = 0

    @property
    def state(self) -> RingState:
        """How full it is; all that is here is not durable."""
        return RingState(self.entries, self.size_bytes, self._entries_max, self._bytes_max, self.size_bytes)

    def __bool__(self) -> bool:
        return bool(self._batches)

    def reset(self, end: Key) -> None:
        """Begin behind what was found in the table."""
        self.begin = self.end = end

    def append(self, records: Sequence[Record]) -> bool:
        """Add a batch; False if there is no room for it (an empty buffer takes any).

        Raises ValueError (nothing was added) for a version gap, or for what the table can't hold.
        """
        try:
            batch = self._measured(records)
        except TypeError as error:
            # Compiled, the loop itself refuses what is no record.
            raise ValueError(f"a record can't be kept: {error}") from error
        full = self.entries + batch.entries > self._entries_max or self.size_bytes + batch.size_bytes > self._bytes_max
        if full and self._batches:
            return False
        self._batches.append(batch)
        self.end = batch.end
        self.entries += batch.entries
        self.size_bytes += batch.size_bytes
        return True

    def take(self, records_max: int, bytes_max: int) -> list[Batch]:
        """Return the oldest batches, about as many as asked for and at least one if there is one; they stay here."""
        taken: list[Batch] = []
        count = size_bytes = 0
        for batch in self._batches:
            count += len(batch.records)
            size_bytes += batch.content_bytes
            if taken and (count > records_max or size_bytes > bytes_max):
                break
            taken.append(batch)
        return taken

    def drop(self, batches: int) -> None:
        """Forget the oldest batches: they are committed."""
        for batch in self._batches[:batches]:
            self.entries -= batch.entries
            self.size_bytes -= batch.size_bytes
            self.begin = batch.end
        del self._batches[:batches]

    def read(self, after: Key, records_max: int, bytes_max: int) -> tuple[list[Record], Key]:
        """Return about as many records behind the key `after` as asked for, and the key of the last one."""
        records: list[Record] = []
        size_bytes = 0
        at = max(0, bisect_right(self._batches, after, key=_before) - 1)
        while at < len(self._batches):
            version, ordinal = self._batches[at].before
            for record in self._batches[at].records:
                if type(record) is Event:
                    version, ordinal = record.version, 0
                else:
                    ordinal += 1
                if (version, ordinal) <= after:
                    continue
                if records and (len(records) >= records_max or size_bytes >= bytes_max):
                    return records, after
                records.append(record)
                after = (version, ordinal)
                size_bytes += len(record.head) + len(record.body) if type(record) is Event else OUTCOME_BYTES
            at += 1
        return records, after

    def _measured(self, records: Sequence[Record]) -> Batch:
        version, ordinal = self.end
        entries = size_bytes = content_bytes = outcomes = 0
        for record in records:
            if type(record) is Event:
                version += 1
                ordinal = 0
                if record.version != version:
                    raise ValueError(f"event {record.version} does not continue version {version - 1}")
                event_bytes = len(record.head) + len(record.body)
                if event_bytes > EVENT_BYTES_MAX:
                    raise ValueError(f"event {version} has {event_bytes} bytes; a row holds {EVENT_BYTES_MAX}")
                content_bytes += event_bytes
                size_bytes += event_bytes + EVENT_OVERHEAD_BYTES
                entries += 1
            elif type(record) is Outcome:
                check_outcome(record)
                ordinal += 1
                outcomes += 1
            else:
                rare_fields(record)
                ordinal += 1
                entries += 1
                size_bytes += RARE_ENTRY_BYTES
        size_bytes += outcomes * OUTCOME_BYTES
        return Batch(self.end, (version, ordinal), tuple(records), entries + (outcomes > 0), size_bytes, content_bytes)


def _before(batch: Batch) -> Key:
    return batch.before
