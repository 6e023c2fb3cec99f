"""A log in memory whose syncs and failures the test brings about by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xxhash

from storage_backends.backend import Fact, RingState
from storage_backends.errors import LogError, LogFailedError, LogUnavailableError
from storage_backends.memory import MemoryReader
from storage_backends.records import Outcome, Record
from storage_backends.ring import Ring
from tests.interceptor.fakes import event

SyncDone = Callable[[LogError | None], None]

UNAVAILABLE = LogUnavailableError("fake: no space left")
FAILED = LogFailedError("fake: sync failed")


class FakeBackend:
    """A log in memory whose syncs the test completes by hand, or `syncs_soon`.  Implements LogBackend."""

    def __init__(self, url: str = "fake:") -> None:
        self.url = url
        self.keeps_what_it_takes = True
        self.syncs_soon = False
        self.records = Ring(65_536, 64 * 1024 * 1024)
        self.durable_version = 0
        self.calls: list[str] = []
        self.batches: list[list[Record]] = []
        self.facts: dict[str, Fact] = {}
        self.fail_append: LogError | None = None
        self.fail_facts: LogError | None = None
        self.closed = False
        self._syncs: list[tuple[int, SyncDone]] = []

    async def start(self) -> None:
        """It is open."""

    @property
    def first_version(self) -> int:
        return self.records.first_version

    @property
    def last_version(self) -> int:
        return self.records.last_version

    @property
    def size_bytes(self) -> int:
        return self.records.size_bytes

    @property
    def ring(self) -> RingState:
        return RingState(self.last_version, self.records.size_bytes, 65_536, 64 * 1024 * 1024, 100)

    @property
    def syncs_under_way(self) -> int:
        return len(self._syncs)

    def append(self, records: Sequence[Record]) -> None:
        if self.fail_append is not None:
            raise self.fail_append
        self.records.append(records)
        self.batches.append(list(records))

    def sync(self, done: SyncDone) -> None:
        assert not self.closed, "a sync after close"
        self.calls.append("sync")
        self._syncs.append((self.last_version, done))
        assert len(self._syncs) == 1, "one sync at a time (LogBackend.sync)"
        if self.syncs_soon:
            asyncio.get_running_loop().call_soon(self.complete)

    def complete(self, error: LogError | None = None) -> None:
        """Finish the sync that is under way: what was there when it started is durable, unless it failed."""
        covered, done = self._syncs.pop()
        if error is None:
            self.durable_version = covered
        done(error)

    def reader(self, from_version: int) -> MemoryReader:
        return MemoryReader(self.records, self.records.position(from_version))

    def trim(self, below_version: int) -> None:
        self.records.trim(below_version)

    def load_facts(self) -> dict[str, Fact]:
        return dict(self.facts)

    def store_facts(self, facts: Mapping[str, Fact]) -> None:
        if self.fail_facts is not None:
            raise self.fail_facts
        self.facts = dict(facts)

    def close(self) -> None:
        self.calls.append("close")
        self.closed = True


def records_of(backend: FakeBackend, kind: type) -> list[Any]:
    """Return all records of one kind in the order in which they were appended."""
    return [record for batch in backend.batches for record in batch if isinstance(record, kind)]


def filled(events: int, *, outcomes: Mapping[int, bytes] | None = None) -> FakeBackend:
    """Return a durable log with that many events, each answered with 200 and its path unless `outcomes` says what."""
    backend = FakeBackend()
    for version in range(1, events + 1):
        content = (outcomes or {}).get(version, f"/{version}".encode())
        backend.append([event(version), Outcome(version, 200, len(content), xxhash.xxh3_64_intdigest(content))])
    backend.durable_version = events
    return backend
