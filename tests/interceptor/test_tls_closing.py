"""How connections with TLS end (RFC 9112 §9.8, RFC 8446 §6.1)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from interceptor.address import Address
from interceptor.server_tls import TlsFiles
from tests.certificates import Authority
from tests.interceptor.fakes import get, ok, until
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> TlsFiles:
    return TlsFiles("--tls", *authority.sign("server", "localhost", "127.0.0.1"))


def connect(at: Running, authority: Authority) -> ssl.SSLSocket:
    """Blocks: for a thread.  An end without a closure alert raises ssl.SSLEOFError when it is read."""
    address = at.ambassador.listen_address
    assert isinstance(address, Address)
    plain = socket.create_connection((address.host, address.port), timeout=10)
    return authority.client_context().wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


async def test_we_end_with_a_closure_alert(authority: Authority, files: TlsFiles) -> None:
    """So that nobody can cut an answer short unnoticed."""

    def ask(at: Running) -> bytes:
        with connect(at, authority) as client:
            client.sendall(get("/x", "Connection: close"))
            pieces = []
            while piece := client.recv(65_536):
                pieces.append(piece)
            return b"".join(pieces)

    async with running(listen_tls=files) as at:
        assert (await asyncio.to_thread(ask, at)).endswith(b"/x")


async def test_a_client_that_ends_its_side_has_ended_the_connection_and_its_request_is_history(
    authority: Authority, files: TlsFiles
) -> None:
    """Rule 3; without TLS it would get its answer."""
    may_answer = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.requests()
        await may_answer.wait()
        connection.write(ok(b"late"))

    async with running(script, listen_tls=files) as at:
        client = await asyncio.to_thread(connect, at, authority)
        await asyncio.to_thread(client.sendall, get("/x"))
        await until(lambda: at.ambassador.journal.last_version == 1)
        plain = await asyncio.to_thread(client.unwrap)
        await until(lambda: at.ambassador.listener.connections == 0)
        may_answer.set()
        await until(lambda: at.ambassador.counters.answers_by_class[2] == 1)
        plain.close()


async def test_a_client_that_leaves_without_a_closure_alert_has_left(authority: Authority, files: TlsFiles) -> None:
    async with running(listen_tls=files) as at:
        client = await asyncio.to_thread(connect, at, authority)
        await until(lambda: at.ambassador.listener.connections == 1)
        socket.socket(fileno=client.detach()).close()
        await until(lambda: at.ambassador.listener.connections == 0)
        assert not at.ambassador.counters.handshakes_failed
