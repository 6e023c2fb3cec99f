"""The writer's lock: an advisory lock of the server that lives as long as the writer's session."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from storage_backends.errors import LogLockedError
from storage_backends.postgres.address import Address
from storage_backends.postgres.driver import Connection, Row

WAIT_S = 1.0
"""A predecessor that has just closed needs a moment until the server has ended its session."""

_POLL_S = 0.02

# How a lock of one 64-bit key is shown.
_HOLDER = """
SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'the same machine'), a.backend_start, a.usename
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid::bigint = ($1::bigint >> 32) & 4294967295 AND l.objid::bigint = $1::bigint & 4294967295
"""


_LOCKED = """
SELECT classid::bigint, objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Session(NamedTuple):
    """One session of the server; the time tells it from a later one with the same process id."""

    pid: int
    started_at: object


async def own_session(connection: Connection) -> Session:
    """Return what identifies this connection's session."""
    row = await connection.fetchrow("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
    return Session(row[0], row[1]) if row else Session(connection.get_server_pid(), None)


async def try_lock(connection: Connection, address: Address) -> bool:
    """Take the lock if it is free; it goes with the session."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", address.lock_key))


async def find_locked(connection: Connection) -> set[int]:
    """Return the keys of all locks that sessions of this database hold."""
    keys = [(row[0] << 32) | row[1] for row in await connection.fetch(_LOCKED)]
    return {key - 2**64 if key >= 2**63 else key for key in keys}


async def take_lock(connection: Connection, address: Address) -> None:
    """Become the only writer.  Raises LogLockedError, which names the present one."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + WAIT_S
    while not await try_lock(connection, address):
        if loop.time() > deadline_s:
            raise await _locked_error(connection, address)
        await asyncio.sleep(_POLL_S)


async def end_former_session(connection: Connection, address: Address, former: Session) -> None:
    """End our own former session if the server has not noticed that its connection is gone, and it holds the lock."""
    row = await connection.fetchrow(_HOLDER, address.lock_key)
    if row is not None and Session(row[0], row[3]) == former:
        await connection.execute("SELECT pg_terminate_backend($1)", former.pid)


async def describe_holder(connection: Connection, address: Address) -> str:
    """Return who holds the lock, for a message."""
    return _named(await connection.fetchrow(_HOLDER, address.lock_key))


async def _locked_error(connection: Connection, address: Address) -> LogLockedError:
    row = await connection.fetchrow(_HOLDER, address.lock_key)
    remedy = f"SELECT pg_terminate_backend({row[0]})" if row else "pg_terminate_backend"
    return LogLockedError(
        f"{address.place} already has a writer: {_named(row)}; stop that one, or give this one another log_name; if it"
        f" is dead and the server has not noticed, end its session: {remedy}"
    )


def _named(row: Row | None) -> str:
    if row is None:
        return "a session that is just ending"
    return f"process {row[0]} of the server, application {row[1]!r} of user {row[4]!r}, from {row[2]}"
