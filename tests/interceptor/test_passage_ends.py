"""How connections beside the log end, and what their clients can tell by it."""

from __future__ import annotations

import asyncio

from interceptor.address import Address
from tests.interceptor.fakes import get
from tests.interceptor.running import running
from tests.interceptor.target import Connection


async def test_an_answer_that_ends_with_the_connection_and_is_cut_by_us_is_not_taken_for_whole() -> None:
    """RFC 9112 §8: a restore cuts what a drain does not wait for."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhalf")
        await connection.reader.read()

    async with running(script, record_all=False) as at:
        assert isinstance(at.ambassador.listen_address, Address)
        reader, writer = await asyncio.open_connection("127.0.0.1", at.ambassador.listen_address.port)
        writer.write(get("/x"))
        await reader.readuntil(b"half\r\n")
        await at.ambassador.passages.cut_all()
        assert await reader.read() == b""
        writer.close()


async def test_a_malformed_answer_is_not_asked_for_again() -> None:
    """RFC 9110 §9.2.2 lets us ask again where no answer came; here one came, and it is 502 (§15.6.3)."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
        await connection.reader.read()

    async with running(script, record_all=False) as at:
        assert (await at.send("/x")).startswith(b"HTTP/1.1 502 ")
        assert at.target.asked == [["GET /x"]]
