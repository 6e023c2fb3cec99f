"""How connections with TLS end (RFC 9112 §9.8, RFC 8446 §6.1)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl

import pytest

from interceptor.address import Address, HttpsAddress
from interceptor.server_tls import TlsFiles
from interceptor.target_tls import TargetTls
from tests.certificates import Authority
from tests.interceptor.fakes import get, ok, until
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection


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


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "read"])
@pytest.mark.parametrize("said", [True, False], ids=["closure alert", "none"])
async def test_an_answer_that_ends_with_the_connection_is_whole_only_after_a_closure_alert(
    authority: Authority, recorded: bool, said: bool
) -> None:
    """RFC 9112 §9.8: otherwise anybody on the way to the target could cut it short, and its client could not tell."""
    if not said and isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        pytest.skip("asyncio's own loop, which is not used in production, tells both ends alike")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhalf")
            await writer.drain()
            if not said:
                with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as connected:
                    connected.shutdown(socket.SHUT_WR)
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server_context("app", "127.0.0.1"))
    async with server:
        target = HttpsAddress("127.0.0.1", server.sockets[0].getsockname()[1], TargetTls(authority.ca_file))
        async with running(at=target, record_all=recorded) as at:
            answer = await at.send("/x")
    head, _, content = answer.partition(b"\r\n\r\n")
    if said:
        assert head.startswith(b"HTTP/1.1 200 ")
        assert content == b"4\r\nhalf\r\n0\r\n\r\n"
    else:
        assert not content.endswith(b"0\r\n\r\n")
