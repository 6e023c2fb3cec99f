"""Nothing is sent before the application has accepted the connection (rule 1: the queue outlives a worker)."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import termios

from interceptor.address import Address
from interceptor.counters import Counters
from interceptor.lane import Lane
from interceptor.limits import Limits
from tests.interceptor.fakes import FakeDelivery, event, ok, turn, until


def unread_bytes(connection: socket.socket) -> int:
    found = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, found)
    return found[0]


def lane_to(listening: socket.socket, **limits: float) -> Lane:
    address = Address("127.0.0.1", listening.getsockname()[1])
    return Lane(
        address, Limits(**limits), Counters(), on_lost=lambda *_: None, confirm=lambda: True,  # type: ignore[arg-type]
        is_watched=lambda: True,
    )  # fmt: skip


async def test_what_no_process_has_accepted_holds_nothing_that_the_next_one_could_execute() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        lane = lane_to(listening)
        delivery = FakeDelivery(event(1), told=asyncio.Event())
        lane.send([delivery])  # type: ignore[list-item]
        await until(lambda: lane.counters.lane_connections == 0 and lane._connecting is not None)
        await turn(50)
        accepted, _ = listening.accept()
        with accepted:
            assert unread_bytes(accepted) == 0
            await until(lambda: unread_bytes(accepted) > 0)
            accepted.sendall(ok(b"/1"))
            await until(lambda: delivery.ended)
        await lane.close()


async def test_a_target_that_accepts_nothing_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        lane = lane_to(listening, accept_wait_s=0.01)
        lane.send([FakeDelivery(event(1), told=asyncio.Event())])  # type: ignore[list-item]
        await until(lambda: lane.counters.lane_connections == 1)
        assert lane.counters.limits_reached["accept_wait_s"] == 1
        await lane.close()


async def test_an_incarnation_that_ends_before_it_accepts_has_got_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        lane = lane_to(listening)
        lane.send([FakeDelivery(event(1), told=asyncio.Event())])  # type: ignore[list-item]
        await turn(50)
        assert [delivery.event.version for delivery in lane.take_back()] == [1]
        await turn(5)
        accepted, _ = listening.accept()
        with accepted:
            accepted.settimeout(0.0)
            assert accepted.recv(1) == b""
        await lane.close()
