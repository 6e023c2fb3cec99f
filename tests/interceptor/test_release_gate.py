"""The release gate: no byte of an answer before its event is durable (rule 2), none after a failed sync (rule 9)."""

from __future__ import annotations

import pytest

from interceptor.journal import Durability
from storage_backends.memory import MemoryLog
from storage_backends.options import LogOptions
from storage_backends.records import Outcome
from tests.interceptor.conftest import DataPlane, MakePlane
from tests.interceptor.fake_log import FAILED, FakeBackend, records_of
from tests.interceptor.fakes import FakeClient, ManualClock, answer_of, ok, turn

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def deliver(plane: DataPlane, *clients: FakeClient, **request: object) -> None:
    """Sequence one request of each client."""
    plane.admission.open()
    for client in clients:
        plane.admission.admit(plane.request(client=client, **request))  # type: ignore[arg-type]
    await turn()


def settle(plane: DataPlane, position: int = 0, content: bytes = b"done", status: str = "200 OK") -> None:
    plane.delivered[position].take_whole(answer_of(ok(content, status=status)), content, 7)


async def test_no_byte_leaves_before_the_sync_that_covers_its_event(plane: DataPlane) -> None:
    """Rule 2, strict."""
    client = FakeClient()
    await deliver(plane, client)
    settle(plane)
    await turn()
    assert client.output == b""
    assert plane.gate.waiting == 1
    plane.backend.complete()
    assert client.output == ok(b"done")
    assert plane.gate.waiting == 0
    assert plane.gate.answered_version == 1


async def test_a_sync_that_started_before_the_event_releases_nothing_of_it(plane: DataPlane) -> None:
    """Rule 2: a sync covers what was appended when it started."""
    first, second = FakeClient(), FakeClient()
    await deliver(plane, first)
    await deliver(plane, second)
    settle(plane, 0)
    settle(plane, 1)
    plane.backend.complete()
    assert (first.status, second.status) == (200, None)
    plane.backend.complete()
    assert second.status == 200


async def test_an_answer_that_comes_after_the_sync_leaves_at_once(plane: DataPlane) -> None:
    """The price is the slower of disk and application, not their sum."""
    client = FakeClient()
    await deliver(plane, client)
    plane.backend.complete()
    assert client.output == b""
    settle(plane)
    assert client.status == 200


async def test_nothing_of_a_stream_leaves_before_its_event_is_durable(plane: DataPlane) -> None:
    """Rule 2 for answers that come in pieces; RFC 9112 §7.1 for their framing."""
    client = FakeClient()
    await deliver(plane, client)
    exchange = plane.delivered[0]
    exchange.take_interim(answer_of(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"))
    exchange.take_head(answer_of(CHUNKED))
    exchange.take_piece(b"one", last=False)
    assert client.output == b""
    plane.backend.complete()
    assert client.output.startswith(b"HTTP/1.1 103 Early Hints")
    assert client.output.endswith(b"\r\n\r\n3\r\none\r\n")
    exchange.take_piece(b"two", last=False)
    exchange.take_end(6, 9, b"")
    assert client.output.endswith(b"3\r\ntwo\r\n0\r\n\r\n")
    assert client.finishes == 1
    assert plane.sequencer.outstanding_events == 0


async def test_what_may_show_effects_of_a_version_waits_for_it(plane: DataPlane) -> None:
    """Rule 2: an unrecorded read is released once everything delivered before its answer is durable."""
    await deliver(plane, FakeClient(), FakeClient())
    released: list[int] = []
    assert not plane.gate.is_open(2)
    plane.gate.after(2, lambda: released.append(2), lambda: released.append(-2))
    plane.gate.after(0, lambda: released.append(0), lambda: released.append(-1))
    assert released == [0]
    plane.backend.complete()
    assert released == [0, 2]
    assert plane.gate.is_open(2)


async def test_versions_are_released_in_order_whatever_the_order_of_the_answers(plane: DataPlane) -> None:
    await deliver(plane, *[FakeClient() for _ in range(4)])
    released: list[int] = []
    for version in (4, 1, 3, 2):
        plane.gate.after(version, lambda version=version: released.append(version), released.clear)
    plane.backend.complete()
    assert released == [1, 2, 3, 4]


async def test_relaxed_answers_leave_before_the_sync(make_plane: MakePlane) -> None:
    plane = make_plane(Durability.RELAXED)
    client = FakeClient()
    await deliver(plane, client)
    settle(plane)
    assert client.status == 200
    assert plane.backend.durable_version == 0


async def test_a_memory_log_never_waits(make_plane: MakePlane) -> None:
    plane = make_plane(backend=MemoryLog("memory:", LogOptions()))  # type: ignore[arg-type]
    client = FakeClient()
    await deliver(plane, client)
    settle(plane)
    assert client.status == 200
    assert not plane.journal._syncing


async def test_a_third_partys_log_is_waited_for_whatever_its_url_begins_with(make_plane: MakePlane) -> None:
    """Rule 2: a scheme says nothing of what a log promises."""
    plane = make_plane(backend=FakeBackend("memory:replicated"))
    client = FakeClient()
    await deliver(plane, client)
    settle(plane)
    assert client.status is None
    plane.backend.complete()
    assert client.status == 200


async def test_the_outcome_is_recorded_and_the_event_leaves_the_window(plane: DataPlane, clock: ManualClock) -> None:
    await deliver(plane, FakeClient(), FakeClient())
    plane.counters.now_s = clock.now_s + 0.003
    settle(plane, 0, b"first", "404 Not Found")
    plane.delivered[1].client = None
    settle(plane, 1, b"nobody")
    plane.journal.flush_outcomes()
    assert records_of(plane.backend, Outcome) == [Outcome(1, 404, 5, 7), Outcome(2, 200, 6, 7)]
    assert plane.sequencer.outstanding_events == 0
    assert plane.counters.answers_by_class[4] == plane.counters.answers_by_class[2] == 1
    assert plane.counters.request.counts[0] == 1


@pytest.mark.parametrize(
    ("request_of", "expected"),
    [
        ({"keep_alive": False}, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone"),
        ({"http11": False}, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\ndone"),
    ],
)
async def test_the_head_fits_the_clients_version_and_persistence(
    plane: DataPlane, request_of: dict[str, bool], expected: bytes
) -> None:
    """RFC 9112 §9.3, §9.6."""
    client = FakeClient()
    await deliver(plane, client, **request_of)
    plane.backend.complete()
    settle(plane)
    assert client.output == expected


def fail_the_log(plane: DataPlane) -> None:
    """As the ambassador has it."""
    plane.journal.on_failed = plane.gate.drop_all
    plane.backend.complete(FAILED)


async def test_after_a_failed_sync_nothing_is_acknowledged(plane: DataPlane) -> None:
    """Rule 9: neither what waited nor what comes later."""
    waited, late = FakeClient(), FakeClient()
    await deliver(plane, waited, late)
    settle(plane, 0)
    fail_the_log(plane)
    settle(plane, 1)
    for client in (waited, late):
        assert client.status == 500
        assert b"not durable" in client.output
        assert b"done" not in client.output
    assert plane.gate.waiting == 0


async def test_after_a_failed_sync_nothing_is_acknowledged_in_relaxed_either(make_plane: MakePlane) -> None:
    """Rule 9: the window excuses what left before the failure was known, not what comes after."""
    plane = make_plane(Durability.RELAXED, relaxed_window_ms=1)
    client = FakeClient()
    await deliver(plane, client)
    plane.journal._sync_due()
    fail_the_log(plane)
    settle(plane)
    assert client.status == 500


@pytest.mark.parametrize("when", ["before the failure", "after it"])
async def test_a_stream_at_the_gate_is_refused_when_the_log_fails(plane: DataPlane, when: str) -> None:
    """Rule 9, and nobody waits for ever: the client has got no byte yet, so it can be told."""
    client = FakeClient()
    await deliver(plane, client)
    exchange = plane.delivered[0]
    if when == "after it":
        fail_the_log(plane)
    exchange.take_head(answer_of(CHUNKED))
    exchange.take_piece(b"secret", last=False)
    if when == "before the failure":
        fail_the_log(plane)
    assert client.status == 500
    exchange.take_piece(b"secret", last=False)
    exchange.take_end(12, 9, b"")
    assert b"secret" not in client.output
    assert plane.sequencer.outstanding_events == 0


async def test_an_answer_behind_an_interim_one_is_refused_once_when_the_log_fails(plane: DataPlane) -> None:
    """Rule 9: the 103 had opened a stream; the whole answer that follows must not be a second one."""
    client = FakeClient()
    await deliver(plane, client)
    plane.delivered[0].take_interim(answer_of(b"HTTP/1.1 103 Early Hints\r\n\r\n"))
    fail_the_log(plane)
    settle(plane)
    assert client.output.count(b"HTTP/1.1 ") == 1
    assert client.status == 500


async def test_the_client_of_an_event_that_takes_too_long_gets_504_and_the_event_goes_on(
    plane: DataPlane, clock: ManualClock
) -> None:
    """answer_timeout_s (RFC 9110 §15.6.5); rule 3: sequenced means history."""
    client = FakeClient()
    await deliver(plane, client)
    exchange = plane.delivered[0]
    assert not exchange.take_overdue(clock.now_s)
    assert exchange.take_overdue(clock.now_s + 0.1)
    assert client.status == 504
    assert plane.sequencer.outstanding_events == 1
    settle(plane)
    plane.backend.complete()
    assert client.output.count(b"HTTP/1.1 ") == 1
    assert plane.sequencer.outstanding_events == 0
    assert plane.counters.limits_reached["answer_timeout_s"] == 1


async def test_a_client_that_left_does_not_keep_the_event_from_its_outcome(plane: DataPlane) -> None:
    """Rule 3."""
    client = FakeClient()
    await deliver(plane, client)
    client.abort()
    plane.delivered[0].take_head(answer_of(CHUNKED))
    plane.delivered[0].take_piece(b"x", last=False)
    plane.delivered[0].take_end(1, 3, b"")
    plane.backend.complete()
    plane.journal.flush_outcomes()
    assert records_of(plane.backend, Outcome) == [Outcome(1, 200, 1, 3)]
    assert client.output == b""


async def test_an_answer_whose_event_does_not_become_durable_in_time_is_a_504(plane: DataPlane) -> None:
    """Rule 7: no client waits for a hung disk without an end; the answer itself never leaves (rule 2)."""
    overdue, fresh = FakeClient(), FakeClient()
    await deliver(plane, overdue, fresh)
    settle(plane, 0)
    settle(plane, 1)
    plane.delivered[1].arrived_s = plane.delivered[0].arrived_s + 10
    plane.gate.refuse_overdue(plane.delivered[0].arrived_s + 5)
    plane.gate.refuse_overdue(plane.delivered[0].arrived_s + 5)
    assert overdue.status == 504
    assert b"durable" in overdue.output
    assert plane.counters.limits_reached["answer_timeout_s"] == 1
    assert fresh.output == b""
    plane.backend.complete()
    assert b"done" not in overdue.output
    assert fresh.output == ok(b"done")
    assert plane.sequencer.outstanding_bytes == 0
