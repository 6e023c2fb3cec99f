"""Sessions with the database: connected, told what the log needs, and not behind a pooler that would share them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from storage_backends.errors import LogConfigurationError, LogFailedError, LogUnavailableError
from storage_backends.postgres.address import Address
from storage_backends.postgres.driver import Connection, connect, cut, warnings_of
from storage_backends.postgres.faults import is_of_pooler

logger = logging.getLogger("storage_backends.postgres")

SessionOpener: TypeAlias = Callable[[Address], Awaitable[Connection]]

POOLER_PROBE_TIMEOUT_S = 2.0

# A writer that vanished without a word gives its lock back after 10 + 3 * 5 seconds, one that was stopped in the
# middle of a transaction after a minute.  Limits of the role or the database don't hold for these sessions.
# Each query reads a primary key in its order; without statistics the planner would sort half of a new table for a page.
_SETTINGS = """
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = '60s'; SET jit = off;
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;
SET search_path = pg_catalog; SET standard_conforming_strings = on; SET default_transaction_isolation = 'read committed'
"""

# Newer servers only.  A log without requests is idle, and its writer must not lose its lock for that.
_NO_TIMEOUTS = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('idle_session_timeout', 'transaction_timeout')
"""

# A COMMIT must mean at least that the transaction is on the server's disk; a stronger setting (a standby's) is kept.
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"


async def open_session(address: Address) -> Connection:
    """Connect.  Raises OSError, PostgresError, DriverError, LogConfigurationError (a pooler in transaction mode)."""
    connection = await connect(address.dsns, address.connect_timeout_s)
    try:
        await _refuse_transaction_pooling(connection, address)
        await connection.execute(_SETTINGS)
        await connection.execute(_NO_TIMEOUTS)
        await connection.execute(_DURABLE)
    except BaseException as error:
        cut(connection)
        if is_of_pooler(error):
            raise _pooling_error(address) from error
        raise
    return connection


async def open_reading_session(address: Address) -> Connection:
    """Connect for reading only: the server itself refuses anything else.  Raises as `open_session`."""
    connection = await open_session(address)
    try:
        await connection.execute("SET default_transaction_read_only = on")
    except BaseException:
        cut(connection)
        raise
    return connection


@contextlib.contextmanager
def confirmed(connection: Connection) -> Iterator[None]:
    """Raise LogUnavailableError if a commit in here comes with a warning.

    Somebody who cancels (pg_cancel_backend) a COMMIT that waits for a synchronous standby makes the server answer as
    if it were done, with a warning that the standby may not have it.
    """
    with warnings_of(connection) as warnings:
        yield
    if warnings:
        raise LogUnavailableError(f"a COMMIT was not confirmed: {warnings[0]}")


async def warn_of_no_fsync(connection: Connection, address: Address) -> None:
    """Log a warning where the server itself does not keep its word."""
    if await connection.fetchval("SELECT current_setting('fsync')") == "off":
        logger.warning("%s: fsync is off on the server: a loss of power loses what was acknowledged", address.place)


async def _refuse_transaction_pooling(connection: Connection, address: Address) -> None:
    """Raise LogConfigurationError where two of our sessions share one of the server's.

    A pooler gives its clients another process id than the server's, so where the two agree there is none.
    """
    backend_pid = await _backend_pid(connection)
    if backend_pid == connection.get_server_pid():
        return
    other = await connect(address.dsns, address.connect_timeout_s)
    try:
        async with asyncio.timeout(POOLER_PROBE_TIMEOUT_S):
            await other.execute("BEGIN")
            shared = await _backend_pid(other) == backend_pid
            if shared or await _backend_pid(connection) != backend_pid:
                raise _pooling_error(address)
    except TimeoutError:
        # A pooler in session mode whose only connection is ours.
        logger.warning("%s: behind a pooler that has no second connection free; readers need one", address.place)
    finally:
        cut(other)


async def _backend_pid(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


def _pooling_error(address: Address) -> LogConfigurationError:
    return LogConfigurationError(
        f"{address.place}: the URL leads through a pooler in transaction or statement mode, which can't keep a writer's"
        " lock; name the server itself, or a pool with pool_mode = session"
    )


class SideConnection:
    """A session that is not the writer's, for readers, trimming or a view: opened when needed, again when lost."""

    def __init__(self, address: Address, open_one: SessionOpener = open_session) -> None:
        self.address = address
        self.lock = asyncio.Lock()
        self._open_one = open_one
        self._connection: Connection | None = None
        self._closed = False

    async def connection(self) -> Connection:
        """Return the session.  The caller holds `lock`.  Raises what `open_session` raises."""
        if self._closed:
            raise LogFailedError(f"{self.address.place} is closed")
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._open_one(self.address)
        return self._connection

    def close(self) -> None:
        """End the session for good; whoever waits for it gets LogFailedError."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """End the session; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            cut(connection)
