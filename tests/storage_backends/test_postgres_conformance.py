"""The suite that every backend passes, on a real PostgreSQL.

The suite opens logs within a running event loop; so here each log lives in the event loop of another thread, and a
thin layer passes the calls on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from storage_backends import LogBackend, LogReader, open_log
from storage_backends.backend import Fact, RingState
from storage_backends.conformance import LogConformance
from storage_backends.errors import LogError
from storage_backends.records import Record
from tests.storage_backends.test_postgres_server import Server, server  # noqa: F401

_T = TypeVar("_T")


class Elsewhere:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def call(self, function: Callable[..., _T], *args: Any) -> _T:
        async def call() -> _T:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    def stop(self) -> None:
        async def settle() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(settle(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class DistantReader:
    def __init__(self, reader: LogReader, elsewhere: Elsewhere) -> None:
        self._reader = reader
        self._elsewhere = elsewhere

    async def next_batch(self, events_max: int, bytes_max: int) -> list[Record]:
        batch = self._reader.next_batch(events_max, bytes_max)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(batch, self._elsewhere.loop))

    def close(self) -> None:
        self._elsewhere.call(self._reader.close)


class DistantLog:
    """Implements LogBackend for a log that lives in another event loop, and starts it."""

    def __init__(self, url: str, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere
        self._log = open_log(url)
        asyncio.run_coroutine_threadsafe(self._log.start(), elsewhere.loop).result()

    async def start(self) -> None:
        """It is started."""

    @property
    def url(self) -> str:
        return self._log.url

    @property
    def keeps_what_it_takes(self) -> bool:
        return self._log.keeps_what_it_takes

    @property
    def first_version(self) -> int:
        return self._log.first_version

    @property
    def last_version(self) -> int:
        return self._log.last_version

    @property
    def durable_version(self) -> int:
        return self._log.durable_version

    @property
    def size_bytes(self) -> int:
        return self._log.size_bytes

    @property
    def ring(self) -> RingState:
        return self._log.ring

    def append(self, records: Sequence[Record]) -> None:
        self._elsewhere.call(self._log.append, records)

    def sync(self, done: Callable[[LogError | None], None]) -> None:
        here = asyncio.get_running_loop()
        self._elsewhere.call(self._log.sync, lambda error: here.call_soon_threadsafe(done, error))

    def reader(self, from_version: int) -> LogReader:
        return DistantReader(self._elsewhere.call(self._log.reader, from_version), self._elsewhere)

    def trim(self, below_version: int) -> None:
        self._elsewhere.call(self._log.trim, below_version)

    def load_facts(self) -> dict[str, Fact]:
        return self._elsewhere.call(self._log.load_facts)

    def store_facts(self, facts: Mapping[str, Fact]) -> None:
        self._elsewhere.call(self._log.store_facts, facts)

    def close(self) -> None:
        self._elsewhere.call(self._log.close)


class TestPostgresLog(LogConformance):
    @pytest.fixture(autouse=True)
    def _elsewhere(self, server: Server) -> Iterator[None]:  # noqa: F811
        self.server = server
        self.elsewhere = Elsewhere()
        yield
        self.elsewhere.stop()

    def open(self, place: Path) -> LogBackend:
        return DistantLog(self.server.url(f"{place.parent.name}-{place.name}"), self.elsewhere)
