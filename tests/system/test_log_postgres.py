"""PostgreSQL as the log: away, frozen, restarted, and the interceptor killed in front of it (rules 1 to 3, 5, 8)."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from counting import Clients, applied, start_counter
from log_checks import Restartable, check_end, post, refusal_to_start, replayed, until_everybody_waits
from support import KILLS, Processes, Server, wait_until
from test_kills import check_exact

from bench.processes import free_port
from tests.storage_backends.replicated_servers import STANDBY, ReplicatedServer, primary_and_standby, url_of
from tests.storage_backends.test_postgres_server import Server as Database
from tests.storage_backends.test_postgres_server import frozen_ends, server  # noqa: F401

CLIENTS = 20
SECRET = "s3cret-w0rd"
_EVENTS = """
SELECT version, target FROM interceptor.records r JOIN interceptor.logs l ON l.id = r.log_id
WHERE l.name = $1 AND kind = 0 ORDER BY version
"""


async def kept(server: Database | ReplicatedServer, log_name: str) -> list[str]:  # noqa: F811
    """Return the operations in the database's table, by a connection of its own; their versions have no gap."""
    connection = await asyncpg.connect(server.dsn)
    try:
        rows = await connection.fetch(_EVENTS, log_name)
    finally:
        await connection.close()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    return [found[1] for row in rows if (found := re.search(r"\?op=([\d-]+)$", row[1]))]


@pytest.mark.parametrize("together_with_target", [False, True])
@pytest.mark.usefixtures("frozen_ends")
async def test_the_interceptor_is_killed_under_load(
    server: Database,  # noqa: F811
    processes: Processes,
    *,
    together_with_target: bool,
) -> None:
    """Whatever was acknowledged is in the table; at every other kill the database is frozen before it."""
    chance = random.Random(11)
    log_name = f"killed{together_with_target}"
    target = start_counter(processes)
    interceptor = Restartable(processes, target, "--log", server.url(log_name), "--ring-events-max", "10")
    await interceptor.start()
    clients = Clients(interceptor, CLIENTS)
    for number in range(KILLS):
        await clients.acknowledged(chance.randrange(20, 200))
        if number % 2:
            server.freeze()
            await until_everybody_waits(interceptor, CLIENTS)
        await interceptor.end()
        acknowledged = list(clients.seen.acknowledged)
        server.thaw()
        check_exact(await kept(server, log_name), acknowledged)
        if together_with_target:
            assert target.process is not None
            target.process.kill()
            await asyncio.to_thread(target.process.wait)
            target = await asyncio.to_thread(start_counter, processes, target.port)
        await interceptor.start()
    await clients.acknowledged(20)
    seen = await clients.finish()
    assert seen.refused == []
    copied, _, printed = await replayed(processes, interceptor)
    for operations in (applied(target), copied):
        check_exact(operations, seen.acknowledged)
    assert await kept(server, log_name) == copied
    if together_with_target:
        assert applied(target) == copied
        assert "0 diverged" in printed


def gave_up(interceptor: Restartable) -> bool:
    """Whether the log shows that the database's answer was given up."""
    return "did not answer in time" in (interceptor.state()["log_unavailable"] or "")


@pytest.mark.parametrize("how", ["frozen", "stopped"])
@pytest.mark.usefixtures("frozen_ends")
async def test_while_the_database_is_away_strict_answers_nobody(
    how: str,
    server: Database,  # noqa: F811
    processes: Processes,
) -> None:
    """The buffer, then the hold queue, then on again; nothing is lost and nothing was acknowledged early."""
    target = start_counter(processes)
    url = server.url(how, commit_timeout_s="1", connect_timeout="1")
    interceptor = Restartable(processes, target, "--log", url, "--ring-events-max", "10")
    await interceptor.start()
    clients = Clients(interceptor, CLIENTS)
    for round_number in range(2):
        await clients.acknowledged(100)
        if how == "frozen":
            server.freeze()
        else:
            await asyncio.to_thread(server.stop)
        await until_everybody_waits(interceptor, CLIENTS)
        late = Clients(interceptor, 3, first_number=CLIENTS * (round_number + 1))
        await interceptor.until("held", held=True, log_unavailable=True)
        known = len(clients.seen.acknowledged)
        state = interceptor.state()
        assert state["versions"]["durable"] == known, "the acknowledged ones and no other are durable"
        assert state["state"] == "Active"
        if how == "frozen":
            await asyncio.to_thread(wait_until, partial(gave_up, interceptor), "an answer is given up")
            assert len(clients.seen.acknowledged) == known
            server.thaw()
        else:
            assert len(clients.seen.acknowledged) == known
            await asyncio.to_thread(server.start)
        await clients.acknowledged(100)
        seen_late = await late.finish()
        assert (seen_late.refused, seen_late.broken) == ([], [])
        clients.seen.acknowledged += seen_late.acknowledged
    await check_end(processes, interceptor, target, clients)
    assert await kept(server, how) == applied(target)


async def test_a_failover_to_a_synchronous_standby_loses_nothing(processes: Processes) -> None:
    """The primary dies of SIGKILL under load, its standby is promoted: everybody is answered, by the same order."""
    async with primary_and_standby(synchronous_standby_names=STANDBY) as (primary, standby):
        target = start_counter(processes)
        url = url_of(primary, standby, log_name="failover")
        interceptor = Restartable(processes, target, "--log", url)
        await interceptor.start()
        clients = Clients(interceptor, CLIENTS)
        await clients.acknowledged(200)
        primary.kill()
        await until_everybody_waits(interceptor, CLIENTS)
        assert interceptor.state()["versions"]["durable"] == len(clients.seen.acknowledged)
        await standby.fetch("SELECT pg_promote()")
        await clients.acknowledged(200)
        await check_end(processes, interceptor, target, clients)
        assert await kept(standby, "failover") == applied(target)


@pytest.mark.usefixtures("frozen_ends")
async def test_beyond_the_hold_window_a_database_that_is_away_means_503(
    server: Database,  # noqa: F811
    processes: Processes,
) -> None:
    target = start_counter(processes)
    options = ("--log", server.url("window"), "--ring-events-max", "10", "--hold-time-max-s", "0.5")
    interceptor = Restartable(processes, target, *options)
    await interceptor.start()
    clients = Clients(interceptor, CLIENTS)
    await clients.acknowledged(100)
    server.freeze()
    await until_everybody_waits(interceptor, CLIENTS)
    status, retry_after, content = await asyncio.to_thread(post, interceptor, "99-1")
    assert (status, retry_after) == (503, [b"1"])
    assert b"had no room for it within 0.5 s" in content
    server.thaw()
    await clients.acknowledged(100)
    seen = await clients.finish()
    assert seen.refused
    assert (seen.broken, seen.wrong) == ([], [])
    assert sorted(await kept(server, "window")) == sorted(seen.acknowledged)
    assert applied(target) == (await replayed(processes, interceptor))[0] == await kept(server, "window")


@pytest.mark.usefixtures("frozen_ends")
async def test_relaxed_goes_on_until_the_buffer_is_full(server: Database, processes: Processes) -> None:  # noqa: F811
    """Where the window is longer than it takes to fill the buffer."""
    target = start_counter(processes)
    options = (
        "--log", server.url("relaxed"), "--durability", "relaxed", "--ring-events-max", "1500",
        "--relaxed-window-ms", "5000",
    )  # fmt: skip
    interceptor = Restartable(processes, target, *options)
    await interceptor.start()
    clients = Clients(interceptor, CLIENTS)
    await clients.acknowledged(100)
    server.freeze()
    await clients.acknowledged(200)
    await interceptor.until("everybody held", held=20, log_unavailable=True)
    versions = interceptor.state()["versions"]
    assert 200 <= len(clients.seen.acknowledged) - versions["durable"] <= 1500
    server.thaw()
    await clients.acknowledged(200)
    await check_end_relaxed(server, "relaxed", processes, interceptor, target, clients)


@pytest.mark.usefixtures("frozen_ends")
async def test_relaxed_answers_wait_for_a_database_that_is_a_window_behind(
    server: Database,  # noqa: F811
    processes: Processes,
) -> None:
    """Rule 2: however much room the buffer has, no more than the window is acknowledged ahead of the database."""
    target = start_counter(processes)
    options = ("--log", server.url("behind"), "--durability", "relaxed", "--relaxed-window-ms", "300")
    interceptor = Restartable(processes, target, *options)
    await interceptor.start()
    clients = Clients(interceptor, CLIENTS)
    await clients.acknowledged(100)
    server.freeze()

    def everybody_waits() -> bool:
        return interceptor.metric("interceptor_gate_waiting") == CLIENTS

    await asyncio.to_thread(wait_until, everybody_waits, "everybody waits for the database")
    state = interceptor.state()
    assert (state["held"], state["log_unavailable"]) == (0, None)
    server.thaw()
    await clients.acknowledged(200)
    await check_end_relaxed(server, "behind", processes, interceptor, target, clients)


async def check_end_relaxed(
    server: Database,  # noqa: F811
    log_name: str,
    processes: Processes,
    interceptor: Restartable,
    target: Server,
    clients: Clients,
) -> None:
    seen = await clients.finish()
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    assert sorted(applied(target)) == sorted(seen.acknowledged)
    assert (await replayed(processes, interceptor))[0] == applied(target)
    assert await interceptor.end(signal.SIGTERM) == 0
    assert await kept(server, log_name) == applied(target)
    assert "Traceback" not in interceptor.said()


async def test_a_second_interceptor_is_refused(server: Database, processes: Processes) -> None:  # noqa: F811
    target = start_counter(processes)
    first = Restartable(processes, target, "--log", server.url("shared"))
    await first.start()
    sentence = await refusal_to_start(target, "--log", server.url("shared"))
    assert "already has a writer" in sentence
    assert (await asyncio.to_thread(post, first, "1-1"))[0] == 200, "the first one goes on"
    assert await kept(server, "shared") == ["1-1"]


@pytest.fixture
async def ann(server: Database) -> AsyncIterator[str]:  # noqa: F811
    """The part behind the password of the URL of a user that needs one."""
    rules = server.directory / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all ann scram-sha-256\n" + before)
    server.reload()
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(f"DROP ROLE IF EXISTS ann; CREATE ROLE ann LOGIN PASSWORD '{SECRET}'")
    yield server.url("of-ann").partition("@")[2]
    await connection.execute("DROP ROLE ann")
    await connection.close()
    rules.write_text(before)
    server.reload()


def written(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


async def test_a_wrong_password_is_said_and_not_shown(ann: str, tmp_path: Path) -> None:
    url = written(tmp_path / "url", f"postgresql://ann:{SECRET}x@{ann}")
    sentence = await refusal_to_start(Server("127.0.0.1", free_port()), "--log-url-file", url)
    assert "the password is wrong" in sentence
    assert SECRET not in sentence


@pytest.mark.parametrize(
    ("where", "word"),
    [("127.0.0.1:{port}", "nothing listens there"), ("no-such-host.invalid", "the host's name is unknown")],
)
async def test_a_host_without_a_database_is_said_and_the_password_is_not(where: str, word: str, tmp_path: Path) -> None:
    url = written(
        tmp_path / "url", f"postgresql://ann:{SECRET}@{where.format(port=free_port())}/shop?connect_timeout=2"
    )
    sentence = await refusal_to_start(Server("127.0.0.1", free_port()), "--log-url-file", url)
    assert word in sentence
    assert SECRET not in sentence


async def test_a_schema_of_a_newer_release_is_refused_and_not_touched(
    server: Database,  # noqa: F811
    processes: Processes,
) -> None:
    target = start_counter(processes)
    interceptor = Restartable(processes, target, "--log", server.url("newer", schema="newer"))
    await interceptor.start()
    assert await interceptor.end(signal.SIGTERM) == 0
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute("INSERT INTO newer.schema_migrations VALUES (99, 'from the future')")
        before = await connection.fetch("SELECT * FROM newer.logs")
        assert "version 99" in await refusal_to_start(target, "--log", server.url("newer", schema="newer"))
        assert await connection.fetch("SELECT * FROM newer.logs") == before
    finally:
        await connection.close()


@pytest.mark.usefixtures("frozen_ends")
async def test_a_stop_while_the_database_is_frozen_ends_and_loses_nothing(
    server: Database,  # noqa: F811
    processes: Processes,
) -> None:
    """SIGTERM: nobody is acknowledged whose event is not kept, and the stop does not wait for the database for ever."""
    target = start_counter(processes)
    interceptor = Restartable(
        processes, target, "--log", server.url("ended", connect_timeout="1"), "--drain-timeout-s", "1"
    )
    await interceptor.start()
    clients = Clients(interceptor, CLIENTS)
    await clients.acknowledged(100)
    server.freeze()
    await until_everybody_waits(interceptor, CLIENTS)
    known = list(clients.seen.acknowledged)
    await interceptor.end(signal.SIGTERM)
    assert "Traceback" not in interceptor.said()
    seen = await clients.finish()
    assert seen.acknowledged == known
    server.thaw()
    check_exact(await kept(server, "ended"), known)
