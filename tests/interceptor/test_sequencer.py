"""The sequencer: versions 1, 2, 3, … in arrival order, a batch a turn of the loop, and nothing lost (rules 1, 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from interceptor.exchange import RecordedExchange
from storage_backends.records import Event, Record
from tests.interceptor.conftest import DataPlane, MakePlane
from tests.interceptor.fake_log import FAILED, UNAVAILABLE, filled, records_of
from tests.interceptor.fakes import FakeClient, answer_of, get, ok, turn


def send(plane: DataPlane, *paths: str, client: FakeClient | None = None) -> list[RecordedExchange]:
    exchanges = [plane.request(path, client=client or FakeClient()) for path in paths]
    for exchange in exchanges:
        plane.sequencer.sequence(exchange)
    return exchanges


async def test_one_turn_of_the_loop_is_one_batch_written_before_it_is_delivered(plane: DataPlane) -> None:
    """Rule 1, and the log is written before the target sees anything."""
    written_first: list[bool] = []
    deliver = plane.sequencer._deliver
    plane.sequencer._deliver = lambda batch: (
        written_first.append(plane.backend.last_version >= batch[-1].event.version), deliver(batch)
    )[1]  # fmt: skip
    send(plane, "/a", "/b")
    assert plane.backend.last_version == 0
    send(plane, "/c")
    await turn()
    send(plane, "/d")
    await turn()
    assert [[each.event.version for each in batch] for batch in plane.batches] == [[1, 2, 3], [4]]
    assert [len(batch) for batch in plane.backend.batches] == [3, 1]
    assert written_first == [True, True]
    assert plane.sequencer.recorded == 4


async def test_the_event_is_what_was_forwarded_byte_for_byte(plane: DataPlane) -> None:
    """Rule 5."""
    exchange = plane.request("/a?b=%20c", b"\x00\xffcontent", client=FakeClient())
    plane.sequencer.sequence(exchange)
    await turn()
    (recorded,) = records_of(plane.backend, Event)
    assert (recorded.version, recorded.head, recorded.body) == (1, get("/a?b=%20c"), b"\x00\xffcontent")
    assert recorded is exchange.event
    assert plane.sequencer.outstanding_bytes == len(recorded.head) + len(recorded.body)


async def test_versions_go_on_where_the_log_ends(make_plane: MakePlane) -> None:
    plane = make_plane(backend=filled(7))
    send(plane, "/a")
    await turn()
    assert plane.delivered[0].event.version == 8


async def test_a_log_without_room_delays_and_loses_nothing(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The order stays, and nothing is delivered before it is written."""
    monkeypatch.setattr("interceptor.sequencer.LOG_RETRY_S", 0.0)
    plane.backend.fail_append = UNAVAILABLE
    unblocked: list[bool] = []
    plane.sequencer.on_unblocked = lambda: unblocked.append(plane.sequencer.blocked)
    send(plane, "/a", "/b")
    await asyncio.sleep(0.002)
    assert plane.sequencer.blocked
    send(plane, "/c")
    await asyncio.sleep(0.002)
    assert plane.delivered == []
    plane.backend.fail_append = None
    await asyncio.sleep(0.002)
    assert [(each.event.version, each.head) for each in plane.delivered] == [
        (1, get("/a")), (2, get("/b")), (3, get("/c"))
    ]  # fmt: skip
    assert len(plane.batches) == 1
    assert unblocked == [False]
    assert plane.sequencer.recorded == 3


async def test_what_the_log_has_not_taken_can_leave_and_the_rest_moves_up(plane: DataPlane) -> None:
    """Rule 3: no version was given to what the log refused, so a 503 means that nothing happened."""
    plane.backend.fail_append = UNAVAILABLE
    early, late, gone, last = send(plane, "/early", "/late", "/gone", "/last", client=FakeClient())
    await turn()
    assert plane.sequencer.held == 4
    early.arrived_s -= 10.0
    assert plane.sequencer.take_back(late.arrived_s - 5.0) == [early]
    gone.client_gone()
    plane.backend.fail_append = None
    plane.journal.on_room()
    assert [(each.event.version, each.head) for each in plane.delivered] == [(1, get("/late")), (2, get("/last"))]
    assert plane.delivered == [late, last]
    assert plane.sequencer.outstanding_events == 2
    assert (plane.sequencer.last_version, plane.sequencer.held, plane.sequencer.blocked) == (2, 0, False)
    send(plane, "/next")
    await turn()
    assert plane.delivered[-1].event.version == 3


async def test_a_log_that_has_flushed_is_tried_at_once(plane: DataPlane) -> None:
    send(plane, "/a")
    await turn()
    plane.backend.fail_append = UNAVAILABLE
    send(plane, "/b")
    await turn()
    plane.backend.fail_append = None
    plane.backend.complete()
    assert [each.event.version for each in plane.delivered] == [1, 2]


async def test_what_a_failed_log_did_not_take_is_refused_and_never_delivered(plane: DataPlane) -> None:
    """Rule 9."""
    clients = [FakeClient(), FakeClient()]
    plane.backend.fail_append = FAILED
    for client in clients:
        send(plane, "/x", client=client)
    await turn()
    assert plane.delivered == []
    assert [client.status for client in clients] == [503, 503]
    assert plane.sequencer.outstanding_events == plane.sequencer.outstanding_bytes == 0


async def test_the_end_of_the_last_event_in_flight_is_told(plane: DataPlane) -> None:
    """What a drain waits for (rule 4)."""
    told: list[int] = []
    send(plane, "/a", "/b")
    await turn()
    plane.sequencer.on_idle = lambda: told.append(plane.sequencer.outstanding_events)
    plane.gate.settle(plane.delivered[0], answer_of(ok()), b"", 0)
    assert told == []
    plane.gate.settle(plane.delivered[1], answer_of(ok()), b"", 0)
    assert told == [0]


async def test_a_request_that_the_log_cannot_hold_is_refused_alone(plane: DataPlane) -> None:
    """Rule 3: a 413 means that nothing happened; the ones around it get versions without a gap (rule 1)."""
    append = plane.backend.append

    def limited(records: Sequence[Record]) -> None:
        if any(type(record) is Event and len(record.body) > 1_000 for record in records):
            raise ValueError("a row holds 1000 bytes")
        append(records)

    plane.backend.append = limited  # type: ignore[method-assign]
    client = FakeClient()
    exchanges = [plane.request("/", b"x" * length, client=client) for length in (1, 2_000, 3)]
    for exchange in exchanges:
        plane.sequencer.sequence(exchange)
    await turn()
    assert [len(each.event.body) for each in plane.delivered] == [1, 3]
    assert [each.event.version for each in plane.delivered] == [1, 2]
    assert (exchanges[1].refused, exchanges[0].refused) == (True, False)
    assert plane.sequencer.outstanding_events == 2
