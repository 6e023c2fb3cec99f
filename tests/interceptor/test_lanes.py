"""Several lanes before a real target: concurrency, order, and what a slow key does to the others (rules 1 and 6)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from interceptor.order import Order
from interceptor.states import State
from tests.interceptor.fakes import FakeDetector, ok, until
from tests.interceptor.recovering import recovering
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection, Script

KEYS = 6


async def send_each(at: Running, *paths: str) -> list[bytes]:
    """Ask for each path on a connection of its own, all at once."""
    async with asyncio.timeout(10.0):
        return await asyncio.gather(*(at.send(path) for path in paths))


def meeting(parties: int) -> Script:
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
    async with running(meeting(KEYS), order=Order.parse(order), lanes=64) as at:
        answers = await send_each(at, *(f"/key-{number}/a" for number in range(KEYS)))
        assert [answer.rpartition(b"\r\n\r\n")[2] for answer in answers] == [
            f"/key-{number}/a".encode() for number in range(KEYS)
        ]
        assert len(at.target.connections) == KEYS, "lanes connect when they are first used"


def slow(started: asyncio.Event, go_on: asyncio.Event, applied: list[str]) -> Script:
    """A target that takes until `go_on` for /slow/…, and notes what it has done."""

    async def script(connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            path = request.split(" ")[1]
            if path.startswith("/slow/"):
                started.set()
                await go_on.wait()
            applied.append(path)
            connection.write(ok(path.encode()))

    return script


@pytest.mark.parametrize("order", ["key:path:/{key}/*", "arrival"])
async def test_a_slow_request_stalls_nobody_of_another_key_live_and_in_a_replay(order: str) -> None:
    """Rule 6: more than a lane's share of a replay goes by while the slow one is under way."""
    started, go_on = asyncio.Event(), asyncio.Event()
    applied: list[str] = []
    others = [f"/key-{number % 7}/{number}" for number in range(40)]
    detector = FakeDetector("life-1")
    async with recovering(
        slow(started, go_on, applied), detector=detector, order=Order.parse(order), lanes=64, replay_lane_events_max=1
    ) as rig:
        await rig.active()
        clients = rig.request("/slow/1", *others)
        assert await rig.answered(clients[1:]) == [200] * len(others)
        assert "/slow/1" not in applied
        go_on.set()
        await rig.answered(clients[:1])

        applied.clear()
        started.clear()
        go_on.clear()
        detector.identity = "life-2"
        rig.target.reset_all()
        await started.wait()
        await until(lambda: len(applied) == len(others))
        assert rig.machine.state is State.PROJECTING, "requests pass when the slow one is done as well"
        go_on.set()
        await rig.active()
        assert sorted(applied) == sorted(["/slow/1", *others])


async def test_of_a_lost_connection_only_its_own_events_are_in_doubt() -> None:
    """RFC 9110 §9.2.2: the target lives, so what was on the other connections is answered there."""
    slow_is_there, go_on = asyncio.Event(), asyncio.Event()

    async def script(connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            if request == "GET /cut/1":
                await slow_is_there.wait()
                connection.reset()
                return
            if request == "GET /slow/1":
                slow_is_there.set()
                await go_on.wait()
            connection.write(ok(request.split(" ")[1].encode()))

    async with recovering(script, order=Order.parse("key:path:/{key}/*"), lanes=64) as rig:
        await rig.active()
        cut_client, slow_client, behind = rig.request("/cut/1", "/slow/1", "/slow/2")
        assert await rig.answered([cut_client]) == [502]
        assert b"not known whether event 1 was applied" in cut_client.output
        assert rig.recovery.standing.uncertain == (1, 1)
        go_on.set()
        assert await rig.answered([slow_client, behind]) == [200, 200]
        assert await rig.answered(rig.request("/cut/2")) == [200]
        assert [asked for asked in rig.target.asked if "GET /slow/1" in asked] == [["GET /slow/1", "GET /slow/2"]]
        assert rig.recovery.standing.incarnations == 1


async def test_an_idle_lane_that_the_target_closes_holds_nobody() -> None:
    """Servers close idle connections; while another lane stands the target lives."""
    close_it, go_on, slow_is_there = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(connection: Connection) -> None:
        (request,) = await connection.requests()
        if request == "GET /slow/1":
            slow_is_there.set()
            await go_on.wait()
        connection.write(ok(request.split(" ")[1].encode()))
        if request == "GET /idle/1":
            await close_it.wait()
            return
        await connection.echo()

    async with recovering(script, order=Order.parse("key:path:/{key}/*"), lanes=64) as rig:
        await rig.active()
        slow_client, idle_client = rig.request("/slow/1", "/idle/1")
        assert await rig.answered([idle_client]) == [200]
        await slow_is_there.wait()
        assert sum(lane.connected for lane in rig.lanes) == 2
        close_it.set()
        await until(lambda: sum(lane.connected for lane in rig.lanes) == 1)
        assert rig.machine.state is State.ACTIVE
        assert await rig.answered(rig.request("/idle/2")) == [200]
        go_on.set()
        assert await rig.answered([slow_client]) == [200]
        assert State.SUSPECT not in rig.states


async def test_the_deadly_event_among_those_of_several_lanes_is_found() -> None:
    """Poison: each first one of a lane is a suspect, and only the guilty one is quarantined."""
    detector = FakeDetector()
    lives = 1

    async def script(connection: Connection) -> None:
        nonlocal lives
        while True:
            (request,) = await connection.requests()
            if request == "GET /deadly/1":
                lives += 1
                detector.identity = f"life-{lives}"
                rig.target.reset_all()
                return
            connection.write(ok(request.split(" ")[1].encode()))

    paths = [f"/key-{number}/1" for number in range(6)]
    async with recovering(
        script, detector=detector, order=Order.parse("key:path:/{key}/*"), lanes=64, quarantine_after=2
    ) as rig:
        await rig.active()
        clients = rig.request(*paths[:3], "/deadly/1", *paths[3:])
        assert await rig.answered(clients) == [200, 200, 200, 502, 200, 200, 200]
        assert rig.recovery.quarantined.versions == {4}


async def test_requests_without_the_key_have_a_lane_of_their_own_and_are_counted_once() -> None:
    """interceptor_events_without_key_total."""
    detector = FakeDetector("life-1")
    async with recovering(detector=detector, order=Order.parse("key:path:/rooms/{key}"), lanes=1) as rig:
        await rig.active()
        await rig.answered(rig.request("/rooms/1", "/a", "/rooms/2", "/b"))
        assert sorted(rig.target.asked) == [["GET /a", "GET /b"], ["GET /rooms/1", "GET /rooms/2"]]
        detector.identity = "life-2"
        rig.target.reset_all()
        await until(lambda: rig.recovery.standing.incarnations == 2)
        await rig.answered(rig.request("/c"))
        assert rig.plane.counters.without_key == 3


async def test_waiting_waits_for_every_lane() -> None:
    """Rule 4: lanes are drained before anything is said of the state at version n."""
    started, go_on = asyncio.Event(), asyncio.Event()
    async with running(slow(started, go_on, []), order=Order.parse("key:path:/{key}/*"), lanes=64) as at:
        request = asyncio.create_task(at.send("/slow/1"))
        await started.wait()
        await at.send("/fast/1")
        waiting = asyncio.create_task(at.control("POST", "/state?state=Waiting"))
        await at.ambassador.machine.wait_for(lambda state: state is State.DRAINING, 5.0)
        assert not waiting.done()
        go_on.set()
        state = (await waiting).json
        await request
        assert (state["state"], state["versions"]["delivered"], state["in_flight"]) == ("Waiting", 2, 0)
        assert state["order"] == "key:path:/{key}/*"
        assert len(state["lanes"]) == 65
        assert {lane["pending"] for lane in state["lanes"]} == {0}
        metrics = await at.metrics()
        assert metrics["interceptor_lanes"] == 65
        assert metrics["interceptor_lane_longest_pending_events"] == metrics["interceptor_lane_pending_events"] == 0


async def test_the_order_is_a_fact_of_the_log_and_another_one_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A restart with another order: versions are total, so each replays exactly what it promises."""
    log_url = f"file://{tmp_path}/log"
    async with running(log_url=log_url) as at:
        await at.send("/a")
    async with running(log_url=log_url, order=Order.parse("arrival")):
        assert "--order is arrival, this log was delivered with total so far" in caplog.text
    caplog.clear()
    async with running(log_url=log_url, order=Order.parse("arrival")):
        assert "--order is" not in caplog.text
