"""The primary dies and its standby takes over (rules 2 and 8): what was acknowledged is there, or it is said."""

from __future__ import annotations

import asyncio
import socket

import asyncpg

from storage_backends.conformance import events, read_all, synced, versions
from storage_backends.errors import LogError, LogFailedError
from storage_backends.postgres.log import PostgresLog
from tests.storage_backends.replicated_servers import STANDBY, primary_and_standby, url_of
from tests.storage_backends.test_postgres_faults import Load
from tests.storage_backends.test_postgres_server import Server, opened, server  # noqa: F401

SYNCHRONOUS = {"synchronous_standby_names": STANDBY}


def syncing(log: PostgresLog) -> asyncio.Future[LogError | None]:
    done: asyncio.Future[LogError | None] = asyncio.get_running_loop().create_future()
    log.sync(done.set_result)
    return done


async def test_a_synchronous_standby_that_is_promoted_has_all_that_was_acknowledged() -> None:
    async with primary_and_standby(**SYNCHRONOUS) as (primary, standby):
        url = url_of(primary, standby, log_name="synchronous")
        async with opened(url) as log:
            load = Load(log)
            await load.reached(100)
            primary.kill()
            promised = load.promised
            assert log.durable_version == promised
            await standby.fetch("SELECT pg_promote()")
            await load.reached(promised + 100)
            last_version = await load.stop()
        async with opened(url) as log:
            assert versions(await read_all(log.reader(1), events_max=1000)) == list(range(1, last_version + 1))


async def test_an_asynchronous_standby_that_is_behind_is_noticed_and_not_written_to() -> None:
    async with primary_and_standby() as (primary, standby):
        url = url_of(primary, standby, log_name="asynchronous")
        async with opened(url) as log:
            log.append(events(1, 5))
            assert await synced(log) is None
            (position,) = await primary.fetch("SELECT pg_current_wal_lsn()::text")
            while not (await standby.fetch("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position[0]))[0][0]:
                pass
            standby.kill()
            log.append(events(6, 9))
            assert await synced(log) is None
            primary.kill()
            log.append(events(10, 10))
            answer = syncing(log)
            await standby.start()
            await standby.fetch("SELECT pg_promote()")
            error = await answer
            assert isinstance(error, LogFailedError)
            assert "ends at version 5" in str(error)
            assert "version 9" in str(error)
            assert "failed over to a server that had not received it" in str(error)
            assert log.durable_version == 9
        (row,) = await standby.fetch("SELECT last_version FROM interceptor.logs")
        assert row[0] == 5


async def test_a_commit_whose_wait_for_the_standby_is_cancelled_is_not_acknowledged() -> None:
    """The server answers such a COMMIT as if it were done; losing the primary then would lose it."""
    async with primary_and_standby(**SYNCHRONOUS) as (primary, standby):
        url = url_of(primary, standby, log_name="cancelled")
        async with opened(url) as log:
            log.append(events(1, 1))
            assert await synced(log) is None
            standby.freeze()
            log.append(events(2, 2))
            answer = syncing(log)
            for _ in range(2):
                await cancel_waiting(primary.dsn)
                await noticed(log, answer)
                assert log.durable_version == 1
            standby.thaw()
            assert await answer is None
            assert log.durable_version == 2


async def cancel_waiting(dsn: str) -> None:
    """Cancel a session that waits for the standby, as soon as there is one."""
    # This session must not wait for the standby itself; it writes nothing.
    connection = await asyncpg.connect(dsn)
    try:
        waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        while not await connection.fetch(waiting):
            pass
    finally:
        await connection.close()


async def noticed(log: PostgresLog, answer: asyncio.Future[LogError | None]) -> None:
    """Return when the writer has seen that the COMMIT was not confirmed."""
    assert log._writer is not None
    while "not confirmed" not in (log._writer.trouble or ""):
        assert not answer.done()
        await asyncio.sleep(0)
    log._writer.trouble = None


async def test_a_first_host_that_swallows_packets_does_not_hide_the_second(server: Server) -> None:  # noqa: F811
    """Each host has its own time, as in libpq."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1,{server.socket_path.parent}"
        url = server.url(connect_timeout="0.3", sslmode="disable")
        url = url.replace(f"host={server.socket_path.parent}", f"host={host}&port={silent.getsockname()[1]},5432")
        async with opened(url) as log:
            log.append(events(1, 1))
            assert await synced(log) is None
