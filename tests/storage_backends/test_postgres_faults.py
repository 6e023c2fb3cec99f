"""The database goes away in every way; nothing is lost, nothing is written twice, nothing is acknowledged early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from storage_backends.conformance import event, events, read_all, synced, versions
from storage_backends.errors import LogDamagedError, LogFailedError, LogLockedError, LogUnavailableError
from storage_backends.postgres.address import parse_url
from storage_backends.postgres.log import PostgresLog
from storage_backends.records import Outcome
from tests.storage_backends.test_postgres_server import (  # noqa: F401
    Server,
    frozen_ends,
    opened,
    server,
    wire_to,
)


class Load:
    """Appends and syncs without a pause, and remembers what it was promised."""

    def __init__(self, log: PostgresLog) -> None:
        self._log = log
        self._task = asyncio.create_task(self._run())
        self._changed = asyncio.Event()
        self._ending = False
        self.promised = 0

    async def reached(self, version: int) -> None:
        while self.promised < version:
            self._changed.clear()
            await self._changed.wait()

    async def stop(self) -> int:
        self._ending = True
        await self._task
        return self._log.last_version

    async def _run(self) -> None:
        log = self._log
        while not self._ending:
            first = log.last_version + 1
            try:
                log.append([*events(first, first + 4), Outcome(first, 200, 1, 2)])
            except LogUnavailableError:
                await asyncio.sleep(0)
            assert await synced(log) is None
            self.promised = log.durable_version
            self._changed.set()


async def run(server: Server, sql: str, *args: object) -> list[asyncpg.Record]:  # noqa: F811
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetch(sql, *args)
    finally:
        await connection.close()


async def end_sessions(server: Server, url: str) -> None:  # noqa: F811
    name = f"interceptor log {parse_url(url).log_name}"
    await run(server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", name)


async def until(condition: Callable[[], bool]) -> None:
    # Each condition depends on I/O, so this loop waits for events.
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def is_connected(log: PostgresLog) -> bool:
    connection = log._writer._connection if log._writer else None
    return connection is not None and not connection.is_closed()


async def assert_whole(url: str, last_version: int) -> None:
    async with opened(url) as log:
        assert (log.first_version, log.durable_version) == (1, last_version)
        assert versions(await read_all(log.reader(1), events_max=1000)) == list(range(1, last_version + 1))


async def test_a_second_writer_learns_who_the_first_is(server: Server) -> None:  # noqa: F811
    url = server.url(application_name="shop-1")
    async with opened(url):
        with pytest.raises(LogLockedError, match=r"'shop-1' of user 'postgres', from the same machine.*log_name"):
            async with opened(url):
                pass


async def test_a_killed_session_is_replaced_and_keeps_the_lock(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        log.append(events(1, 2))
        assert await synced(log) is None
        before = log._writer._connection if log._writer else None
        await end_sessions(server, url)
        await until(lambda: is_connected(log) and log._writer is not None and log._writer._connection is not before)
        with pytest.raises(LogLockedError):
            async with opened(url):
                pass
        log.append(events(3, 3))
        assert await synced(log) is None
    await assert_whole(url, 3)


async def test_sessions_killed_under_load_lose_nothing(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        load = Load(log)
        for _ in range(4):
            await load.reached(load.promised + 20)
            await end_sessions(server, url)
        await load.reached(load.promised + 20)
        last_version = await load.stop()
    await assert_whole(url, last_version)


async def test_a_server_that_is_stopped_and_started_under_load_loses_nothing(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        load = Load(log)
        await load.reached(50)
        await asyncio.to_thread(server.stop)
        await until(lambda: not is_connected(log))
        promised = load.promised
        assert log.durable_version == promised
        await asyncio.to_thread(server.start)
        await load.reached(promised + 50)
        last_version = await load.stop()
    await assert_whole(url, last_version)


@pytest.mark.usefixtures("frozen_ends")
@pytest.mark.parametrize("timeout_s", ["0.2", "60"], ids=["given up", "waited for"])
async def test_a_server_that_hangs_under_load_loses_nothing(server: Server, timeout_s: str) -> None:  # noqa: F811
    url = server.url(commit_timeout_s=timeout_s, connect_timeout="0.5")
    async with opened(url) as log:
        load = Load(log)
        await load.reached(50)
        server.freeze()
        promised = log.durable_version
        if timeout_s == "60":
            with pytest.raises(TimeoutError):
                await asyncpg.connect(server.dsn, timeout=0.3)
        else:
            await until(lambda: log._writer is not None and log._writer.trouble is not None)
        assert log.durable_version <= promised + 5
        server.thaw()
        await load.reached(promised + 50)
        last_version = await load.stop()
    await assert_whole(url, last_version)


@pytest.mark.parametrize("way", ["one statement", "COPY"])
async def test_a_commit_whose_answer_is_lost_is_not_written_twice(server: Server, way: str) -> None:  # noqa: F811
    url = server.url()
    async with wire_to(server) as wire, opened(server.url_through(wire.directory, url)) as log:
        for round_number in range(5):
            first = log.last_version + 1
            log.append([event(first, b"x" * 1000), Outcome(first, 200, 1, 2)])
            wire.lost.clear()
            wire.lose = b"x" * 1000
            if way == "COPY":
                log.store_facts({"round": round_number})
                wire.lose = b"COMMIT"
            assert await synced(log) is None
            assert wire.lost.is_set()
            assert log.durable_version == first
    await assert_whole(url, 5)
    rows = await run(
        server,
        "SELECT count(*) FROM interceptor.outcomes JOIN interceptor.logs ON id = log_id WHERE name = $1",
        parse_url(url).log_name,
    )
    assert rows[0][0] == 5


async def test_a_writer_whose_place_was_taken_fails_for_good(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with wire_to(server) as wire:
        async with opened(server.url_through(wire.directory, url)) as first:
            first.append(events(1, 3))
            assert await synced(first) is None
            await wire.stop()
            first.append([event(4, b"lost with the first writer")])
            answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            first.sync(answer.set_result)
            async with opened(url) as second:
                second.append([event(4, b"second")])
                assert await synced(second) is None
            (wire.directory / ".s.PGSQL.5432").unlink(missing_ok=True)
            await wire.start()
            assert isinstance(await answer, LogFailedError)
            assert "taken over by another writer" in str(answer.result())
            assert first.durable_version == 3
            for call in (lambda: first.append(events(5, 5)), lambda: first.sync(print), lambda: first.trim(2)):
                with pytest.raises(LogFailedError):
                    call()
        async with opened(url) as third:
            assert (await read_all(third.reader(4)))[-1] == event(4, b"second")


async def test_a_former_writer_that_still_has_its_session_writes_nothing(server: Server) -> None:  # noqa: F811
    url = server.url()
    name = parse_url(url).log_name
    async with opened(url) as log:
        log.append(events(1, 1))
        assert await synced(log) is None
        await run(server, "UPDATE interceptor.logs SET epoch = epoch + 1 WHERE name = $1", name)
        log.append(events(2, 2))
        assert isinstance(await synced(log), LogFailedError)
    await assert_whole(url, 1)


async def test_a_database_that_forgot_what_it_had_committed_is_noticed(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        log.append(events(1, 1))
        assert await synced(log) is None
        await run(
            server,
            "UPDATE interceptor.logs SET batch = batch - 1, last_version = 0 WHERE name = $1",
            parse_url(url).log_name,
        )
        log.append(events(2, 2))
        error = await synced(log)
        assert isinstance(error, LogFailedError)
        assert "failed over" in str(error)


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_deleted_rows_are_damage(server: Server, version: int) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        log.append(events(1, 3))
    await run(
        server,
        "DELETE FROM interceptor.records USING interceptor.logs WHERE log_id = id AND name = $1 AND version = $2",
        parse_url(url).log_name,
        version,
    )
    with pytest.raises(LogDamagedError, match="deleted"):
        async with opened(url) as log:
            await read_all(log.reader(1))


async def test_a_full_buffer_refuses_and_takes_again(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with wire_to(server) as wire, opened(server.url_through(wire.directory, url), ring_events_max=10) as log:
        log.append(events(1, 4))
        assert await synced(log) is None
        await wire.stop()
        log.append(events(5, 12))
        with pytest.raises(LogUnavailableError, match=r"8 records .* wait for the database"):
            log.append(events(13, 15))
        assert log.last_version == 12
        reader = log.reader(5)
        assert versions(await reader.next_batch(100, 1 << 20)) == list(range(5, 13)), "memory is read without it"
        log.append(events(13, 14))
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        log.sync(answer.set_result)
        await until(lambda: log._writer is not None and log._writer.trouble is not None)
        assert not answer.done()
        (wire.directory / ".s.PGSQL.5432").unlink(missing_ok=True)
        await wire.start()
        assert await answer is None
        log.append(events(15, 24))
        assert await synced(log) is None
    await assert_whole(url, 24)


async def test_one_batch_larger_than_the_buffer_is_taken_when_it_is_empty(server: Server) -> None:  # noqa: F811
    async with opened(server.url(), ring_events_max=2, ring_bytes_max=100) as log:
        log.append(events(1, 5))
        with pytest.raises(LogUnavailableError):
            log.append(events(6, 6))
        assert await synced(log) is None
        log.append(events(6, 6))


async def test_a_reader_survives_the_loss_of_its_session(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        log.append(events(1, 100))
        assert await synced(log) is None
        reader = log.reader(1)
        found = await reader.next_batch(10, 1 << 20)
        await end_sessions(server, url)
        found += await read_all(reader, events_max=10)
        assert versions(found) == list(range(1, 101))


async def test_a_reader_that_waits_for_the_database_ends_with_the_log(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with wire_to(server) as wire:
        async with opened(server.url_through(wire.directory, url)) as log:
            log.append(events(1, 10))
            assert await synced(log) is None
            await wire.stop()
            waiting = asyncio.create_task(log.reader(1).next_batch(10, 1 << 20))
            await until(lambda: log._writer is not None and log._writer.trouble is not None)
        with pytest.raises(LogFailedError, match="closed"):
            await waiting
        (wire.directory / ".s.PGSQL.5432").unlink(missing_ok=True)
        await wire.start()


async def test_closing_without_the_database_says_what_is_not_kept(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with wire_to(server) as wire:
        async with opened(server.url_through(wire.directory, url)) as log:
            log.append(events(1, 2))
            assert await synced(log) is None
            await wire.stop()
            (wire.directory / ".s.PGSQL.5432").unlink(missing_ok=True)
            log.append(events(3, 4))
            with pytest.raises(LogFailedError, match=r"last 2 records .*version 4 was appended, 2 is committed"):
                log.close()
        await wire.start()
    await assert_whole(url, 2)
