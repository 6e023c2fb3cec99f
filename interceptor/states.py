"""The state machine: one table of what may follow what.

To the outside there are the prototype's two states: Active, in which requests pass, and Waiting, in which they are
held.  Inside, Waiting has a reason, and the reason is the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

from interceptor.errors import IllegalTransitionError


class State(Enum):
    """Why requests pass or are held."""

    AWAITING = "awaiting the target"
    PROJECTING = "projecting the log"
    ACTIVE = "active"
    SUSPECT = "judging a lost connection"
    DRAINING = "draining"
    HELD = "held"
    RESTING = "stopped while idle"
    FAILED = "failed"

    @property
    def public(self) -> str:
        return "Active" if self is State.ACTIVE else "Failed" if self is State.FAILED else "Waiting"


class Cause(Enum):
    """What moves the machine."""

    TARGET_READY = "a new incarnation takes connections"
    IN_STEP = "the incarnation holds every event"
    CONNECTION_LOST = "the ordered connection was lost"
    SAME_INCARNATION = "the target lives; it had only closed a connection"
    TARGET_LOST = "the incarnation is over"
    HOLD = "an operator, a checkpoint or a shutdown asks for quiet"
    DRAINED = "nothing is in flight any more"
    RELEASE = "nobody asks for quiet any more"
    REST = "nobody asks for anything, and a checkpoint holds every event"
    WANTED = "a request came, or an operator, while the target was stopped"
    LOG_FAILED = "the log can't be trusted any more"
    DEFECT = "an error that nobody foresaw; only a restart of the ambassador helps"


TRANSITIONS: dict[tuple[State, Cause], State] = {
    (State.AWAITING, Cause.TARGET_READY): State.PROJECTING,
    (State.AWAITING, Cause.TARGET_LOST): State.AWAITING,
    (State.PROJECTING, Cause.IN_STEP): State.ACTIVE,
    (State.PROJECTING, Cause.TARGET_LOST): State.AWAITING,
    (State.ACTIVE, Cause.CONNECTION_LOST): State.SUSPECT,
    (State.ACTIVE, Cause.TARGET_LOST): State.AWAITING,
    (State.ACTIVE, Cause.HOLD): State.DRAINING,
    (State.SUSPECT, Cause.SAME_INCARNATION): State.ACTIVE,
    (State.SUSPECT, Cause.TARGET_LOST): State.AWAITING,
    (State.DRAINING, Cause.DRAINED): State.HELD,
    (State.DRAINING, Cause.RELEASE): State.ACTIVE,
    (State.DRAINING, Cause.CONNECTION_LOST): State.SUSPECT,
    (State.DRAINING, Cause.TARGET_LOST): State.AWAITING,
    (State.HELD, Cause.RELEASE): State.ACTIVE,
    (State.HELD, Cause.CONNECTION_LOST): State.SUSPECT,
    (State.HELD, Cause.TARGET_LOST): State.AWAITING,
    (State.HELD, Cause.REST): State.RESTING,
    (State.RESTING, Cause.WANTED): State.AWAITING,
    **{(state, cause): State.FAILED for state in State for cause in (Cause.LOG_FAILED, Cause.DEFECT)},
}


class StateMachine:
    """Holds the present state and tells listeners of each change, in the order in which they were added."""

    def __init__(self) -> None:
        self.state = State.AWAITING
        self._listeners: list[Callable[[State, State, Cause], None]] = []
        self._waiters: list[asyncio.Future[None]] = []

    def add_listener(self, listener: Callable[[State, State, Cause], None]) -> None:
        """`listener(old, new, cause)` is called after each change."""
        self._listeners.append(listener)

    def apply(self, cause: Cause) -> State:
        """Move by `cause`.  Raises IllegalTransitionError, and changes nothing, where the table has no entry."""
        old = self.state
        new = TRANSITIONS.get((old, cause))
        if new is None:
            raise IllegalTransitionError(f"{cause.name} ({cause.value}) does not apply to {old.name} ({old.value})")
        self.state = new
        if new is not old:
            for listener in self._listeners:
                listener(old, new, cause)
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        return new

    async def wait_for(self, condition: Callable[[State], bool], timeout_s: float) -> None:
        """Wait until `condition` holds for the state.  Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not condition(self.state):
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter
