"""The log in PostgreSQL: puts the ledger, the writer's task, the readers and the trimming together."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from storage_backends.backend import Fact, RingState
from storage_backends.errors import LogError, LogFailedError, LogGapError, LogUnavailableError
from storage_backends.options import LogOptions
from storage_backends.postgres.address import Address
from storage_backends.postgres.buffer import Key
from storage_backends.postgres.driver import Connection, cut
from storage_backends.postgres.faults import described, opening_error
from storage_backends.postgres.ledger import Ledger, finish
from storage_backends.postgres.migrations import migrate
from storage_backends.postgres.reader import PostgresReader, Trimmer
from storage_backends.postgres.session import SideConnection, open_session, warn_of_no_fsync
from storage_backends.postgres.writer import Writer
from storage_backends.records import Record

logger = logging.getLogger("storage_backends.postgres")

START_TIMEOUT_S = 60.0
"""For the whole of it, migrations included; each connection has its own, shorter limit."""

CLOSE_TIMEOUT_S = 10.0


class PostgresLog:
    """The backend for `postgresql:`. Implements LogBackend.

    What `append` took is in memory until a sync has committed it: it survives the database's death, not this
    process's.  While the database is away syncs simply don't end, and `append` refuses once the buffer is full.
    """

    def __init__(self, address: Address, options: LogOptions) -> None:
        self.url = address.shown
        self._address = address
        self._ledger = Ledger(address, options)
        self._side = SideConnection(address)
        self._trimmer = Trimmer(self._ledger, SideConnection(address))
        self._writer: Writer | None = None
        self._failed: LogError | None = None
        self._failure_told = False
        self._closed = False
        self._sync_done: Callable[[LogError | None], None] | None = None
        self._sync_until: Key = (0, 0)

    async def start(self) -> None:
        """Connect, migrate the schema, become the writer, load the log's bounds and facts.

        Raises LogConfigurationError, LogLockedError, LogDamagedError, LogUnavailableError (no server there, try later).
        """
        if self._closed or self._writer is not None:
            raise RuntimeError("a log is started once, before it is closed")
        connection: Connection | None = None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                connection = await open_session(self._address)
                await warn_of_no_fsync(connection, self._address)
                await migrate(connection, self._address)
                await self._ledger.open(connection)
        except BaseException as error:
            if connection is not None:
                cut(connection)
            if isinstance(error, Exception):
                # The cause would show the driver's own message and, in a traceback, its arguments.
                raise opening_error(error, self._address) from None
            raise
        self._writer = Writer(self._ledger, connection, self._committed, self._fail)
        self._trimmer.request()

    @property
    def keeps_what_it_takes(self) -> bool:
        return False

    @property
    def first_version(self) -> int:
        return self._ledger.first_version

    @property
    def last_version(self) -> int:
        return self._ledger.buffer.end[0]

    @property
    def durable_version(self) -> int:
        return self._ledger.committed[0]

    @property
    def size_bytes(self) -> int:
        """About what this log's rows occupy, indexes not counted, and what waits in memory."""
        return self._ledger.size_bytes + self._ledger.buffer.size_bytes

    @property
    def ring(self) -> RingState:
        return self._ledger.buffer.state

    def append(self, records: Sequence[Record]) -> None:
        writer = self._usable()
        if not records or self._ledger.buffer.append(records):
            return
        buffer = self._ledger.buffer
        raise LogUnavailableError(
            f"{self._address.place}: {buffer.entries} records ({buffer.size_bytes} bytes) wait for the database, which"
            f" is all that ring_events_max and ring_bytes_max allow: {writer.trouble or 'it is slower than they come'}"
        )

    def sync(self, done: Callable[[LogError | None], None]) -> None:
        if self._failed and not self._failure_told:
            self._failure_told = True
            asyncio.get_running_loop().call_soon(done, self._failed)
            return
        writer = self._usable()
        if self._sync_done is not None:
            raise RuntimeError("a sync of this log is already under way")
        self._sync_until = self._ledger.want_everything()
        if self._synced:
            asyncio.get_running_loop().call_soon(done, None)
            return
        self._sync_done = done
        writer.request()

    def reader(self, from_version: int) -> PostgresReader:
        """See LogBackend; while the database is away a reader waits for it."""
        if self._closed:
            raise LogFailedError(f"{self.url} is closed")
        first, last = self.first_version, self.last_version
        if from_version < first:
            raise LogGapError(
                f"{self._address.place}: version {from_version} was trimmed; the first one kept is {first}"
            )
        if from_version > last + 1:
            raise LogGapError(
                f"{self._address.place}: version {from_version} is not yet in the log, which ends at {last}"
            )
        return PostgresReader(self._ledger, self._side, from_version)

    def trim(self, below_version: int) -> None:
        """Forget committed events; their rows are deleted a little later, in the background."""
        writer = self._usable()
        below_version = min(below_version, self.durable_version + 1)
        if below_version > self._ledger.first_version:
            self._ledger.first_version = below_version
            writer.request()

    def load_facts(self) -> dict[str, Fact]:
        return dict(self._ledger.facts)

    def store_facts(self, facts: Mapping[str, Fact]) -> None:
        """Replace the facts.  They are committed a moment later, with or behind what was appended before them."""
        writer = self._usable()
        self._ledger.set_facts(facts)
        writer.request()

    def close(self) -> None:
        """Commit what waits (this blocks, up to CLOSE_TIMEOUT_S), end the sessions.  Raises LogFailedError."""
        if self._closed:
            return
        self._closed = True
        self._trimmer.stop()
        self._side.close()
        if self._writer is None:
            return
        self._writer.stop()
        self._ledger.want_everything()
        if self._failed is None and self._ledger.due:
            self._finish()

    def _finish(self) -> None:
        """Commit the rest in a thread with an event loop of its own, because this one's is what calls."""
        failures: list[BaseException] = []

        def work() -> None:
            try:
                asyncio.run(_finish_on_new_session(self._ledger))
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=work, name="log-close")
        thread.start()
        thread.join()
        if failures:
            buffer = self._ledger.buffer
            raise LogFailedError(
                f"{self._address.place} was closed without its last {buffer.entries} records (version"
                f" {buffer.end[0]} was appended, {buffer.begin[0]} is committed): {described(failures[0])}"
            ) from failures[0]

    @property
    def _synced(self) -> bool:
        """Whether what was asked to be kept is committed, the facts included."""
        return self._sync_until <= self._ledger.committed and not self._ledger.facts_due

    def _committed(self) -> None:
        """The writer's task has committed something."""
        if self._sync_done is not None and self._synced:
            done, self._sync_done = self._sync_done, None
            done(None)
        self._trimmer.request()

    def _fail(self, error: LogError) -> None:
        if self._failed is not None or self._closed:
            return
        self._failed = error
        logger.critical("%s", error)
        if self._sync_done is not None:
            done, self._sync_done = self._sync_done, None
            self._failure_told = True
            done(error)

    def _usable(self) -> Writer:
        if self._failed:
            raise LogFailedError(str(self._failed)) from self._failed
        if self._closed:
            raise LogFailedError(f"{self.url} is closed")
        if self._writer is None:
            raise LogFailedError(f"{self.url} is not started: await start() first")
        return self._writer


async def _finish_on_new_session(ledger: Ledger) -> None:
    async with asyncio.timeout(CLOSE_TIMEOUT_S):
        connection = await open_session(ledger.address)
        try:
            await finish(ledger, connection)
            await connection.close()
        except BaseException:
            cut(connection)
            raise
