"""Hostile clients against the limits of connections: each has an answer and a metric, and others go on (rules 6, 7)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from interceptor.address import Address
from interceptor.limits import Limits
from tests.interceptor.fakes import get, ok, until
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection, Script, echo

QUICK = {"rate_grace_s": 0.1, "head_timeout_s": 60.0, "body_timeout_s": 60.0}
BIG = 4 * 1024 * 1024
SOME = 512 * 1024


@pytest.fixture(autouse=True)
def _sweep_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interceptor.listener.SWEEP_S", 0.02)
    monkeypatch.setattr("interceptor.listener.SWEPT_PER_TURN", 1)


@asynccontextmanager
async def limited(script: Script = echo, *, record_all: bool = True, **limits: float) -> AsyncIterator[Running]:
    async with running(script, limits=Limits(**{**QUICK, **limits}), record_all=record_all) as at:  # type: ignore[arg-type]
        yield at


async def connect(at: Running, receive_buffer_bytes: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = at.ambassador.listen_address
    assert isinstance(address, Address)
    client = socket.socket()
    if receive_buffer_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", address.port))
    return await asyncio.open_connection(sock=client, limit=1024 if receive_buffer_bytes else 65_536)


def reached(at: Running, name: str) -> int:
    return at.ambassador.counters.limits_reached[name]


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send on and on, a byte at a time, until cancelled or cut."""
    while not writer.is_closing():
        writer.write(piece)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("start", "piece", "name"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"x", "head_bytes_per_s_min"),
        (b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n\r\n", b"x", "body_bytes_per_s_min"),
        (b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", "body_bytes_per_s_min"),
    ],
)
async def test_a_slow_sender_gets_408_while_others_are_served(start: bytes, piece: bytes, name: str) -> None:
    """RFC 9110 §15.5.9."""
    async with limited(**{name: 1_000}) as at:
        reader, writer = await connect(at)
        writer.write(start)
        dripping = asyncio.create_task(drip(writer, piece))
        assert b"HTTP/1.1 408 " in await reader.readuntil(b"\r\n")
        dripping.cancel()
        writer.close()
        assert reached(at, name) == 1
        assert (await at.send("/honest")).endswith(b"/honest")
        assert at.ambassador.journal.last_version == 1


async def test_a_slow_upload_past_the_log_is_cut() -> None:
    """The target has got half of it, so no answer of ours can be right."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        await connection.reader.read()

    async with running(
        script, limits=Limits(rate_grace_s=0.1, body_bytes_per_s_min=1_000), bypass=("POST:/upload",)
    ) as at:
        reader, writer = await connect(at)
        writer.write(b"POST /upload HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n\r\n")
        dripping = asyncio.create_task(drip(writer, b"x"))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        dripping.cancel()
        writer.close()
        assert reached(at, "body_bytes_per_s_min") == 1


async def big(connection: Connection) -> None:
    """Answer /big with much, /some with some, all else with little."""
    while True:
        (request,) = await connection.requests()
        connection.write(ok({"GET /big": BIG * b"x", "GET /some": SOME * b"x"}.get(request, b"little")))
        await connection.writer.drain()


async def test_a_slow_reader_is_cut_while_others_are_served() -> None:
    async with limited(big, answer_bytes_per_s_min=1_000_000) as at:
        reader, writer = await connect(at, receive_buffer_bytes=4096)
        writer.write(get("/big"))
        assert await reader.readexactly(100)
        assert (await at.send("/honest")).endswith(b"little")
        await until(lambda: reached(at, "answer_bytes_per_s_min") == 1)
        await until(lambda: at.ambassador.listener.connections == 0)
        assert at.ambassador.gate.budget.memory_bytes == at.ambassador.gate.budget.spool_bytes == 0
        writer.close()


async def test_a_reader_who_keeps_up_gets_everything() -> None:
    async with limited(big, answer_bytes_per_s_min=1_000) as at:
        answer = await at.send("/big")
        assert len(answer) > BIG
        assert not any(name.endswith("_min") for name in at.ambassador.counters.limits_reached)


async def test_answers_that_wait_have_one_budget_and_the_one_that_holds_most_is_cut() -> None:
    """answers_memory_bytes_max, answers_spool_bytes_max: who holds little is not cut, also where no room is left."""
    async with limited(
        big, answers_memory_bytes_max=300_000, answers_spool_bytes_max=BIG, answer_bytes_per_s_min=0
    ) as at:
        budget = at.ambassador.gate.budget
        slow = [await connect(at, receive_buffer_bytes=4096) for _ in range(3)]
        for _, writer in slow:
            writer.write(get("/big"))
        await until(lambda: reached(at, "answers_spool_bytes_max") + reached(at, "answers_memory_bytes_max") > 0)
        assert (await at.send("/honest")).endswith(b"little")
        assert len(await at.send("/some")) > SOME
        assert budget.memory_bytes < 300_000 + 3 * 256 * 1024
        assert budget.spool_bytes <= BIG
        for _, writer in slow:
            writer.transport.abort()
        await until(lambda: at.ambassador.listener.connections == 0)
        assert (budget.memory_bytes, budget.spool_bytes, budget.spooling) == (0, 0, set())


async def test_the_last_request_of_a_connection_closes_it() -> None:
    """requests_per_connection_max; RFC 9112 §9.6: what follows is not processed."""
    async with limited(requests_per_connection_max=2) as at:
        reader, writer = await connect(at)
        writer.write(get("/1") + get("/2") + get("/3"))
        answers = await reader.read()
        writer.close()
        assert answers.count(b"HTTP/1.1 200") == 2
        assert answers.count(b"Connection: close") == 1
        assert answers.endswith(b"/2")
        assert reached(at, "requests_per_connection_max") == 1
        assert at.ambassador.journal.last_version == 2


async def test_too_many_tunnels_are_503() -> None:
    """tunnels_max."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        await connection.reader.read()

    async with limited(script, tunnels_max=1, pool_connections_max=1) as at:
        kept = []
        for _ in range(2):
            reader, writer = await connect(at)
            writer.write(get("/", "Connection: Upgrade", "Upgrade: echo"))
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            kept.append(writer)
        reader, writer = await connect(at)
        writer.write(get("/", "Connection: Upgrade", "Upgrade: echo"))
        assert b" 503 " in await reader.readuntil(b"\r\n\r\n")
        assert reached(at, "tunnels_max") == 1
        for each in (*kept, writer):
            each.transport.abort()


@pytest.mark.parametrize("version", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"GET / HTTP/2.0\r\n\r\n"])
async def test_http_2_with_prior_knowledge_is_refused_in_a_way_that_http_1_clients_read(version: bytes) -> None:
    """RFC 9113 §3.3, RFC 9110 §15.6.6: 505 and the end, as a server does that knows only HTTP/1.1."""
    async with limited() as at:
        reader, writer = await connect(at)
        writer.write(version)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 505 ")
        assert b"Connection: close" in answer


async def test_an_upgrade_to_h2c_is_ignored() -> None:
    """RFC 9110 §7.8: a server may; the request is served as it is."""
    async with limited() as at:
        answer = await at.send(
            "/x", fields=("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAM")
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert at.target.asked == [["GET /x"]]
