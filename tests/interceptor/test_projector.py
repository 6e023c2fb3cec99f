"""The projector: every event in version order and without a gap, from the log or live (rule 1)."""

from __future__ import annotations

import asyncio

import pytest

from interceptor.errors import TargetLostError
from interceptor.limits import Limits
from interceptor.projector import Progress, Projector
from storage_backends.records import Outcome, Record
from tests.interceptor.conftest import DataPlane, MakePlane
from tests.interceptor.fake_log import FakeBackend, filled
from tests.interceptor.fakes import FakeClient, FakeLane, event, get, ok, turn


def catch_up(
    projector: Projector, backend: FakeBackend, from_version: int = 1, *, skip: set[int] | None = None,
    serial: range = range(0), to_version: int | None = None,
) -> asyncio.Task[Progress]:  # fmt: skip
    return asyncio.get_running_loop().create_task(
        projector.catch_up(
            backend.reader(from_version),
            from_version,
            lambda: to_version or backend.last_version,
            skip or set(),
            serial,
        )
    )


async def answer_until_done(lane: FakeLane, work: asyncio.Task[Progress]) -> Progress:
    async with asyncio.timeout(5.0):
        while not work.done():
            lane.answer_all()
            await asyncio.sleep(0)
    return work.result()


async def live(plane: DataPlane, *paths: str) -> list[FakeClient]:
    """Sequence a request of a client each; they are delivered to nobody yet."""
    clients = [FakeClient() for _ in paths]
    for client, path in zip(clients, paths, strict=True):
        plane.sequencer.sequence(plane.request(path, client=client))
    await turn()
    return clients


async def test_catch_up_delivers_every_event_in_order_and_waits_for_every_answer() -> None:
    """Rule 1."""
    lane, backend = FakeLane(), filled(2_000)
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    work = catch_up(projector, backend)
    await turn(3)
    assert not work.done()
    progress = await answer_until_done(lane, work)
    assert lane.versions == list(range(1, 2_001))
    assert (progress.answered, progress.replayed, progress.skipped) == (2_000, 2_000, 0)
    assert progress.comparison.compared == 2_000
    assert progress.comparison.divergences == 0
    assert projector.delivered_version == 2_000
    assert progress.ended_s is not None
    assert lane.on_room is None


async def test_what_is_under_way_during_a_replay_is_bounded() -> None:
    """Rule 7."""
    lane, backend = FakeLane(), filled(5_000)
    work = catch_up(Projector([lane], Limits()), backend)  # type: ignore[list-item]
    await turn(50)
    limit = Limits().replay_lane_events_max
    assert limit <= lane.pending < 2 * limit
    await answer_until_done(lane, work)


async def test_a_reader_that_begins_earlier_and_a_first_version_in_the_middle() -> None:
    """LogReader: records before the version asked for may come and are skipped."""
    lane, backend = FakeLane(), filled(10)
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    work = asyncio.get_running_loop().create_task(projector.catch_up(backend.reader(1), 4, lambda: 7, set()))
    progress = await answer_until_done(lane, work)
    assert lane.versions == [4, 5, 6, 7]
    assert (progress.from_version, progress.to_version) == (4, 7)


async def test_quarantined_events_are_left_out() -> None:
    lane, backend = FakeLane(), filled(6)
    progress = await answer_until_done(lane, catch_up(Projector([lane], Limits()), backend, skip={2, 6}))  # type: ignore[list-item]
    assert lane.versions == [1, 3, 4, 5]
    assert (progress.skipped, progress.answered) == (2, 4)


async def test_suspects_are_delivered_one_at_a_time() -> None:
    """Poison: the blame for the next death is exact."""
    lane, backend = FakeLane(), filled(8)
    work = catch_up(Projector([lane], Limits()), backend, serial=range(3, 6))  # type: ignore[list-item]
    await turn(2)
    assert lane.versions == [1, 2]
    lane.answer_all()
    for version in (3, 4, 5):
        await turn(2)
        assert [delivery.event.version for delivery in lane.unanswered] == [version]
        lane.answer()
    await answer_until_done(lane, work)
    assert lane.batches == [[1, 2], [3], [4], [5], [6, 7, 8]]


async def test_live_events_among_replayed_ones_get_their_answers(make_plane: MakePlane) -> None:
    """Rule 3: whoever waits gets the first answer on the way; nothing is delivered twice."""
    backend = filled(3)
    plane, lane = make_plane(backend=backend), FakeLane()
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    plane.sequencer._deliver = projector.deliver
    clients = await live(plane, "/a", "/b")
    backend.complete()
    progress = await answer_until_done(lane, catch_up(projector, backend))
    assert lane.versions == [1, 2, 3, 4, 5]
    assert [client.output for client in clients] == [ok(b"/a"), ok(b"/b")]
    assert (progress.replayed, progress.comparison.unresolved) == (3, 0)
    assert plane.sequencer.outstanding_events == 0


async def test_the_log_may_grow_meanwhile() -> None:
    """to_version is asked again at the end."""
    lane, backend = FakeLane(), filled(3)
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    work = catch_up(projector, backend)
    await turn(2)
    backend.append([event(4), event(5)])
    lane.answer_all()
    await turn(3)
    assert not work.done()
    progress = await answer_until_done(lane, work)
    assert lane.versions == [1, 2, 3, 4, 5]
    assert progress.to_version == projector.delivered_version == 5


async def test_the_log_may_grow_while_it_is_being_read() -> None:
    """Rule 1: what a read brings beyond the version known before it must not fall through."""
    lane, backend = FakeLane(), filled(3)
    lane.auto_answer = True
    inner = backend.reader(1)

    class Reader:
        async def next_batch(self, events_max: int, bytes_max: int) -> list[Record]:
            await asyncio.sleep(0)
            if backend.last_version == 3:
                backend.append([event(4)])
            return await inner.next_batch(events_max, bytes_max)

        def close(self) -> None:
            """Nothing is held."""

    projector = Projector([lane], Limits())  # type: ignore[list-item]
    async with asyncio.timeout(2.0):
        await projector.catch_up(Reader(), 1, lambda: backend.last_version, set())
    assert lane.versions == [1, 2, 3, 4]


async def test_an_interrupted_projection_says_so_while_it_waits() -> None:
    lane, backend = FakeLane(), filled(3)
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    work = catch_up(projector, backend)
    await turn(2)
    projector.interrupt("the target died")
    with pytest.raises(TargetLostError, match="the target died"):
        await work
    assert lane.on_room is None


async def test_an_interruption_of_the_past_does_not_end_the_next_projection() -> None:
    lane, backend = FakeLane(), filled(2)
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    projector.interrupt("long ago")
    progress = await answer_until_done(lane, catch_up(projector, backend))
    assert progress.answered == 2


async def test_in_step_events_go_straight_to_the_lane_in_one_batch(plane: DataPlane) -> None:
    lane = FakeLane()
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    plane.sequencer._deliver = projector.deliver
    projector.begin_in_step(0)
    await live(plane, "/a", "/b", "/c")
    assert lane.batches == [[1, 2, 3]]
    assert projector.delivered_version == 3


async def test_after_a_death_live_events_wait_for_the_next_incarnation(plane: DataPlane) -> None:
    """Rule 3: exactly once to each incarnation."""
    first, second = FakeLane(), FakeLane()
    projector = Projector([first], Limits())  # type: ignore[list-item]
    plane.sequencer._deliver = projector.deliver
    projector.begin_in_step(0)
    clients = await live(plane, "/a", "/b", "/c")
    first.answer()
    taken = projector.take_back()
    assert [delivery.event.version for delivery in taken] == [2, 3]
    assert (projector.in_step, projector.delivered_version) == (False, 0)
    clients += await live(plane, "/d")
    assert first.versions == [1, 2, 3]
    projector.lanes = [second]  # type: ignore[list-item]
    progress = await answer_until_done(second, catch_up(projector, plane.backend))
    assert second.versions == [1, 2, 3, 4]
    assert progress.replayed == 1
    while plane.backend.syncs_under_way:
        plane.backend.complete()
    assert [client.output for client in clients] == [ok(path) for path in (b"/a", b"/b", b"/c", b"/d")]


async def test_a_live_suspect_whose_turn_never_came_waits_for_the_next_incarnation(make_plane: MakePlane) -> None:
    """Rule 3: the target dies while those before the suspect are still unanswered."""
    backend = filled(2)
    plane, lane = make_plane(backend=backend), FakeLane()
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    plane.sequencer._deliver = projector.deliver
    await live(plane, "/suspect")
    work = catch_up(projector, backend, serial=range(3, 4))
    await turn(2)
    assert lane.versions == [1, 2]
    projector.interrupt("the target died")
    with pytest.raises(TargetLostError):
        await work
    projector.take_back()
    waiting = projector.withdraw(3)
    assert waiting is not None
    assert waiting.head == get("/suspect")


async def test_what_was_queued_and_not_sent_is_not_to_blame(plane: DataPlane) -> None:
    lane = FakeLane()
    projector = Projector([lane], Limits())  # type: ignore[list-item]
    plane.sequencer._deliver = projector.deliver
    projector.begin_in_step(0)
    await live(plane, "/a", "/b", "/c")
    lane.queued = 2
    assert [delivery.event.version for delivery in projector.take_back()] == [1]
    assert projector.withdraw(3) is not None
    assert projector.withdraw(3) is None


async def test_an_answer_that_differs_from_the_recorded_one_is_reported() -> None:
    """A replay that diverges is never silent."""
    lane, backend = FakeLane(), filled(4, outcomes={3: b"something else"})
    progress = await answer_until_done(lane, catch_up(Projector([lane], Limits()), backend))  # type: ignore[list-item]
    assert progress.comparison.divergences == 1
    assert progress.comparison.first[0].version == 3
    shown = progress.as_json()
    assert (shown["divergences"], shown["compared"], shown["events"]) == (1, 4, 4)


async def test_events_without_a_recorded_outcome_get_their_first_one() -> None:
    lane, backend = FakeLane(), filled(2)
    backend.append([event(3)])
    progress = await answer_until_done(lane, catch_up(Projector([lane], Limits()), backend))  # type: ignore[list-item]
    assert [outcome.version for outcome in progress.comparison.take_first_outcomes()] == [3]
    assert progress.comparison.take_first_outcomes() == []


async def test_replayed_heads_are_framed_as_such() -> None:
    """RFC 9112 §6.3: to HEAD there is no content."""
    lane, backend = FakeLane(), FakeBackend()
    backend.append([event(1, method="HEAD"), event(2, "/HEAD"), Outcome(1, 200, 0, 0)])
    await answer_until_done(lane, catch_up(Projector([lane], Limits()), backend))  # type: ignore[list-item]
    assert [delivery.is_head_request for delivery in lane.sent] == [True, False]
