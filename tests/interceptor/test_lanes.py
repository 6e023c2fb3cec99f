"""Several lanes before a real target: concurrency, order, and what a slow key does to the others (rules 1 and 6)."""

from __future__ import annotations

import asyncio

import pytest

from interceptor.order import Order
from tests.interceptor.fakes import ok
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection

KEYS = 6


async def send_each(at: Running, *paths: str) -> list[bytes]:
    """Ask for each path on a connection of its own, all at once."""
    async with asyncio.timeout(10.0):
        return await asyncio.gather(*(at.send(path) for path in paths))


def meeting(parties: int) -> object:
    """A target that answers none of so many requests before all are with it."""
    barrier = asyncio.Barrier(parties)

    async def script(connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            await barrier.wait()
            connection.write(ok(request.split(" ")[1].encode()))

    return script


@pytest.mark.parametrize("order", ["key:path:/{key}/*", "arrival"])
async def test_as_many_requests_are_with_the_target_at_once_as_there_are_keys_or_lanes(order: str) -> None:
    """Nobody is answered before all are there, so a single lane would wait for ever."""
    async with running(meeting(KEYS), order=Order.parse(order), lanes=64) as at:  # type: ignore[arg-type]
        answers = await send_each(at, *(f"/key-{number}/a" for number in range(KEYS)))
        assert [answer.rpartition(b"\r\n\r\n")[2] for answer in answers] == [
            f"/key-{number}/a".encode() for number in range(KEYS)
        ]
        assert len(at.target.connections) == KEYS, "lanes connect when they are first used"
