"""Several lanes before a target that closes after each answer: order, concurrency and a death (rules 1, 3 and 6)."""

from __future__ import annotations

import asyncio

import pytest

from interceptor.order import Order
from interceptor.states import State
from tests.interceptor.fakes import FakeDetector, ok, until
from tests.interceptor.recovering import Rig, recovering
from tests.interceptor.target import Connection, Script

KEYS, EACH = 4, 5
PATHS = [f"/key-{number % KEYS}/{number}" for number in range(KEYS * EACH)]
BY_KEY = "key:path:/{key}/*"


def serial(applied: list[str]) -> Script:
    """A target that reads one request of a connection, and notes it."""

    async def script(connection: Connection) -> None:
        (request,) = await connection.requests()
        path = request.split(" ")[1]
        applied.append(path)
        connection.write(ok(path.encode(), "Connection: close"))

    return script


def of_each_key(paths: list[str]) -> dict[str, list[str]]:
    return {f"key-{key}": [path for path in paths if path.startswith(f"/key-{key}/")] for key in range(KEYS)}


async def whole(rig: Rig, *paths: str) -> None:
    """Ask for them at once; each answer is the one to its request."""
    clients = rig.request(*paths)
    assert await rig.answered(clients) == [200] * len(paths)
    assert [client.output.rpartition(b"\r\n\r\n")[2].decode() for client in clients] == list(paths)


@pytest.mark.parametrize("order", [BY_KEY, "arrival"])
async def test_each_event_is_applied_once_in_its_order_and_nobody_is_suspected(order: str) -> None:
    """RFC 9112 §9.6: what was behind the closing answer was not processed, and goes on a new connection."""
    applied: list[str] = []
    async with recovering(serial(applied), order=Order.parse(order), lanes=KEYS) as rig:
        await rig.active()
        await whole(rig, *PATHS)
        assert sorted(applied) == sorted(PATHS)
        assert order == "arrival" or of_each_key(applied) == of_each_key(PATHS)
        assert State.SUSPECT not in rig.states
        assert rig.recovery.standing.uncertain is None


@pytest.mark.parametrize("order", [BY_KEY, "arrival"])
async def test_a_death_that_no_open_connection_shows_is_seen_before_the_next_event_is_sent(order: str) -> None:
    """A serial target leaves no connection open: the new incarnation is told by the next one, and gets everything."""
    applied: list[str] = []
    detector = FakeDetector("life-1")
    async with recovering(serial(applied), detector=detector, order=Order.parse(order), lanes=KEYS) as rig:
        await rig.active()
        await whole(rig, *PATHS)
        assert not any(lane.connected for lane in rig.lanes)
        applied.clear()
        detector.identity = "life-2"
        more = [f"{path}-more" for path in PATHS]
        await whole(rig, *more)
        assert sorted(applied) == sorted([*PATHS, *more])
        assert order == "arrival" or of_each_key(applied) == of_each_key([*PATHS, *more])
        await rig.active()
        await until(lambda: rig.recovery.standing.incarnations == 2)
        report = rig.recovery.standing.last_recovery
        assert report is not None
        assert report["divergences"] == 0


@pytest.mark.parametrize("order", [BY_KEY, "arrival"])
async def test_lanes_stay_parallel(order: str) -> None:
    """Rule 6: nobody is answered before one request of each lane is there, again and again."""
    lanes = KEYS * 16
    together = asyncio.Barrier(KEYS)

    async def script(connection: Connection) -> None:
        (request,) = await connection.requests()
        await together.wait()
        connection.write(ok(request.split(" ")[1].encode(), "Connection: close"))

    async with recovering(script, order=Order.parse(order), lanes=lanes) as rig:
        await rig.active()
        await whole(rig, *PATHS)
