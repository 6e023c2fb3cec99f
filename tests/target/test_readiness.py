"""Readiness: a target is projected into once it can take it, not before."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from interceptor.address import Address
from interceptor.target.connection_owner import Acceptance, accepted_inode, is_gone, owner_of, serving_identity
from interceptor.target.readiness import TargetReadiness

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def readiness(port: int, path: str | None = None) -> TargetReadiness:
    return TargetReadiness(Address("127.0.0.1", port), path, 1.0, None)


async def attempt_with(serve: Serve, path: str | None = None) -> tuple[bool, str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    asked = readiness(server.sockets[0].getsockname()[1], path)
    try:
        return await asked.attempt(), asked.reason
    finally:
        server.close()


async def test_nobody_who_listens_is_not_ready(port: int) -> None:
    asked = readiness(port)
    assert not await asked.attempt()
    assert "no connection" in asked.reason


async def test_one_who_accepts_and_lets_the_connection_stand_is_ready() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    assert (await attempt_with(serve))[0]


@pytest.mark.parametrize("reset", [True, False])
async def test_one_who_accepts_and_turns_away_is_not_ready(monkeypatch: pytest.MonkeyPatch, *, reset: bool) -> None:
    # The other side is in this event loop and need not be as quick as a process of its own; its close ends the wait.
    monkeypatch.setattr("interceptor.target.readiness._STANDS_S", 10.0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    ready, reason = await attempt_with(serve)
    assert not ready
    assert "closes them at once" in reason


@pytest.mark.parametrize(
    ("status", "expected"),
    [("200 OK", True), ("204 No Content", True), ("503 Service Unavailable", False), ("302 Found", False)],
)
async def test_with_a_path_only_2xx_is_ready(status: str, *, expected: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (head := await reader.read(65_536)):
            writer.close()
            return
        assert head.startswith(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1:")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    ready, reason = await attempt_with(serve, "/ready")
    assert ready is expected
    assert expected or status in reason


async def test_a_connection_that_nobody_has_accepted_yet_is_waited_with() -> None:
    """The kernel completes it while the application still starts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        attempt = asyncio.create_task(readiness(listening.getsockname()[1]).attempt())
        with socket.create_connection(listening.getsockname()) as another:
            assert accepted_inode(another) is Acceptance.QUEUED
        assert not attempt.done()
        loop = asyncio.get_running_loop()
        accepted = [(await loop.sock_accept(listening))[0] for _ in range(2)]
        assert await attempt
        for each in accepted:
            each.close()


def test_the_far_end_is_found_by_its_inode_and_its_process() -> None:
    child_end, our_end = socket.socketpair()
    with child_end, our_end, socket.create_server(("127.0.0.1", 0)) as listening:
        pid = os.fork()
        if pid == 0:
            accepted, _ = listening.accept()
            child_end.send(b"%d" % os.fstat(accepted.fileno()).st_ino)
            child_end.recv(1)
            os._exit(0)
        try:
            with socket.create_connection(listening.getsockname()) as connection:
                inode = int(our_end.recv(32))
                assert accepted_inode(connection) == inode
                assert owner_of(inode) == pid
                identity = serving_identity(pid)
                assert not is_gone(identity)
        finally:
            our_end.send(b"x")
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            assert is_gone(identity), "a zombie holds nothing any more"
            os.waitpid(pid, 0)
    assert is_gone(identity)
    assert not is_gone("1:" + identity.partition(":")[2]), "another PID namespace says nothing about ours"
