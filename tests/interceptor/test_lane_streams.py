"""Answers on the lane that come in pieces: chunked, framed by close, long ones, slow readers, broken ones."""

from __future__ import annotations

import asyncio

from tests.interceptor.fakes import event, ok, until
from tests.interceptor.lanes import rig
from tests.interceptor.target import Connection

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_chunked_answers_arrive_decoded_with_their_trailers_and_others_follow() -> None:
    """RFC 9112 §7.1."""

    async def script(connection: Connection) -> None:
        await connection.requests(2)
        connection.write(CHUNKED, b"3\r\nabc\r\n")
        await connection.writer.drain()
        await asyncio.sleep(0.001)
        connection.write(b"2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n", ok(b"/2"))
        await connection.requests()

    async with rig(script) as (lane, _):
        first, second = lane.send(2)
        await lane.until(lambda: second.ended)
        assert (first.content, first.ended, first.trailers) == (b"abcde", True, b"X-Sum: 1\r\n")
        assert first.last_pieces == [b"de"]
        assert lane.lane.pending == 0


async def test_an_answer_framed_by_close_ends_with_the_connection_and_the_next_goes_on_a_new_one() -> None:
    """RFC 9112 §6.3 item 8."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 200 OK\r\n\r\n", b"part", b" of it")

    async with rig(script) as (lane, target):
        lane.send(2)
        await lane.until(lambda: all(delivery.ended for delivery in lane.deliveries))
        assert [delivery.content for delivery in lane.deliveries] == [b"part of it"] * 2
        assert len(target.connections) == 2
        assert lane.losses == []


async def test_a_long_answer_streams_and_a_short_one_is_whole() -> None:
    """answer_whole_bytes_max."""
    content = b"x" * 5_000

    async def script(connection: Connection) -> None:
        await connection.requests(2)
        connection.write(ok(content), ok(content[:1_000]))
        await connection.requests()

    async with rig(script, answer_whole_bytes_max=1_000) as (lane, _):
        long, short = lane.send(2)
        await lane.until(lambda: short.ended)
        assert (long.content, short.content) == (content, content[:1_000])
        assert long.pieces > 0
        assert short.pieces == 0


async def test_a_stream_that_breaks_off_is_interrupted_not_ended() -> None:
    """Rule 8: half an answer is never taken for the whole."""

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(CHUNKED, b"3\r\nabc\r\n")
        await connection.writer.drain()

    async with rig(script) as (lane, _):
        (delivery,) = lane.send()
        await lane.lost()
        assert lane.lane.take_back() == [delivery]
        assert (delivery.ended, delivery.interruptions, delivery.content) == (False, 1, b"abc")


async def test_half_of_a_length_framed_answer_is_not_an_answer() -> None:
    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await connection.writer.drain()

    async with rig(script) as (lane, _):
        (delivery,) = lane.send()
        await lane.lost()
        assert not delivery.ended
        assert lane.lane.take_back() == [delivery]


async def test_a_reset_behind_a_close_framed_answer_is_a_loss() -> None:
    """Only an orderly end completes it."""
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 200 OK\r\n\r\n", b"part")
        await go.wait()
        connection.reset()

    async with rig(script) as (lane, _):
        (delivery,) = lane.send()
        await lane.until(lambda: delivery.content == b"part")
        go.set()
        await lane.lost()
        assert not delivery.ended


async def test_a_slow_reader_stops_the_target_only_while_nobody_waits_behind() -> None:
    """Rule 6."""
    total = 8 * 1024 * 1024

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total, bytes(total))
        (request,) = await connection.requests()
        connection.write(ok(request.split(" ")[1].encode()))
        await connection.requests()

    async with rig(script) as (lane, target):
        (slow,) = lane.send()
        slow.slow = True
        await lane.until(lambda: slow.resume is not None)
        stopped_at = len(slow.content)
        await until(lambda: target.connections[0].writer.transport.get_write_buffer_size() > 0)
        assert stopped_at <= len(slow.content) < total
        (behind,) = lane.send()
        await lane.until(lambda: behind.ended)
        assert len(slow.content) == total


async def test_a_slow_reader_that_has_taken_everything_lets_the_target_go_on() -> None:
    total = 4 * 1024 * 1024

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total, bytes(total))
        await connection.requests()

    async with rig(script) as (lane, _):
        (slow,) = lane.send()
        slow.slow = True
        await lane.until(lambda: slow.resume is not None)
        slow.slow = False
        assert slow.resume is not None
        slow.resume()
        await lane.until(lambda: slow.ended)


async def test_only_those_that_came_before_the_deadline_are_overdue() -> None:
    """answer_timeout_s: the events go on, their clients are told."""

    async def script(connection: Connection) -> None:
        await connection.requests(3)
        await connection.reader.read()

    async with rig(script) as (lane, target):
        batch = lane.send(3)
        for arrived_s, delivery in enumerate(batch):
            delivery.arrived_s = float(arrived_s)
        await until(lambda: bool(target.asked and len(target.asked[0]) == 3))
        lane.lane.refuse_overdue(1.5)
        assert [delivery.overdue for delivery in batch] == [True, True, False]
        assert lane.lane.pending == 3
        assert batch[0].event == event(1)
