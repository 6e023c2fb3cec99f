"""Reading a log in PostgreSQL beside its writer or without one: no lock, no migration, a session that can't write.

Each page is a short query of its own, so that even a long reading holds back neither the writer nor vacuum.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import NamedTuple

from storage_backends.backend import Fact
from storage_backends.errors import LogConfigurationError, LogError, LogGapError
from storage_backends.postgres.address import Address, lock_key, parse_url
from storage_backends.postgres.buffer import Key
from storage_backends.postgres.cursor import TableCursor, fetch
from storage_backends.postgres.driver import Connection, Row
from storage_backends.postgres.faults import NO_RIGHTS, RowsDamagedError, described, opening_error, sqlstate
from storage_backends.postgres.lock import find_locked
from storage_backends.postgres.migrations import MIGRATIONS, schema_version
from storage_backends.postgres.session import SideConnection, open_reading_session
from storage_backends.records import Record
from storage_backends.secrets import load_keyring, unsealer_of

OPEN_TIMEOUT_S = 30.0


class ListedLog(NamedTuple):
    """What one row of the table `logs` says; `has_writer` is whether somebody holds that log's lock now."""

    name: str
    first_version: int
    last_version: int
    size_bytes: int
    first_time_ns: int | None
    last_time_ns: int | None
    writer: str | None
    has_writer: bool


class PostgresView:
    """What `interceptor log` reads; made by `open_view`.  Bounds and facts are those of the opening."""

    def __init__(self, side: SideConnection, key_file: Path | None) -> None:
        self._side = side
        self._unseal = unsealer_of(load_keyring(key_file))
        self.facts: dict[str, Fact] = {}
        self.log_id = 0
        self.first_version = 1
        self.size_bytes = 0
        self.end: Key = (0, 0)

    def find_last_version(self) -> int:
        """Return the last event that was committed at the opening, or when a reader last came to the end."""
        return self.end[0]

    def reader(self, from_version: int) -> PostgresViewReader:
        """Return a cursor that begins at or before the event.  Raises LogGapError if it was trimmed."""
        if from_version < self.first_version:
            raise LogGapError(
                f"{self._side.address.place}: version {from_version} was trimmed; the first version kept is"
                f" {self.first_version}"
            )
        cursor = TableCursor(self._side, self.log_id, self._unseal, lambda: self.first_version, from_version)
        return PostgresViewReader(self, cursor)

    def load_facts(self) -> dict[str, Fact]:
        """Return the facts about the log."""
        return dict(self.facts)

    def close(self) -> None:
        """End the session."""
        self._side.close()

    async def load(self) -> None:
        """Load bounds and facts.  Raises LogConfigurationError if there is no such log, and the driver's errors."""
        async with self._side.lock:
            connection, address = await self._side.connection(), self._side.address
            await _check_schema(connection, address)
            row = await connection.fetchrow(_bounds_query(address), address.log_name)
            if row is None:
                raise await _no_such_log(connection, address)
            self._set_bounds(row)
            facts = await connection.fetchval(
                f"SELECT facts FROM {address.table('facts')} WHERE log_id = $1", self.log_id
            )
        found = json.loads(facts) if facts else {}
        self.facts = found if isinstance(found, dict) else {}

    async def refresh(self) -> None:
        """Load the bounds again.  Raises RowsDamagedError if the log's row is gone, LogFailedError."""
        address = self._side.address
        rows = await fetch(self._side, _bounds_query(address), address.log_name)
        if not rows:
            raise RowsDamagedError(f"{address.place}: its row in the table logs is gone; restore it from a backup")
        self._set_bounds(rows[0])

    def _set_bounds(self, row: Row) -> None:
        self.log_id, self.first_version, version, ordinal, self.size_bytes = row
        self.end = (version, ordinal)


class PostgresViewReader:
    """Implements LogReader over what is committed."""

    def __init__(self, view: PostgresView, cursor: TableCursor) -> None:
        self._view = view
        self._cursor = cursor

    async def next_batch(self, events_max: int, bytes_max: int) -> list[Record]:
        view, cursor = self._view, self._cursor
        if cursor.after >= view.end:
            await view.refresh()
        while cursor.after < view.end:
            end = view.end
            rows = await cursor.page(end, events_max, bytes_max)
            try:
                records = cursor.take(rows, end)
            except RowsDamagedError:
                # Rows that were trimmed since the bounds were loaded are no damage.
                await view.refresh()
                records = cursor.take(rows, end)
            if records:
                return records
        return []

    def close(self) -> None:
        """Nothing is held."""


async def open_view(url: str, key_file: Path | None = None) -> PostgresView:
    """Open the log for reading.  Raises LogConfigurationError, LogUnavailableError, LogKeyError."""
    side = SideConnection(parse_url(url), open_reading_session)
    try:
        view = PostgresView(side, key_file)
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await view.load()
    except BaseException as error:
        side.close()
        if isinstance(error, Exception):
            raise _viewing_error(error, side.address) from None
        raise
    return view


async def list_logs(url: str) -> list[ListedLog]:
    """Return all logs of the URL's schema, by name; none where nobody has created the schema.  Raises LogError."""
    side = SideConnection(parse_url(url), open_reading_session)
    address = side.address
    try:
        async with side.lock, asyncio.timeout(OPEN_TIMEOUT_S):
            connection = await side.connection()
            await _check_schema(connection, address)
            rows = await connection.fetch(_list_query(address))
            locked = await find_locked(connection)
    except Exception as error:
        raise _viewing_error(error, address) from None
    finally:
        side.close()
    return [ListedLog._make((*row, lock_key(address.schema, row[0]) in locked)) for row in rows]


async def _check_schema(connection: Connection, address: Address) -> None:
    found = await schema_version(connection, address)
    if not found:
        raise LogConfigurationError(
            f"{address.place}: there is no log in this schema; correct the database or schema=, or let"
            " `interceptor run` create it"
        )
    if found > MIGRATIONS[-1].version:
        raise LogConfigurationError(
            f"{address.place}: the schema has version {found} and this program knows {MIGRATIONS[-1].version} at most;"
            " use the newer program"
        )


async def _no_such_log(connection: Connection, address: Address) -> LogError:
    rows = await connection.fetch(f"SELECT name FROM {address.table('logs')} ORDER BY name LIMIT 10")
    names = ", ".join(repr(row[0]) for row in rows) or "none"
    return LogConfigurationError(f"{address.place} does not exist; correct log_name (logs there: {names})")


def _viewing_error(error: Exception, address: Address) -> LogError:
    if sqlstate(error) == NO_RIGHTS:
        return LogConfigurationError(
            f"{address.place}: the user may not read it; GRANT USAGE on the schema and SELECT on its tables"
            f" ({described(error)})"
        )
    return opening_error(error, address)


def _bounds_query(address: Address) -> str:
    return (
        f"SELECT id, first_version, last_version, last_ordinal, size_bytes FROM {address.table('logs')} WHERE name = $1"
    )


def _list_query(address: Address) -> str:
    def time_of(version: str) -> str:
        # Each is one look into the primary key.
        records = address.table("records")
        return f"(SELECT time_ns FROM {records} r WHERE r.log_id = l.id AND r.version = l.{version} AND r.ordinal = 0)"

    return f"""
        SELECT name, first_version, last_version, size_bytes, {time_of("first_version")}, {time_of("last_version")},
            writer
        FROM {address.table("logs")} l ORDER BY name"""
