"""Quiet on demand: hold, drain, and let go when the last one does (rule 4 rests on it)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from interceptor.errors import DrainTimeoutError
from interceptor.hold import Hold
from interceptor.states import Cause, State, StateMachine
from tests.interceptor.fakes import FakePassages, turn


@dataclass
class Flight:
    """What is in flight in the lane."""

    outstanding_events: int = 0
    on_idle: object = None


@dataclass
class Quiet:
    """A Hold with its machine; ends drains as the ambassador does."""

    drain_timeout_s: float = 60.0
    machine: StateMachine = field(default_factory=StateMachine)
    flight: Flight = field(default_factory=Flight)
    passages: FakePassages = field(default_factory=FakePassages)

    def __post_init__(self) -> None:
        self.hold = Hold(self.machine, self.flight, self.passages, self.drain_timeout_s)  # type: ignore[arg-type]
        self.machine.add_listener(self._changed)
        self.machine.apply(Cause.TARGET_READY)
        self.machine.apply(Cause.IN_STEP)

    def _changed(self, old: State, new: State, cause: Cause) -> None:
        if new is State.ACTIVE and self.hold.causes:
            self.machine.apply(Cause.HOLD)
        if new is State.DRAINING:
            self.hold.check_drained()


async def test_with_nothing_in_flight_it_is_quiet_at_once() -> None:
    quiet = Quiet()
    await quiet.hold.take("operator")
    assert quiet.machine.state is State.HELD
    quiet.hold.release("operator")
    assert quiet.machine.state is State.ACTIVE


@pytest.mark.parametrize("what", ["events", "reads"])
async def test_it_waits_until_the_last_event_or_read_has_its_answer(what: str) -> None:
    """Rule 4: lanes and unrecorded requests are drained first."""
    quiet = Quiet()
    quiet.flight.outstanding_events, quiet.passages.reads_in_flight = (2, 0) if what == "events" else (0, 2)
    taking = asyncio.create_task(quiet.hold.take("checkpoint"))
    await turn()
    assert quiet.machine.state is State.DRAINING
    quiet.flight.outstanding_events, quiet.passages.reads_in_flight = (1, 0) if what == "events" else (0, 1)
    quiet.hold.check_drained()
    await turn()
    assert not taking.done()
    quiet.flight.outstanding_events = quiet.passages.reads_in_flight = 0
    on_idle = quiet.flight.on_idle if what == "events" else quiet.passages.on_idle
    assert callable(on_idle)
    on_idle()
    await taking
    assert quiet.machine.state is State.HELD
    assert quiet.flight.on_idle is quiet.passages.on_idle is None


async def test_requests_pass_again_only_when_the_last_cause_lets_go() -> None:
    quiet = Quiet()
    await quiet.hold.take("operator")
    await quiet.hold.take("checkpoint")
    quiet.hold.release("operator")
    assert quiet.machine.state is State.HELD
    assert quiet.hold.causes == {"checkpoint"}
    quiet.hold.release("checkpoint")
    assert quiet.machine.state is State.ACTIVE


async def test_a_drain_that_takes_too_long_takes_the_hold_back() -> None:
    """drain_timeout_s: an error, and requests pass again."""
    quiet = Quiet(drain_timeout_s=0.0)
    quiet.flight.outstanding_events = 3
    with pytest.raises(DrainTimeoutError, match=r"3 requests .* 0 s \(drain_timeout_s\)"):
        await quiet.hold.take("checkpoint")
    assert quiet.machine.state is State.ACTIVE
    assert not quiet.hold.causes


async def test_a_drain_that_takes_too_long_leaves_the_hold_of_another() -> None:
    quiet = Quiet(drain_timeout_s=0.05)
    quiet.flight.outstanding_events = 1
    operator = asyncio.create_task(quiet.hold.take("operator"))
    await turn()
    quiet.hold._drain_timeout_s = 0.0
    with pytest.raises(DrainTimeoutError):
        await quiet.hold.take("checkpoint")
    assert quiet.machine.state is State.DRAINING
    quiet.flight.outstanding_events = 0
    quiet.hold.check_drained()
    await operator
    assert quiet.machine.state is State.HELD


async def test_whoever_is_cancelled_while_it_waits_holds_nothing() -> None:
    quiet = Quiet()
    quiet.flight.outstanding_events = 1
    taking = asyncio.create_task(quiet.hold.take("checkpoint"))
    await turn()
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert taking.cancelled()
    assert not quiet.hold.causes
    assert quiet.machine.state is State.ACTIVE


async def test_a_target_that_is_lost_during_a_drain_ends_it() -> None:
    """There is no target for anything to be in flight to; the hold stays, and takes effect after the recovery."""
    quiet = Quiet()
    quiet.flight.outstanding_events = 1
    taking = asyncio.create_task(quiet.hold.take("operator"))
    await turn()
    quiet.machine.apply(Cause.CONNECTION_LOST)
    await turn()
    assert not taking.done()
    quiet.machine.apply(Cause.TARGET_LOST)
    await taking
    quiet.flight.outstanding_events = 0
    quiet.machine.apply(Cause.TARGET_READY)
    quiet.machine.apply(Cause.IN_STEP)
    assert quiet.machine.state is State.HELD


async def test_a_connection_lost_by_a_living_target_does_not_end_a_drain() -> None:
    quiet = Quiet()
    quiet.flight.outstanding_events = 1
    taking = asyncio.create_task(quiet.hold.take("operator"))
    await turn()
    quiet.machine.apply(Cause.CONNECTION_LOST)
    quiet.machine.apply(Cause.SAME_INCARNATION)
    await turn()
    assert quiet.machine.state is State.DRAINING
    assert not taking.done()
    quiet.flight.outstanding_events = 0
    quiet.hold.check_drained()
    await taking
