"""PROXY protocol on the listener: who the client is, what is refused, and TLS behind it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from interceptor.address import Address
from interceptor.limits import Limits
from interceptor.server_tls import TlsFiles
from tests.certificates import Authority
from tests.interceptor.fakes import get, ok, until
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection

V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 1234 80\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x04\xd2\0\x50"
LAST = get("/x", "Connection: close")


async def connect(at: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = at.ambassador.listen_address
    assert isinstance(address, Address)
    return await asyncio.open_connection("127.0.0.1", address.port)


class HeadsOf:
    """A target's script that keeps the heads it gets."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, connection: Connection) -> None:
        while True:
            self.heads.append(await connection.reader.readuntil(b"\r\n\r\n"))
            connection.write(ok(b"fine"))


@pytest.mark.parametrize("header", [V1, V2])
async def test_the_named_client_is_forwarded_for(header: bytes) -> None:
    """RFC 7239 §5.2, by X-Forwarded-For."""
    script = HeadsOf()
    async with running(script, proxy_protocol=True) as at:
        reader, writer = await connect(at)
        writer.write(header + LAST)
        assert (await reader.read()).endswith(b"fine")
        writer.close()
    assert b"X-Forwarded-For: 192.0.2.7\r\n" in script.heads[0]


async def test_a_header_in_pieces() -> None:
    script = HeadsOf()
    async with running(script, proxy_protocol=True) as at:
        reader, writer = await connect(at)
        for place in range(len(V2)):
            writer.write(V2[place : place + 1])
            await asyncio.sleep(0)
        writer.write(LAST)
        assert (await reader.read()).endswith(b"fine")
        writer.close()


async def test_a_balancer_that_speaks_for_itself_is_the_client() -> None:
    script = HeadsOf()
    async with running(script, proxy_protocol=True) as at:
        reader, writer = await connect(at)
        writer.write(b"PROXY UNKNOWN\r\n" + LAST)
        assert (await reader.read()).endswith(b"fine")
        writer.close()
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in script.heads[0]


@pytest.mark.parametrize("data", [LAST, V1[:-2] + b"\n" + LAST, b"\r\n\r\n\0\r\nQUIT\n\x31" + bytes(20)])
async def test_without_a_good_header_the_connection_is_closed_without_a_word(data: bytes) -> None:
    """The specification, section 5: never guess."""
    async with running(proxy_protocol=True) as at:
        reader, writer = await connect(at)
        writer.write(data)
        # What was not read makes it a reset.
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: at.ambassador.counters.handshakes_failed["proxy"] == 1)
        assert at.target.asked in ([], [[]])


async def test_a_header_that_does_not_come_ends_the_connection() -> None:
    """Rule 7."""
    async with running(proxy_protocol=True, limits=Limits(handshake_timeout_s=0.1)) as at:
        reader, writer = await connect(at)
        writer.write(V1[:10])
        assert await reader.read() == b""
        writer.close()
        assert at.ambassador.counters.limits_reached["handshake_timeout_s"] == 1
        assert at.ambassador.listener.connections == 0


async def test_tls_behind_the_header(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = TlsFiles("--tls", *authority.sign("server", "127.0.0.1"))
    script = HeadsOf()
    async with running(script, proxy_protocol=True, listen_tls=files) as at:
        reader, writer = await connect(at)
        writer.write(V2)
        await writer.start_tls(authority.client_context(), server_hostname="127.0.0.1")
        writer.write(LAST)
        assert (await reader.read()).endswith(b"fine")
        writer.close()
    assert b"X-Forwarded-For: 192.0.2.7\r\n" in script.heads[0]
    assert b"X-Forwarded-Proto: https\r\n" in script.heads[0]


async def test_connections_of_one_address_are_limited_and_others_are_not() -> None:
    """Rule 7: connections_per_address_max, by the address that the header names."""
    async with running(HeadsOf(), proxy_protocol=True, limits=Limits(connections_per_address_max=2)) as at:
        counters = at.ambassador.counters
        kept = []
        for _ in range(2):
            reader, writer = await connect(at)
            writer.write(V1 + get("/"))
            assert await reader.readuntil(b"fine")
            kept.append(writer)
        reader, writer = await connect(at)
        writer.write(V1)
        # What was not read makes it a reset.
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert counters.limits_reached["connections_per_address_max"] == 1
        other, other_writer = await connect(at)
        other_writer.write(V1.replace(b"192.0.2.7", b"192.0.2.8") + LAST)
        assert (await other.read()).endswith(b"fine")
        other_writer.close()
        kept.pop().close()
        await until(lambda: at.ambassador.listener.connections == 1)
        again, again_writer = await connect(at)
        again_writer.write(V1 + LAST)
        assert (await again.read()).endswith(b"fine")
        for each in (again_writer, *kept):
            each.close()
