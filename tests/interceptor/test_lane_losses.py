"""How a lane loses its connection, and what it says of it: the owner judges, nothing is sent again blindly."""

from __future__ import annotations

import asyncio

import pytest

from tests.interceptor.fakes import ok, turn, until
from tests.interceptor.lanes import Rig, rig
from tests.interceptor.target import Connection, ScriptedTarget, echo


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_close_that_was_not_announced_is_for_the_owner_to_judge(how: str) -> None:
    """RFC 9110 §9.2.2: what is unanswered is ambiguous, so it is not sent again by itself."""

    async def script(connection: Connection) -> None:
        await connection.requests(3)
        connection.write(ok(b"/1"))
        await connection.writer.drain()
        if how == "reset":
            connection.reset()

    async with rig(script) as (lane, target):
        lane.send(3)
        assert "closed the connection" in await lane.lost()
        sent = lane.lane.take_back_sent()
        unanswered = [delivery.event.version for delivery in sent]
        assert unanswered == [2, 3] if how == "end" else unanswered in ([1, 2, 3], [2, 3])
        assert len(target.connections) == 1
        assert lane.lane.pending == 0


async def test_what_was_not_sent_stays_for_the_next_connection() -> None:
    """take_back_sent: the same incarnation goes on with what it has never seen."""

    async def script(connection: Connection) -> None:
        (request,) = await connection.requests()
        if connection.number == 1:
            connection.reset()
        else:
            connection.write(ok(request.split(" ")[1].encode()))
            await connection.echo()

    async with rig(script) as (lane, target):
        lane.lane.window_events = 1
        lane.send(3)
        await lane.lost()
        assert [delivery.event.version for delivery in lane.lane.take_back_sent()] == [1]
        lane.lane.pump()
        await lane.until(lambda: lane.deliveries[2].ended)
        assert target.asked[0] == ["GET /1"]
        assert target.asked[1] == ["GET /2", "GET /3"]


async def test_what_comes_after_a_loss_and_before_its_judgement_was_not_sent() -> None:
    """Rule 3: a batch that is delivered in the turn of the loss is in no doubt, and goes on the next connection."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        if connection.number == 1:
            connection.reset()
        else:
            connection.write(ok(b"/2") + ok(b"/3"))
            await connection.echo()

    async with rig(script) as (lane, target):
        lane.send()
        await lane.lost()
        # Its transport is closed for good in the turn after it has told of the loss.
        await asyncio.sleep(0)
        lane.send(2)
        assert lane.lane.queued == 2
        assert [delivery.event.version for delivery in lane.lane.take_back_sent()] == [1]
        lane.lane.pump()
        await lane.until(lambda: lane.deliveries[2].ended)
        assert target.asked == [["GET /1"], ["GET /2", "GET /3"]]


async def test_take_back_returns_everything_in_order_and_forgets_that_the_target_was_serial() -> None:
    async def script(connection: Connection) -> None:
        await connection.requests()
        await connection.reader.read()

    async with rig(script) as (lane, target):
        lane.lane.window_events = 2
        lane.lane._budget_events = 1
        lane.send(4)
        await until(lambda: target.asked == [["GET /1"]])
        assert lane.lane.oldest is lane.deliveries[0]
        assert [delivery.event.version for delivery in lane.lane.take_back()] == [1, 2, 3, 4]
        assert not lane.lane.serial
        assert not lane.lane.connected
        assert lane.losses == []


async def test_nobody_is_connected_to_that_is_not_the_incarnation_of_this_lane() -> None:
    """Rule 3: between a death and its detection another incarnation may take the connection."""
    async with rig() as (lane, target):
        lane.confirmed = False
        lane.send(2)
        assert "another incarnation" in await lane.lost()
        assert all(asked == [] for asked in target.asked)
        assert lane.lane.pending == 2


async def test_a_target_that_takes_no_connection_is_a_loss() -> None:
    async with ScriptedTarget(echo) as target:
        address = target.address
    lane = Rig(address)
    lane.send()
    assert f"no connection to the target at {address}" in await lane.lost()
    await lane.lane.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", id="no chunk size"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", id="101 that nobody asked for"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, id="head without an end"),
        pytest.param(ok(b"/1") + b"more", id="bytes behind the last answer"),
    ],
)
async def test_a_malformed_answer_ends_the_connection(answer: bytes) -> None:
    """RFC 9112 §6.3, §11.2: after a framing error nobody knows where the next answer begins (rule 8)."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(answer)
        await connection.reader.read()

    async with rig(script) as (lane, _):
        lane.send()
        assert "malformed" in await lane.lost()


async def test_an_answer_to_nobody_ends_the_connection() -> None:
    """Unsolicited bytes on an idle connection must not become the answer to the next request."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(ok(b"/1"))
        await asyncio.sleep(0.01)
        connection.write(ok(b"/poison"))
        await connection.reader.read()

    async with rig(script) as (lane, _):
        lane.send()
        await lane.all_answered()
        assert "malformed" in await lane.lost()


async def test_an_answer_that_came_before_the_reset_counts_though_our_write_failed_first() -> None:
    """RFC 9112 §9.6: who closes while more is on its way resets, which must not cost the answer in front of it."""

    async def script(connection: Connection) -> None:
        if connection.number > 1:
            await connection.echo()
        await connection.requests()
        connection.writer.transport.pause_reading()
        target_rig.send(2)
        await turn()
        connection.write(ok(b"/1", "Connection: close"))
        # All in one turn of the loop: the reset, and the write that meets it before the answer is read.
        connection.writer.transport.abort()
        asyncio.get_running_loop().call_soon(target_rig.send)

    async with rig(script) as (target_rig, target):
        target_rig.send()
        await target_rig.until(lambda: len(target_rig.deliveries) == 4)
        await target_rig.all_answered()
        assert target_rig.losses == []
        assert target.asked[1] == ["GET /2", "GET /3", "GET /4"]


async def test_after_a_living_target_closed_on_several_events_they_go_one_at_a_time_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 9112 §9.6: with nothing unread behind its answer a target that closes does not reset."""
    monkeypatch.setattr("interceptor.lane.CAREFUL_EVENTS", 2)
    alone: list[bool] = []

    async def script(connection: Connection) -> None:
        if connection.number in (1, 3):
            await connection.requests(3)
            return
        for _ in range(3):
            (request,) = await connection.requests()
            await turn()
            alone.append(not connection.reader._buffer)  # type: ignore[attr-defined]
            connection.write(ok(request.split(" ")[1].encode()))
        await connection.requests()

    async with rig(script) as (lane, target):
        for first, expected in ((1, [True, True, False]), (8, [True, True, True])):
            alone.clear()
            lane.send(3)
            await lane.until(lambda: bool(lane.losses))
            lane.losses.clear()
            assert [delivery.event.version for delivery in lane.lane.take_back_lost()] == [first, first + 1, first + 2]
            lane.send(4)
            await lane.until(lambda first=first: lane.deliveries[first + 4].ended)
            assert alone == expected
            lane.lane.take_back_sent()
        assert len(target.connections) == 4


async def test_a_single_event_on_which_a_living_target_closes_changes_nothing() -> None:
    async def script(connection: Connection) -> None:
        await connection.requests()

    async with rig(script) as (lane, _):
        lane.send()
        await lane.lost()
        assert len(lane.lane.take_back_lost()) == 1
        assert not lane.lane.serial
