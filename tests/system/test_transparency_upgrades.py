"""WebSocket, with the `websockets` package at both ends or under ASGI, and other protocols by Upgrade."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable

import pytest
from scripted import Connection, ScriptedTarget
from support import RunningInterceptor, Server, Wire, wait_until
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

StartScripted = Callable[..., ScriptedTarget]
StartInterceptor = Callable[..., RunningInterceptor]
StartTarget = Callable[..., Server]
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %b\r\n\r\n"


@pytest.fixture
async def echo_server() -> AsyncIterator[Server]:
    """A WebSocket server that echoes; `close CODE` makes it close."""

    async def echo(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await socket.recv()
                if isinstance(message, str) and message.startswith("close "):
                    await socket.close(int(message[6:]), "as asked")
                else:
                    await socket.send(message)
        closed.append(socket.close_code)

    closed: list[int | None] = []
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        served = Server("127.0.0.1", next(iter(server.sockets)).getsockname()[1])
        served.closed = closed  # type: ignore[attr-defined]
        yield served


async def start_beside(start_interceptor: StartInterceptor, target: Server, *options: str) -> RunningInterceptor:
    return await asyncio.to_thread(start_interceptor, target, *options)


async def test_messages_of_every_size(echo_server: Server, start_interceptor: StartInterceptor) -> None:
    interceptor = await start_beside(start_interceptor, echo_server)
    async with connect(f"ws://{interceptor.authority}/x?y=1", max_size=None, subprotocols=None) as socket:
        for size in (0, 1, 125, 126, 65_535, 65_536, 10_000_000):
            message = os.urandom(size)
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send("text ✓")
        assert await socket.recv() == "text ✓"
        await (await socket.ping())
        state = await asyncio.to_thread(interceptor.state)
        assert (state["tunnels"], state["versions"]["last"]) == (1, 0)
    metric = await asyncio.to_thread(interceptor.metric, 'interceptor_requests_total{way="upgrade"}')
    assert metric == 1


async def test_many_at_once(echo_server: Server, start_interceptor: StartInterceptor) -> None:
    interceptor = await start_beside(start_interceptor, echo_server)

    async def talk(number: int) -> None:
        async with connect(f"ws://{interceptor.authority}/") as socket:
            for n in range(20):
                await socket.send(f"{number} {n}" * n)
                assert await socket.recv() == f"{number} {n}" * n

    await asyncio.gather(*(talk(number) for number in range(30)))


async def test_close_codes_in_both_directions(echo_server: Server, start_interceptor: StartInterceptor) -> None:
    interceptor = await start_beside(start_interceptor, echo_server)
    codes = [1000, 1001, 4001]
    for code in codes:
        async with connect(f"ws://{interceptor.authority}/") as socket:
            await socket.send(f"close {code}")
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "as asked")
        socket = await connect(f"ws://{interceptor.authority}/")
        await socket.close(code)
        assert socket.close_code == code
    expected = sorted(codes + codes)
    await asyncio.to_thread(wait_until, lambda: sorted(echo_server.closed) == expected, "the closes")  # type: ignore[attr-defined]


async def test_a_client_that_vanishes_closes_the_tunnel(
    echo_server: Server, start_interceptor: StartInterceptor
) -> None:
    interceptor = await start_beside(start_interceptor, echo_server)
    socket = await connect(f"ws://{interceptor.authority}/")
    socket.transport.abort()
    await asyncio.to_thread(wait_until, lambda: echo_server.closed == [1006], "the server to see it", 5.0)  # type: ignore[attr-defined]
    await asyncio.to_thread(wait_until, lambda: interceptor.state()["tunnels"] == 0, "no tunnel")


async def test_under_asgi(start_target: StartTarget, start_interceptor: StartInterceptor) -> None:
    interceptor = await start_beside(start_interceptor, await asyncio.to_thread(start_target, "uvicorn"))
    async with connect(f"ws://{interceptor.authority}/ws", subprotocols=["b", "a"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "b"
        await socket.send(b"bytes")
        assert await socket.recv() == b"bytes"
        await socket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://{interceptor.authority}/refuse")
    assert refused.value.response.status_code == 403


async def test_a_slow_side_slows_the_other_down(echo_server: Server, start_interceptor: StartInterceptor) -> None:
    interceptor = await start_beside(start_interceptor, echo_server)
    async with connect(f"ws://{interceptor.authority}/", max_size=None, max_queue=1) as socket:
        message = b"x" * 1_000_000

        async def send_all() -> None:
            for _ in range(50):
                await socket.send(message)

        sending = asyncio.create_task(send_all())
        for _ in range(50):
            assert await socket.recv() == message
        await sending


def test_another_protocol(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    """Bytes that come with the request, half-closing, and bytes that come with the answer."""

    def script(connection: Connection) -> None:
        head = connection.head()
        if b"\r\nUpgrade: Tcp/1" not in head:
            return
        connection.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: Tcp/1\r\nX-a: 1\r\n\r\nwelcome ")
        received = b""
        while data := connection.receive():
            received += data
        connection.send(received + b" bye")

    interceptor = start_interceptor(scripted(script))
    with Wire(interceptor) as wire:
        answer = wire.ask(UPGRADE % b"Tcp/1" + b"early ")
        assert (answer.status, answer.values(b"Upgrade"), answer.values(b"X-a")) == (101, [b"Tcp/1"], [b"1"])
        wire.send(b"later")
        wire.end_sending()
        assert wire.rest() == b"welcome early later bye"


@pytest.mark.parametrize(
    "upgrade", [b"", b"Upgrade: \r\n", b"Upgrade: Tcp/2\r\n", b"Upgrade: Tcp/1\r\nUpgrade: h2c\r\n"]
)
def test_101_to_a_protocol_that_was_not_asked_for_is_refused(
    scripted: StartScripted, start_interceptor: StartInterceptor, upgrade: bytes
) -> None:
    """RFC 9110 §7.8: a server switches to nothing that was not offered, and says to what it does."""

    def script(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\n%b\r\nsecret" % upgrade)
        connection.receive()

    interceptor = start_interceptor(scripted(script))
    with Wire(interceptor) as wire:
        answer = wire.ask(UPGRADE % b"Tcp/1, Tcp/3")
        assert answer.status == 502
        assert b"secret" not in answer.content
        assert b"RFC 9110 \\u00a77.8" in answer.content


def test_an_upgrade_that_is_not_taken_up(scripted: StartScripted, start_interceptor: StartInterceptor) -> None:
    answers = [
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: Tcp/2\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ]

    def script(connection: Connection) -> None:
        while connection.head():
            connection.send(answers.pop(0))

    interceptor = start_interceptor(scripted(script))
    with Wire(interceptor) as wire:
        first = wire.ask(UPGRADE % b"Tcp/1")
        assert (first.status, first.content, first.values(b"Upgrade")) == (426, b"no", [b"Tcp/2"])
        assert wire.ask(UPGRADE % b"Tcp/1").content == b"ok"


def test_http_2_is_declined_in_an_orderly_way(start_target: StartTarget, start_interceptor: StartInterceptor) -> None:
    interceptor = start_interceptor(start_target("uvicorn"))
    done = subprocess.run(
        ["curl", "-sS", "--http2", "-w", "%{http_version}", f"{interceptor.url}/bytes/3"],
        capture_output=True, check=True, timeout=20,
    )  # fmt: skip
    assert done.stdout == b"\x00\x01\x021.1"
