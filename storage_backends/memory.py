"""memory: — the ring alone.

Nothing survives the process; "durable" here means that it is in the ring.  Once version 1 was dropped a reader from
1 is refused (design rule 8), so this log suits tests, demonstrations and targets that checkpoint often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from storage_backends.backend import Fact, RingState
from storage_backends.errors import LogError, LogFailedError
from storage_backends.options import LogOptions
from storage_backends.records import Record
from storage_backends.ring import Ring


def open_memory_log(url: str, options: LogOptions) -> MemoryLog:
    """Return an empty log that lives in this process."""
    return MemoryLog(url, options)


class MemoryLog:
    """The backend for `memory:`. Implements LogBackend."""

    __slots__ = ("_closed", "_facts", "_ring", "url")

    def __init__(self, url: str, options: LogOptions) -> None:
        self.url = url
        self._ring = Ring(options.ring_events_max, options.ring_bytes_max)
        self._facts: dict[str, Fact] = {}
        self._closed = False

    async def start(self) -> None:
        """Nothing is left to do: the log is open."""

    @property
    def keeps_what_it_takes(self) -> bool:
        return False

    @property
    def first_version(self) -> int:
        return self._ring.first_version

    @property
    def last_version(self) -> int:
        return self._ring.last_version

    @property
    def durable_version(self) -> int:
        return self._ring.last_version

    @property
    def size_bytes(self) -> int:
        return self._ring.size_bytes

    @property
    def ring(self) -> RingState:
        ring = self._ring
        events = ring.last_version - ring.first_version + 1
        return RingState(events, ring.size_bytes, ring.entries_max, ring.bytes_max, 0)

    def append(self, records: Sequence[Record]) -> None:
        self._check_open()
        self._ring.append(records)

    def sync(self, done: Callable[[LogError | None], None]) -> None:
        self._check_open()
        asyncio.get_running_loop().call_soon(done, None)

    def reader(self, from_version: int) -> MemoryReader:
        self._check_open()
        return MemoryReader(self._ring, self._ring.position(from_version))

    def trim(self, below_version: int) -> None:
        self._ring.trim(below_version)

    def load_facts(self) -> dict[str, Fact]:
        return dict(self._facts)

    def store_facts(self, facts: Mapping[str, Fact]) -> None:
        self._facts = dict(facts)

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise LogFailedError(f"{self.url} is closed")


class MemoryReader:
    """A position in the ring. Implements LogReader."""

    __slots__ = ("_position", "_ring")

    def __init__(self, ring: Ring, position: int) -> None:
        self._ring = ring
        self._position = position

    async def next_batch(self, events_max: int, bytes_max: int) -> list[Record]:
        records, self._position = self._ring.read(self._position, events_max, bytes_max)
        return records

    def close(self) -> None:
        pass
