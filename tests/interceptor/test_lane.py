"""The lane against real loopback servers: one ordered, pipelined connection (RFC 9112 §9.3.2), and how it may end."""

from __future__ import annotations

import asyncio

from tests.interceptor.fakes import ManualClock, ok, turn
from tests.interceptor.lanes import rig
from tests.interceptor.target import Connection


async def test_two_hundred_requests_in_one_write_are_answered_in_order() -> None:
    """Rule 1; RFC 9112 §9.3.2."""
    received: list[bytes] = []

    async def script(connection: Connection) -> None:
        received.append(await connection.reader.read(1 << 20))
        count = received[0].count(b"\r\n\r\n")
        connection.write(*[ok(f"/{version}".encode()) for version in range(1, count + 1)])
        await connection.reader.read()

    async with rig(script) as (lane, target):
        lane.send(200)
        await lane.all_answered()
        assert received[0].count(b"\r\n\r\n") == 200
        assert len(target.connections) == lane.counters.lane_connections == 1
        assert lane.lane.pending == 0


async def test_batches_follow_each_other_on_the_same_connection_without_waiting_for_answers() -> None:
    async def script(connection: Connection) -> None:
        await connection.requests(3)
        connection.write(ok(b"/1"), ok(b"/2"), ok(b"/3"))
        await connection.requests()

    async with rig(script) as (lane, target):
        lane.send()
        lane.send(2)
        await lane.all_answered()
        assert target.asked == [["GET /1", "GET /2", "GET /3"]]


async def test_contents_follow_their_heads() -> None:
    """Rule 5."""

    async def script(connection: Connection) -> None:
        for version in (1, 2):
            await connection.requests()
            assert await connection.reader.readexactly(5) == b"\x00body"
            connection.write(ok(f"/{version}".encode()))
        await connection.requests()

    async with rig(script) as (lane, _):
        lane.send(2, method="POST", body=b"\x00body")
        await lane.all_answered()


async def test_a_target_that_closes_after_each_answer_is_served_one_at_a_time() -> None:
    """RFC 9112 §9.6: nothing behind the answer was processed, so it may be sent again; then the lane is serial."""
    seen: list[bytes] = []

    async def script(connection: Connection) -> None:
        data = await connection.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0)
        rest = bytes(connection.reader._buffer)  # type: ignore[attr-defined]
        seen.append(data + rest)
        connection.write(ok(data.split(b" ")[1], "Connection: close"))
        await connection.writer.drain()

    async with rig(script) as (lane, target):
        lane.send(5)
        await lane.all_answered()
        assert lane.lane.serial
        assert len(target.connections) == 5
        assert [data.count(b"\r\n\r\n") for data in seen[2:]] == [1, 1, 1], "no pipelining once it is known"
        assert lane.counters.resent == 4 + 3
        assert lane.losses == []


async def test_a_close_that_was_announced_with_others_unanswered_resends_those_and_stays_pipelined() -> None:
    """RFC 9112 §9.6: a limit on requests for each connection, say."""

    async def script(connection: Connection) -> None:
        if connection.number == 1:
            await connection.requests(4)
            connection.write(ok(b"/1"), ok(b"/2", "Connection: close"))
            return
        await connection.requests(2)
        connection.write(ok(b"/3"), ok(b"/4"))
        await connection.requests()

    async with rig(script) as (lane, target):
        lane.send(4)
        await lane.all_answered()
        assert target.asked == [["GET /1", "GET /2", "GET /3", "GET /4"], ["GET /3", "GET /4"]]
        assert not lane.lane.serial
        assert lane.counters.resent == 2
        assert lane.losses == []


async def test_a_target_that_closes_after_so_many_answers_gets_no_more_on_a_connection() -> None:
    """RFC 9112 §9.6: closing on unread requests it would reset, and its last answers might be lost."""
    got: list[int] = []

    async def script(connection: Connection) -> None:
        for left in (2, 1, 0):
            (request,) = await connection.requests()
            await turn(3)
            connection.write(ok(request.split(" ")[1].encode(), *["Connection: close"] * (left == 0)))
        got.append(3 + connection.reader._buffer.count(b"\r\n\r\n"))  # type: ignore[attr-defined]

    async with rig(script) as (lane, target):
        lane.send(14)
        await lane.all_answered()
        assert got[:4] == [14, 11, 3, 3]
        assert len(target.connections) == 5
        assert lane.counters.resent == 11 + 8
        assert lane.losses == []


async def test_a_budget_that_was_none_bounds_nothing() -> None:
    async def script(connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            closes = connection.number < 3 and len(connection.asked) == 2
            connection.write(ok(request.split(" ")[1].encode(), *["Connection: close"] * closes))
            if closes:
                return

    async with rig(script) as (lane, target):
        lane.send(9)
        await lane.all_answered()
        lane.send(3)
        await lane.all_answered()
        assert len(target.connections) == 3
        assert lane.losses == []


async def test_an_http_1_0_answer_closes_unless_it_says_otherwise() -> None:
    """RFC 9112 §9.3."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n/%d" % connection.number)

    async with rig(script) as (lane, target):
        lane.send(2)
        await lane.all_answered()
        assert len(target.connections) == 2
        assert lane.losses == []


async def test_a_window_of_one_sends_the_next_only_after_the_answer() -> None:
    """While the culprit of repeated deaths is looked for."""
    alone: list[bool] = []

    async def script(connection: Connection) -> None:
        for _ in range(3):
            (request,) = await connection.requests()
            await asyncio.sleep(0)
            alone.append(not connection.reader._buffer)  # type: ignore[attr-defined]
            connection.write(ok(request.split(" ")[1].encode()))
        await connection.requests()

    async with rig(script) as (lane, target):
        lane.lane.window_events = 1
        lane.send(3)
        await lane.all_answered()
        assert alone == [True, True, True]
        assert len(target.connections) == 1


async def test_an_idle_connection_is_replaced_before_its_next_use(clock: ManualClock) -> None:
    """lane_idle_max_s: the race with the server's keep-alive timeout is not run at all."""
    async with rig(lane_idle_max_s=1.0) as (lane, target):
        lane.send()
        await lane.all_answered()
        clock.now_s += 0.9
        lane.send()
        await lane.all_answered()
        assert len(target.connections) == 1
        clock.now_s += 1.1
        lane.send(2)
        await lane.all_answered()
        assert target.asked == [["GET /1", "GET /2"], ["GET /3", "GET /4"]]
        assert lane.losses == []


async def test_interim_answers_come_before_the_final_one() -> None:
    """RFC 9110 §15.2."""

    async def script(connection: Connection) -> None:
        await connection.requests(2)
        connection.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ok(b"/1"))
        connection.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 2, ok(b"/2"))
        await connection.requests()

    async with rig(script) as (lane, _):
        lane.send(2)
        await lane.all_answered()
        assert [delivery.interim for delivery in lane.deliveries] == [[103], [102, 102]]


async def test_answers_without_content_are_framed_by_their_request_and_status() -> None:
    """RFC 9112 §6.3: HEAD, 204 and 304 have none, whatever Content-Length says."""

    async def script(connection: Connection) -> None:
        await connection.requests(3)
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n")
        connection.write(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
        await connection.requests()

    async with rig(script) as (lane, _):
        lane.send(1, method="HEAD")
        lane.send(2)
        await lane.until(lambda: all(delivery.ended for delivery in lane.deliveries))
        assert [delivery.status for delivery in lane.deliveries] == [200, 204, 304]
        assert lane.losses == []
