"""Two real PostgreSQL servers, a primary and its streaming standby, from the wheel's programs."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from bench.postmaster import freeze, server_pids, thaw
from bench.processes import free_port
from tests.storage_backends.test_postgres_server import the_server

STANDBY = "standby"
_START_S = 30.0


class ReplicatedServer:
    """One of the two servers: a process with a directory and a port of its own."""

    def __init__(self, programs: Path, directory: Path, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self.directory = directory
        self.settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(directory), **settings}
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the server; returns once it answers."""
        settings = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self.directory), "-p", str(self.port), *settings]
        self._process = await asyncio.to_thread(self._popen, command)
        async with asyncio.timeout(_START_S):
            while not await self._answers():
                assert self._process.poll() is None, (self.directory / "server.log").read_text()

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a query in a session of its own."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    def kill(self) -> None:
        """SIGKILL for all its processes; the postmaster can't start others meanwhile."""
        assert self._process is not None
        for pid in server_pids(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)

    def freeze(self) -> None:
        assert self._process is not None
        freeze(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        thaw(self._process.pid)

    def end(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.directory / "server.log").open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, user=server_user())

    async def _answers(self) -> bool:
        try:
            await (await asyncpg.connect(self.dsn, timeout=5)).close()
        except (OSError, asyncpg.PostgresError):
            return False
        return True


@contextlib.asynccontextmanager
async def primary_and_standby(**settings: str) -> AsyncIterator[tuple[ReplicatedServer, ReplicatedServer]]:
    """A primary with these settings, and its standby, which streams from it under the name STANDBY."""
    found = the_server()
    if isinstance(found, str):
        pytest.skip(found)
    place = Path(tempfile.mkdtemp(prefix="pg-pair-"))
    give_away(place)
    # A SIGKILL takes nothing out of the page cache, so the servers need not wait for the disk.
    primary = ReplicatedServer(found.programs, place / "primary", {"fsync": "off", **settings})
    source = f"host=127.0.0.1 port={primary.port} user=postgres application_name={STANDBY}"
    standby = ReplicatedServer(found.programs, place / STANDBY, {"fsync": "off", "primary_conninfo": source})
    try:
        await asyncio.to_thread(_copy_pair, found.programs, place)
        await primary.start()
        await standby.start()
        async with asyncio.timeout(_START_S):
            while not await primary.fetch("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"):
                pass
        yield primary, standby
    finally:
        for server in (standby, primary):
            server.end()
        shutil.rmtree(place, ignore_errors=True)


def _copy_pair(programs: Path, place: Path) -> None:
    # The copy keeps the owner.
    subprocess.run(["cp", "-a", f"{_pair(programs)}/.", str(place)], check=True, timeout=60)


@functools.cache
def _pair(programs: Path) -> Path:
    """Make the directories of a stopped primary and its standby once: making them is what takes time."""
    place = Path(tempfile.mkdtemp(prefix="pg-pair-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    give_away(place)

    def run(program: str, *arguments: str) -> None:
        # pg_ctl's server would keep a pipe open.
        subprocess.run(
            [str(programs / program), *arguments], check=True, stdout=subprocess.DEVNULL, timeout=60, user=server_user()
        )

    primary = ("-D", str(place / "primary"))
    run("initdb", *primary, "-A", "trust", "-U", "postgres", "-N")
    options = f"-F -k {place} -c listen_addresses=''"
    run("pg_ctl", *primary, "-w", "-l", str(place / "making.log"), "-o", options, "start")
    try:
        run("pg_basebackup", "-D", str(place / STANDBY), "-h", str(place), "-U", "postgres", "-R", "-c", "fast", "-N")
    finally:
        run("pg_ctl", *primary, "-w", "-m", "fast", "stop")
    return place


def give_away(place: Path) -> None:
    """Make it the server's."""
    user = server_user()
    if user is not None:
        shutil.chown(place, user)


def url_of(*servers: ReplicatedServer, log_name: str, **parameters: str) -> str:
    """Return the URL of a log that is where the primary is."""
    more = "".join(f"&{name}={value}" for name, value in parameters.items())
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write&log_name={log_name}{more}"


def server_user() -> str | None:
    """The server refuses to run as root; the wheel or Debian's package has made a user for that case."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return next((name for name in ("pgserver", "postgres") if name in known), None)
