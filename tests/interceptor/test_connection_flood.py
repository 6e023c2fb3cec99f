"""Floods of connections: who is one too many is closed before it costs anything, and who is there goes on (rule 7)."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from itertools import pairwise
from time import monotonic

import pytest

from interceptor.acceptor import ACCEPTS_PER_TURN
from interceptor.address import Address
from interceptor.connection_room import ConnectionRoom
from interceptor.counters import Counters
from interceptor.limits import Limits
from tests.interceptor.fakes import get, until
from tests.interceptor.running import Running, running

# More than are accepted in one turn, so that the limit has to hold within a turn and over several.
FLOOD = 3 * ACCEPTS_PER_TURN + 2


def connect(at: Running, stack: ExitStack, source: str) -> socket.socket:
    """Connect without waiting for anybody to accept."""
    address = at.ambassador.listen_address
    assert isinstance(address, Address)
    made = socket.create_connection((address.host, address.port), source_address=(source, 0))
    made.setblocking(False)
    return stack.enter_context(made)


def cut(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("sources", [["127.0.0.1"], [f"127.0.0.{last}" for last in range(1, 11)]])
async def test_who_is_one_too_many_is_closed_while_those_who_are_there_go_on(sources: list[str]) -> None:
    """connections_max, for one address and for several."""
    with ExitStack() as stack:
        async with running(limits=Limits(connections_max=3)) as at:
            counters, listener = at.ambassador.counters, at.ambassador.listener
            kept = [connect(at, stack, sources[0]) for _ in range(3)]
            await until(lambda: listener.connections == 3)
            flood = [connect(at, stack, sources[number % len(sources)]) for number in range(FLOOD)]
            await until(lambda: counters.limits_reached["connections_max"] == FLOOD)
            await until(lambda: all(cut(each) for each in flood))
            # Nothing was made for them.
            assert counters.connections_opened == 3
            for each in kept:
                each.send(get("/honest"))
            await until(lambda: counters.answers_by_class[2] == 3)
            kept[0].close()
            await until(lambda: listener.connections == 2)
            assert (await at.send("/new")).endswith(b"/new")


async def test_the_limit_holds_among_those_that_are_accepted_together() -> None:
    """All of them are in the kernel's queue before the first is accepted."""
    with ExitStack() as stack:
        async with running(limits=Limits(connections_max=3)) as at:
            flood = [connect(at, stack, "127.0.0.1") for _ in range(FLOOD)]
            await until(lambda: at.ambassador.counters.limits_reached["connections_max"] == FLOOD - 3)
            await until(lambda: at.ambassador.counters.connections_opened == 3)
            await until(lambda: sum(cut(each) for each in flood) == FLOOD - 3)
            assert at.ambassador.listener.connections == 3


async def test_a_turn_of_the_event_loop_accepts_only_so_many() -> None:
    """Rule 6: those who are there have their turn between two lots of a flood."""
    with ExitStack() as stack:
        async with running(limits=Limits(connections_max=FLOOD)) as at:
            listener = at.ambassador.listener
            flood = [connect(at, stack, "127.0.0.1") for _ in range(FLOOD)]
            seen = [0]

            def step() -> bool:
                seen.append(listener.connections)
                return seen[-1] == FLOOD

            await until(step)
            assert max(now - before for before, now in pairwise(seen)) <= ACCEPTS_PER_TURN
            assert not any(cut(each) for each in flood)


def test_an_address_has_so_many_places_and_gives_them_back() -> None:
    """connections_per_address_max; a /64 is one address, loopback is none."""
    counters = Counters()
    room = ConnectionRoom(Limits(connections_per_address_max=2, connections_max=6), counters)
    mine = [room.take(b"2001:db8::1"), room.take(b"2001:db8::2")]
    assert room.take(b"2001:db8::3") is None
    assert counters.limits_reached["connections_per_address_max"] == 1
    others = [room.take(peer) for peer in (b"192.0.2.1", b"127.0.0.2", b"127.0.0.2", b"127.0.0.2")]
    assert None not in others
    assert room.take(b"192.0.2.2") is None
    assert counters.limits_reached["connections_max"] == 1
    assert mine[0] is not None
    for _ in range(2):
        mine[0].give_back()
    assert room.taken == 5
    assert room.take(b"2001:db8::3") is not None


def test_a_connection_through_a_balancer_counts_for_the_client_that_it_names() -> None:
    room = ConnectionRoom(Limits(connections_per_address_max=1), Counters())
    first, second = room.take(b"unknown"), room.take(b"unknown")
    assert first is not None
    assert second is not None
    assert first.rename(b"192.0.2.7")
    assert not second.rename(b"192.0.2.7")
    second.give_back()
    first.give_back()
    assert room.taken == 0
    assert room.take(b"192.0.2.7") is not None


@pytest.mark.parametrize("proxy_protocol", [False, True])
async def test_nobody_is_forgotten_who_connects_while_accepting_ends(proxy_protocol: bool) -> None:
    """A client whose transport is closed and who was not told so would keep the shutdown waiting."""
    with ExitStack() as stack:
        async with running(proxy_protocol=proxy_protocol) as at:
            listener = at.ambassador.listener
            (acceptor,) = listener._acceptors
            client = connect(at, stack, "127.0.0.1")
            client.send((b"PROXY UNKNOWN\r\n" if proxy_protocol else b"") + get("/late"))
            acceptor._accept()
            async with asyncio.timeout(5):
                while not listener._clients:  # noqa: ASYNC110 (the very turn of the event loop matters)
                    await asyncio.sleep(0)
            # It is connected, and the acceptor does not know that yet.
            tasks = acceptor._preparing if proxy_protocol else acceptor._connecting
            assert tasks._tasks
            listener.stop_accepting()
            await listener.wait_until_quiet(monotonic() + 5)
            assert listener.connections == 0
            await until(lambda: cut(client))
