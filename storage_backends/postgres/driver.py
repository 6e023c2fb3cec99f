"""The border to asyncpg: the part of it that the log uses, typed, and nothing else imports it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, cast

import asyncpg

Row: TypeAlias = Sequence[Any]

PostgresError: type[Exception] = asyncpg.PostgresError
"""What the server answers; it has a `sqlstate`."""

DriverError: type[Exception] = asyncpg.InterfaceError
"""What the driver itself finds wrong, a lost connection for example."""

InternalDriverError: type[Exception] = asyncpg.InternalClientError
BadAddressError: type[Exception] = asyncpg.exceptions.ClientConfigurationError
NotPrimaryError: type[Exception] = asyncpg.exceptions.TargetServerAttributeNotMatched

_NOT_NOW: tuple[type[Exception], ...] = (asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError)


class Connection(Protocol):
    """One session of asyncpg."""

    async def execute(self, query: str, *args: object) -> str: ...

    async def fetch(self, query: str, *args: object) -> list[Row]: ...

    async def fetchrow(self, query: str, *args: object) -> Row | None: ...

    async def fetchval(self, query: str, *args: object) -> Any: ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Row], columns: Sequence[str], schema_name: str
    ) -> str: ...

    async def close(self) -> None: ...

    def terminate(self) -> None: ...

    def is_closed(self) -> bool: ...

    def get_server_pid(self) -> int: ...

    def add_log_listener(self, callback: Callable[[Connection, Any], None]) -> None: ...

    def remove_log_listener(self, callback: Callable[[Connection, Any], None]) -> None: ...

    def add_termination_listener(self, callback: Callable[[Connection], None]) -> None: ...


async def connect(dsns: Sequence[str], timeout_s: float) -> Connection:
    """Open a session with the first host that lets us in and is what `target_session_attrs` asks for.

    As in libpq each host has the whole time, and one that is reached but refuses the user ends the search.  Raises
    OSError, PostgresError, DriverError, NotPrimaryError: what the last host said.
    """
    for dsn in dsns[:-1]:
        with contextlib.suppress(OSError, NotPrimaryError, DriverError, *_NOT_NOW):
            return await _connect(dsn, timeout_s)
    return await _connect(dsns[-1], timeout_s)


async def _connect(dsn: str, timeout_s: float) -> Connection:
    return cast(Connection, await asyncpg.connect(dsn, timeout=timeout_s, command_timeout=None))


@contextlib.contextmanager
def warnings_of(connection: Connection) -> Iterator[list[str]]:
    """Give a list of the server's warnings that come with the answers to what is sent meanwhile."""
    found: list[str] = []

    def note(_connection: Connection, message: Any) -> None:
        if message.severity_en == "WARNING":
            found.append(str(message.message))

    connection.add_log_listener(note)
    try:
        yield found
    finally:
        connection.remove_log_listener(note)


def cut(connection: Connection) -> None:
    """End a session now, without a turn of the event loop: the server sees it before this returns, or soon after."""
    transport = getattr(connection, "_transport", None)
    found = None if transport is None else transport.get_extra_info("socket")
    if found is not None and not connection.is_closed():
        # The descriptor's owner is the transport; a copy can be shut down under every kind of event loop.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(found.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    connection.terminate()
