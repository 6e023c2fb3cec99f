"""Targets by https and by Unix socket: recorded requests, reads, upgrades, and whose certificate is believed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from interceptor.address import Address, HttpsAddress, TargetAddress, UnixAddress, parse_target
from interceptor.errors import ConfigurationError
from interceptor.target_tls import TargetTls
from tests.certificates import Authority
from tests.interceptor.fakes import get, ok, until
from tests.interceptor.running import running


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its path; an upgrade ends in an echo."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"Upgrade: echo" in head:
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
                writer.write(await reader.readexactly(4))
                return
            writer.write(ok(head.split(b" ")[1]))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def https_target(context: ssl.SSLContext, tls: TargetTls) -> AsyncIterator[HttpsAddress]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield HttpsAddress("127.0.0.1", server.sockets[0].getsockname()[1], tls)


async def check_all_ways(target: TargetAddress) -> None:
    async with running(at=target, record_all=False) as at:
        assert (await at.send("/recorded", method="POST")).endswith(b"/recorded")
        assert (await at.send("/read")).endswith(b"/read")
        assert at.ambassador.journal.last_version == 1
        address = at.ambassador.listen_address
        assert isinstance(address, Address)
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(get("/tunnel", "Connection: Upgrade", "Upgrade: echo"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ping")
        assert await reader.read() == b"ping"
        writer.close()


async def test_https_for_lane_reads_and_upgrades(tmp_path: Path) -> None:
    """RFC 9110 §4.3.4; deaths are told by the listening socket as without TLS."""
    authority = Authority(tmp_path)
    async with https_target(authority.server_context("app", "127.0.0.1"), TargetTls(authority.ca_file)) as target:
        await check_all_ways(target)


async def test_a_name_of_its_own_is_asked_for_and_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = TargetTls(authority.ca_file, "app.internal")
    async with https_target(authority.server_context("app.internal"), tls) as target, running(at=target) as at:
        assert (await at.send("/x")).endswith(b"/x")


@pytest.mark.parametrize("wrong", ["another authority", "another name", "no trust at all"])
async def test_a_certificate_that_is_not_the_targets_gets_no_request(tmp_path: Path, wrong: str) -> None:
    """RFC 9110 §4.3.4: verification is never skipped."""
    authority = Authority(tmp_path)
    context = authority.server_context("app", "app.internal" if wrong == "another name" else "127.0.0.1")
    trusted = {"another authority": Authority(tmp_path, "other").ca_file, "another name": authority.ca_file}
    async with https_target(context, TargetTls(trusted.get(wrong))) as target, running(at=target, wait=False) as at:
        sending = asyncio.create_task(at.send("/x"))
        await until(lambda: at.ambassador.admission.held == 1)
        with pytest.raises(ssl.SSLCertVerificationError):
            await target.connect(asyncio.Protocol)
        assert at.ambassador.machine.state.public == "Waiting"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """Rule 8."""
    (tmp_path / "empty").touch()
    for name in ("empty", "absent"):
        with pytest.raises(ConfigurationError, match=f"--target-ca-file {tmp_path / name}"):
            parse_target("https://app", TargetTls(tmp_path / name))


async def test_a_unix_socket_for_lane_reads_and_upgrades(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    async with await asyncio.start_unix_server(serve, path):
        await check_all_ways(UnixAddress(path))


async def test_another_listener_at_the_same_path_is_another_incarnation(tmp_path: Path) -> None:
    """The events are delivered again to it, in order."""
    path = tmp_path / "app.sock"
    served: list[list[str]] = []
    connections: list[asyncio.StreamWriter] = []

    async def remember(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: list[str] = []
        served.append(asked)
        connections.append(writer)
        try:
            while True:
                asked.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode())
                writer.write(ok(asked[-1].encode()))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    first = await asyncio.start_unix_server(remember, path)
    async with running(at=UnixAddress(str(path))) as at:
        assert (await at.send("/a", "/b")).endswith(b"/b")
        first.close()
        path.unlink(missing_ok=True)
        async with await asyncio.start_unix_server(remember, path):
            connections[0].transport.abort()
            assert (await at.send("/c")).endswith(b"/c")
            assert ["/a", "/b", "/c"] in served
