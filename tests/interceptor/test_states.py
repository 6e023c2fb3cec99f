"""The table of states: every pair of state and cause, legal or not; and the picture that is drawn from it."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from interceptor.errors import IllegalTransitionError
from interceptor.state_diagram import diagram
from interceptor.states import TRANSITIONS, Cause, State, StateMachine

DOCUMENT = Path(__file__).parents[2] / "docs" / "states.md"
PAIRS = list(itertools.product(State, Cause))

# Written down a second time on purpose: a change of the table has to be meant.
LEGAL = """
AWAITING  TARGET_READY PROJECTING | AWAITING TARGET_LOST AWAITING
PROJECTING IN_STEP ACTIVE         | PROJECTING TARGET_LOST AWAITING
ACTIVE CONNECTION_LOST SUSPECT    | ACTIVE TARGET_LOST AWAITING      | ACTIVE HOLD DRAINING
SUSPECT SAME_INCARNATION ACTIVE   | SUSPECT TARGET_LOST AWAITING
DRAINING DRAINED HELD             | DRAINING RELEASE ACTIVE | DRAINING CONNECTION_LOST SUSPECT
DRAINING TARGET_LOST AWAITING
HELD RELEASE ACTIVE               | HELD CONNECTION_LOST SUSPECT     | HELD TARGET_LOST AWAITING
HELD REST RESTING                 | RESTING WANTED AWAITING
"""


def expected() -> dict[tuple[State, Cause], State]:
    table = {(state, cause): State.FAILED for state in State for cause in (Cause.LOG_FAILED, Cause.DEFECT)}
    for entry in LEGAL.replace("\n", "|").split("|"):
        if entry.strip():
            old, cause, new = entry.split()
            table[State[old], Cause[cause]] = State[new]
    return table


def machine_in(state: State) -> StateMachine:
    machine = StateMachine()
    machine.state = state
    return machine


@pytest.mark.parametrize(("state", "cause"), PAIRS, ids=lambda each: each.name)
def test_each_pair_does_what_the_table_says_or_changes_nothing(state: State, cause: Cause) -> None:
    machine = machine_in(state)
    seen: list[tuple[State, State, Cause]] = []
    machine.add_listener(lambda *change: seen.append(change))
    new = expected().get((state, cause))
    if new is None:
        with pytest.raises(IllegalTransitionError, match=f"{cause.name}.*{state.name}"):
            machine.apply(cause)
        assert machine.state is state
        assert not seen
    else:
        assert machine.apply(cause) is new
        assert machine.state is new
        assert seen == ([] if new is state else [(state, new, cause)])


def test_the_table_has_no_other_entries() -> None:
    assert expected() == TRANSITIONS


def test_every_state_can_be_reached_and_only_failed_is_final() -> None:
    reached = {StateMachine().state}
    for _ in State:
        reached |= {new for (old, _), new in TRANSITIONS.items() if old in reached}
    assert reached == set(State)
    assert {old for (old, _), new in TRANSITIONS.items() if new is not old} == set(State) - {State.FAILED}


def test_the_prototypes_two_states_are_what_is_seen_outside() -> None:
    assert {state.public for state in State} == {"Active", "Waiting", "Failed"}
    assert [state for state in State if state.public == "Active"] == [State.ACTIVE]


async def test_wait_for_sees_a_state_that_is_there_already_and_one_that_comes() -> None:
    machine = machine_in(State.PROJECTING)
    await machine.wait_for(lambda state: state is State.PROJECTING, 1.0)
    waiting = asyncio.create_task(machine.wait_for(lambda state: state is State.DRAINING, 5.0))
    await asyncio.sleep(0)
    machine.apply(Cause.IN_STEP)
    await asyncio.sleep(0)
    assert not waiting.done()
    machine.apply(Cause.HOLD)
    await waiting


async def test_wait_for_gives_up() -> None:
    with pytest.raises(TimeoutError):
        await StateMachine().wait_for(lambda state: state is State.ACTIVE, 0.0)


def test_a_listener_may_move_the_machine_on() -> None:
    """A hold that was asked for earlier takes effect as soon as the state is Active."""
    machine = machine_in(State.PROJECTING)
    seen: list[State] = []
    machine.add_listener(lambda old, new, cause: new is State.ACTIVE and machine.apply(Cause.HOLD))
    machine.add_listener(lambda old, new, cause: seen.append(machine.state))
    machine.apply(Cause.IN_STEP)
    assert machine.state is State.DRAINING
    assert seen[-1] is State.DRAINING


def test_the_document_is_current() -> None:
    """docs/states.md is drawn from the table: `python -m interceptor.state_diagram > docs/states.md`."""
    assert DOCUMENT.read_text(encoding="utf-8") == diagram() + "\n"


def test_the_diagram_shows_every_transition_once() -> None:
    arrows = [line for line in diagram().splitlines() if "-->" in line and "[*]" not in line]
    shown = {
        (State[old], Cause[cause]): State[new]
        for old, new, causes in (line.replace("-->", ":").split(":") for line in arrows)
        for cause in causes.replace(" ", "").split(",")
        for old, new in [(old.strip(), new.strip())]
    }
    assert shown == {pair: new for pair, new in TRANSITIONS.items() if new is not State.FAILED}
