"""Our own restart: is this target the one that had the events, and which of the last ones had it finished?"""

from __future__ import annotations

import pytest

from interceptor.incident import OnUnclean
from storage_backends.records import Outcome, Quarantine
from tests.interceptor.fake_log import FakeBackend, filled, records_of
from tests.interceptor.fakes import FakeDetector, event
from tests.interceptor.recovering import recovering
from tests.interceptor.target import Connection


def known(events: int, *, unanswered: int = 0, clean: bool = False) -> FakeBackend:
    """Return a log of the incarnation life-1 whose last events may lack their outcomes."""
    backend = filled(events - unanswered)
    for version in range(events - unanswered + 1, events + 1):
        backend.append([event(version)])
    backend.durable_version = events
    backend.facts = {"incarnation": "life-1", **({"clean_stop": events} if clean else {})}
    return backend


async def test_a_doubt_lasts_as_long_as_the_incarnation_over_our_own_orderly_restarts() -> None:
    """Rules 4 and 8: a clean stop of ours does not tell what the target had missed before it."""
    backend = known(5, unanswered=2)
    async with recovering(backend=backend) as rig:
        await rig.active()
        assert rig.recovery.standing.uncertain == (4, 5)
    backend.facts["clean_stop"] = 5
    async with recovering(backend=backend) as rig:
        await rig.active()
        assert rig.recovery.standing.uncertain == (4, 5)
    backend.facts["clean_stop"] = 5
    async with recovering(backend=backend, detector=FakeDetector("life-2")) as rig:
        await rig.active()
        assert rig.recovery.standing.uncertain is None
    assert backend.facts["uncertain"] is None


async def test_an_empty_log_has_nothing_to_project() -> None:
    async with recovering() as rig:
        await rig.active()
        assert rig.target.asked == []
        assert rig.backend.facts["incarnation"] == "life-1"


async def test_what_an_older_target_may_hold_is_said_until_it_is_gone() -> None:
    """Rule 8: with the next incarnation there is nothing left to restart for."""
    detector = FakeDetector()

    async def script(connection: Connection) -> None:
        if connection.number > 1:
            await connection.echo()
        await connection.requests()
        detector.identity = "life-2"

    async with recovering(script, detector=detector) as rig:
        await rig.active()
        note = rig.recovery.standing.note
        assert note is not None
        assert "the target was there before us" in note
        assert await rig.answered(rig.request("/first")) == [200]
        await rig.active()
        assert rig.recovery.standing.incarnations == 2
        assert rig.recovery.standing.note is None


async def test_a_known_incarnation_gets_nothing_again() -> None:
    """Rule 3: it holds every event already."""
    async with recovering(backend=known(3, clean=True)) as rig:
        await rig.active()
        assert await rig.answered(rig.request("/next")) == [200]
        assert rig.target.asked == [["GET /next"]]
        assert rig.plane.delivered == []
        assert rig.recovery.standing.uncertain is None


async def test_an_unknown_incarnation_gets_everything_from_the_beginning() -> None:
    async with recovering(backend=known(3, clean=True), detector=FakeDetector("life-2")) as rig:
        await rig.active()
        assert rig.target.asked == [["GET /1", "GET /2", "GET /3"]]
        assert rig.backend.facts["incarnation"] == "life-2"


async def test_a_target_that_comes_later_is_waited_for() -> None:
    detector = FakeDetector(None)
    async with recovering(backend=known(1), detector=detector) as rig:
        held = rig.request("/held")
        detector.identity = "life-9"
        assert await rig.answered(held) == [200]
        assert rig.target.asked == [["GET /1", "GET /held"]]


async def test_where_nothing_tells_whether_it_is_new_an_operator_is_asked() -> None:
    """Rule 8: refuse, never guess."""
    async with recovering(backend=known(3), detector=FakeDetector(awaits_connection=True, identity="c")) as rig:
        problem = await rig.parked()
        assert "events 1 to 3" in problem
        assert "interceptor state Active" in problem
        assert not any(rig.target.asked)


@pytest.mark.parametrize("on_unclean", OnUnclean)
async def test_after_an_unclean_stop_the_range_in_doubt_is_reported(on_unclean: OnUnclean) -> None:
    """--on-unclean assume-applied|wait: the living target may have finished the last events or not."""
    async with recovering(backend=known(5, unanswered=2), on_unclean=on_unclean) as rig:
        if on_unclean is OnUnclean.WAIT:
            assert "from 4 to 5" in await rig.parked()
            rig.recovery.assume_in_step()
        await rig.active()
        assert rig.recovery.standing.uncertain == (4, 5)
        assert rig.plane.counters.uncertain == 2
        assert rig.target.asked == []


@pytest.mark.parametrize(("order", "doubt"), [("total", (9, 9)), ("arrival", (3, 9))])
async def test_of_several_lanes_a_slow_one_may_have_left_an_old_event_behind(
    order: str, doubt: tuple[int, int]
) -> None:
    """Down one lane no more than in_flight_events_max can be unanswered; of several any since it was in step."""
    backend = known(9, unanswered=9)
    backend.append([Outcome(version, 200, 0, 0) for version in (4, 5, 6, 7, 8)])
    backend.facts |= {"order": order, "in_step_version": 2}
    async with recovering(backend=backend, in_flight_events_max=4) as rig:
        await rig.active()
        assert rig.recovery.standing.uncertain == doubt
        assert rig.plane.counters.uncertain == len(set(doubt))


async def test_it_is_noted_what_an_incarnation_had_when_it_was_in_step() -> None:
    """Of several lanes only what came later can be in doubt, so no more of the log is read at our next start."""
    backend = known(3, clean=True)
    async with recovering(backend=backend, detector=FakeDetector("life-2")) as rig:
        await rig.active()
        assert backend.facts["in_step_version"] == 3
        assert await rig.answered(rig.request("/4", "/5")) == [200, 200]
    async with recovering(backend=backend, detector=FakeDetector("life-2")) as rig:
        await rig.active()
        assert backend.facts["in_step_version"] == 3
    async with recovering(backend=backend, detector=FakeDetector("life-3")) as rig:
        await rig.active()
        assert backend.facts["in_step_version"] == 5


@pytest.mark.parametrize(
    ("unanswered", "clean"), [(2, True), (0, False)], ids=["a clean stop", "every outcome is there"]
)
async def test_without_a_doubt_nothing_is_uncertain(unanswered: int, clean: bool) -> None:
    async with recovering(backend=known(5, unanswered=unanswered, clean=clean), on_unclean=OnUnclean.WAIT) as rig:
        await rig.active()
        assert rig.recovery.standing.uncertain is None


async def test_a_clean_stop_of_long_ago_says_nothing_about_the_events_since() -> None:
    backend = known(5, unanswered=2)
    backend.facts["clean_stop"] = 3
    async with recovering(backend=backend, on_unclean=OnUnclean.WAIT) as rig:
        assert "from 4 to 5" in await rig.parked()


async def test_quarantined_events_stay_out_after_our_restart() -> None:
    backend = known(3, clean=True)
    backend.facts["quarantined"] = [2]
    backend.append([Quarantine(2, 0, "it kills")])
    async with recovering(backend=backend, detector=FakeDetector("life-2")) as rig:
        await rig.active()
        assert rig.target.asked == [["GET /1", "GET /3"]]
        assert len(records_of(backend, Quarantine)) == 1


async def test_a_quarantined_event_without_an_outcome_is_not_in_doubt() -> None:
    backend = known(3, unanswered=1)
    backend.append([Quarantine(3, 0, "it kills")])
    async with recovering(backend=backend, on_unclean=OnUnclean.WAIT) as rig:
        await rig.active()
        assert rig.recovery.standing.uncertain is None


async def test_a_target_that_is_restarted_while_it_is_parked_is_projected() -> None:
    """What --on-unclean wait tells the operator to do: "restart the target"."""
    detector = FakeDetector("life-1")
    async with recovering(backend=known(2, unanswered=1), detector=detector, on_unclean=OnUnclean.WAIT) as rig:
        await rig.parked()
        detector.identity = "life-2"
        await rig.active()


async def test_a_target_that_holds_a_part_of_the_log_only_is_not_begun_again_with() -> None:
    """Rule 3: we were killed while it was projected into; another incarnation gets everything."""
    detector = FakeDetector("life-2")
    backend = known(3)
    backend.facts["projecting"] = "life-2"
    async with recovering(backend=backend, detector=detector) as rig:
        assert "stopped while the log was projected into this target" in await rig.parked()
        assert rig.target.asked == []
        detector.identity = "life-3"
        await rig.active()
        assert rig.target.asked == [["GET /1", "GET /2", "GET /3"]]
        assert rig.backend.facts["projecting"] is None
