"""Admission: first in, first out; bounded in requests, bytes and seconds; what is held has no version (rule 3)."""

from __future__ import annotations

import asyncio

import pytest

from interceptor.journal import Durability
from interceptor.passed_exchange import PassedExchange
from interceptor.routing import Route
from interceptor.wire.request import RequestReader
from tests.interceptor.conftest import DataPlane, MakePlane
from tests.interceptor.fake_log import UNAVAILABLE
from tests.interceptor.fakes import FakeClient, ManualClock, answer_of, get, ok, turn


def passed(client: FakeClient, plane: DataPlane, path: str = "/read") -> PassedExchange:
    reader = RequestReader(32_768, 8_192, 128)
    reader.feed(get(path))
    request = reader.read_head()
    assert request is not None
    exchange = PassedExchange(client, plane.counters, request, get(path), Route.READ)  # type: ignore[arg-type]
    client.exchanges.append(exchange)
    return exchange


def settle(plane: DataPlane, position: int) -> None:
    plane.gate.settle(plane.delivered[position], answer_of(ok()), b"", 0)


def versions(plane: DataPlane) -> list[tuple[int, bytes]]:
    return [(exchange.event.version, exchange.head.split(b" ")[1]) for exchange in plane.delivered]


async def test_what_is_held_follows_first_in_first_out_and_only_then_gets_a_version(plane: DataPlane) -> None:
    """Rules 1 and 3."""
    for path in ("/a", "/b", "/c"):
        plane.admission.admit(plane.request(path))
    await turn()
    assert plane.admission.held == 3
    assert plane.sequencer.last_version == plane.backend.last_version == 0
    plane.admission.open()
    plane.admission.admit(plane.request("/d"))
    await turn()
    assert versions(plane) == [(1, b"/a"), (2, b"/b"), (3, b"/c"), (4, b"/d")]
    assert plane.admission.held == plane.admission.held_bytes == 0
    assert plane.counters.holds_ended["drained"] == 3
    assert sum(plane.counters.hold_time.counts) == 3


async def test_a_newcomer_does_not_overtake_the_held_ones(make_plane: MakePlane) -> None:
    """Rule 1: also where only the lack of room holds them."""
    plane = make_plane(in_flight_events_max=1)
    plane.admission.open()
    for path in ("/a", "/b"):
        plane.admission.admit(plane.request(path))
    await turn()
    plane.admission.admit_passed(passed(plane.client, plane))
    assert plane.passages.started == []
    plane.admission.admit(plane.request("/c"))
    settle(plane, 0)
    await turn()
    settle(plane, 1)
    await turn()
    assert [exchange.head.split(b" ")[1] for exchange in plane.passages.started] == [b"/read"]
    assert versions(plane) == [(1, b"/a"), (2, b"/b"), (3, b"/c")]


async def test_what_comes_while_the_held_ones_are_being_admitted_goes_behind_them(plane: DataPlane) -> None:
    """Rule 1: a read that ends at once lets its client's next request in, in the middle of the queue's turn."""
    plane.admission.admit_passed(passed(FakeClient(), plane))
    plane.admission.admit(plane.request("/held"))
    plane.passages.start = lambda _: plane.admission.admit(plane.request("/new"))  # type: ignore[method-assign]
    plane.admission.open()
    await turn()
    assert versions(plane) == [(1, b"/held"), (2, b"/new")]


async def test_an_unrecorded_request_passes_when_nothing_is_held(plane: DataPlane) -> None:
    plane.admission.open()
    exchange = passed(plane.client, plane)
    plane.admission.admit_passed(exchange)
    assert plane.passages.started == [exchange]


@pytest.mark.parametrize(
    ("limits", "reached"),
    [({"hold_requests_max": 2}, "hold_requests_max"), ({"hold_bytes_max": 2 * len(get("/1"))}, "hold_bytes_max")],
)
async def test_a_full_hold_queue_answers_503_with_retry_after(
    make_plane: MakePlane, limits: dict[str, float], reached: str
) -> None:
    """Rules 3 and 7; RFC 9110 §15.6.4, §10.2.3: nothing was sequenced and nothing will be."""
    plane = make_plane(**limits)
    for path in ("/1", "/2"):
        plane.admission.admit(plane.request(path))
    refused = FakeClient()
    plane.admission.admit(plane.request("/3", client=refused))
    assert refused.status == 503
    assert b"\r\nRetry-After: 3\r\n" in refused.output
    assert b"application/problem+json" in refused.output
    assert plane.admission.held == 2
    assert plane.counters.holds_ended["full"] == plane.counters.limits_reached[reached] == 1
    plane.admission.open()
    await turn()
    assert [path for _, path in versions(plane)] == [b"/1", b"/2"]


async def test_what_is_held_for_too_long_is_answered_503_and_never_sequenced(
    make_plane: MakePlane, clock: ManualClock
) -> None:
    """Rule 3, hold_time_max_s."""
    plane = make_plane(hold_time_max_s=5.0)
    clients = [FakeClient() for _ in range(3)]
    for client, wait_s in zip(clients, (0.0, 2.0, 2.0), strict=True):
        clock.now_s += wait_s
        plane.admission.admit(plane.request(client=client))
    clock.now_s += 1.0
    plane.admission.expire()
    assert [client.status for client in clients] == [None, None, None]
    assert plane.admission.oldest_held_s == 5.0
    clock.now_s += 0.5
    plane.admission.expire()
    assert [client.status for client in clients] == [503, None, None]
    assert b"\r\nRetry-After: 1\r\n" in clients[0].output
    assert b"not recorded and not delivered" in clients[0].output
    plane.admission.open()
    await turn()
    assert len(plane.delivered) == 2
    assert plane.counters.holds_ended["expired"] == plane.counters.limits_reached["hold_time_max_s"] == 1


async def test_a_client_that_went_away_while_held_leaves_no_trace(plane: DataPlane) -> None:
    """Rule 3: only what is sequenced is history."""
    first, gone, last = plane.request("/first"), plane.request("/gone", b"content"), plane.request("/last")
    for exchange in (first, gone, last):
        plane.admission.admit(exchange)
    plane.admission.forget(gone)
    assert plane.admission.held_bytes == first.size_bytes + last.size_bytes
    plane.admission.open()
    plane.admission.forget(first)
    await turn()
    assert [path for _, path in versions(plane)] == [b"/first", b"/last"]
    assert plane.counters.holds_ended["client_gone"] == 1


@pytest.mark.parametrize("limits", [{"in_flight_events_max": 2}, {"in_flight_bytes_max": 2 * len(get("/1"))}])
async def test_the_window_holds_what_has_no_room_and_admits_it_when_there_is(
    make_plane: MakePlane, limits: dict[str, float]
) -> None:
    """Rule 7: in_flight_events_max and in_flight_bytes_max."""
    plane = make_plane(durability=Durability.RELAXED, **limits)
    plane.admission.open()
    for path in ("/1", "/2", "/3", "/4", "/5"):
        plane.admission.admit(plane.request(path))
    await turn()
    assert (len(plane.delivered), plane.admission.held) == (2, 3)
    settle(plane, 0)
    await turn()
    assert (len(plane.delivered), plane.admission.held) == (3, 2)
    for position in (1, 2):
        settle(plane, position)
    await turn()
    for position in (3, 4):
        settle(plane, position)
    assert [path for _, path in versions(plane)] == [b"/1", b"/2", b"/3", b"/4", b"/5"]
    assert plane.sequencer.outstanding_events == plane.sequencer.outstanding_bytes == 0
    assert plane.sequencer.on_room is None


async def test_answers_that_are_not_durable_take_room_too(make_plane: MakePlane) -> None:
    """Rule 7: while the log is slow, what waits at the release gate is bounded by in_flight_bytes_max."""
    plane = make_plane(in_flight_bytes_max=2 * len(get("/1")))
    plane.admission.open()
    for path in ("/1", "/2", "/3"):
        plane.admission.admit(plane.request(path))
    await turn()
    for position in (0, 1):
        settle(plane, position)
    await turn()
    assert plane.sequencer.outstanding_bytes > 0
    assert plane.admission.held == 1, "two answers wait for the disk and fill the window"
    plane.backend.complete()
    await turn()
    assert plane.admission.held == 0


async def test_nothing_passes_while_closed_even_if_there_is_room(make_plane: MakePlane) -> None:
    plane = make_plane(in_flight_events_max=1)
    plane.admission.open()
    plane.admission.admit(plane.request("/1"))
    plane.admission.admit(plane.request("/2"))
    await turn()
    plane.admission.close()
    settle(plane, 0)
    await turn()
    assert (len(plane.delivered), plane.admission.held) == (1, 1)
    plane.admission.open()
    await turn()
    assert len(plane.delivered) == 2


async def test_a_log_without_room_holds_requests_until_it_takes_records_again(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sequenced keeps its place; what comes meanwhile is held, and no answer is given early."""
    monkeypatch.setattr("interceptor.sequencer.LOG_RETRY_S", 0.0)
    plane.admission.open()
    plane.backend.fail_append = UNAVAILABLE
    plane.admission.admit(plane.request("/1"))
    await turn()
    plane.admission.admit(plane.request("/2"))
    assert plane.admission.held == 2
    plane.backend.fail_append = None
    await asyncio.sleep(0.001)
    await turn(2)
    assert versions(plane) == [(1, b"/1"), (2, b"/2")]


async def test_a_failed_log_refuses_what_is_held_and_what_comes(plane: DataPlane) -> None:
    """Rule 9."""
    held, late = FakeClient(), FakeClient()
    plane.admission.admit(plane.request(client=held))
    plane.admission.refuse_all("the log has failed: no disk")
    plane.admission.admit(plane.request(client=late))
    assert (held.status, late.status) == (503, 503)
    assert b"no disk" in held.output
    assert plane.admission.held == plane.admission.held_bytes == 0
    assert plane.counters.holds_ended["failed"] == 2


async def test_a_read_that_lost_its_target_goes_before_all_others(plane: DataPlane) -> None:
    plane.admission.admit(plane.request("/later"))
    exchange = passed(plane.client, plane)
    plane.admission.put_back(exchange)
    assert plane.admission.held_bytes == exchange.size_bytes + len(get("/later"))
    plane.admission.open()
    assert plane.passages.started == [exchange]


async def test_a_read_that_was_put_back_without_room_goes_on_when_there_is(make_plane: MakePlane) -> None:
    """Rule 6: it must not wait for some other request to be held behind it."""
    plane = make_plane(in_flight_events_max=1)
    plane.admission.open()
    plane.admission.admit(plane.request("/1"))
    await turn()
    exchange = passed(FakeClient(), plane)
    plane.admission.put_back(exchange)
    settle(plane, 0)
    assert plane.passages.started == [exchange]
