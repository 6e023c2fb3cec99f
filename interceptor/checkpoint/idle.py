"""Scale to nothing: a target without requests is checkpointed and stopped, and comes back with the next request.

    ACTIVE → DRAINING → HELD → RESTING → (a request) → AWAITING → PROJECTING → ACTIVE

It rests only while its newest checkpoint holds every event, so nothing is replayed when it comes back.  A connection
that has left HTTP keeps it awake: nobody could give that back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from interceptor.admission import Admission
from interceptor.checkpoint.catalogue import Catalogue
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.counters import Counters
from interceptor.errors import InterceptorError
from interceptor.hold import Hold
from interceptor.journal import Journal
from interceptor.passages import Passages
from interceptor.states import Cause, State, StateMachine
from interceptor.target.supervisor import Supervisor
from storage_backends.backend import Fact
from storage_backends.errors import LogError

logger = logging.getLogger(__name__)

HOLD = "idle"
LOOK_S = 0.05
RETRY_S = 10.0


class IdleRest:
    """Lets the target rest.  `wake_target` begins to bring it back."""

    def __init__(
        self,
        after_s: float,
        machine: StateMachine,
        hold: Hold,
        journal: Journal,
        catalogue: Catalogue,
        admission: Admission,
        passages: Passages,
        counters: Counters,
        supervisor: Supervisor,
        take: Callable[[], Awaitable[Checkpoint]],
        close_connections: Callable[[], Awaitable[None]],
        wake_target: Callable[[], None],
    ) -> None:
        self.last_wake_s: float | None = None
        self._after_s = after_s
        self._machine = machine
        self._hold = hold
        self._journal = journal
        self._catalogue = catalogue
        self._admission = admission
        self._passages = passages
        self._counters = counters
        self._supervisor = supervisor
        self._take = take
        self._close_connections = close_connections
        self._wake_target = wake_target
        self._seen: object = None
        self._quiet_since_s = monotonic()
        self._wanted_s: float | None = None
        machine.add_listener(self._state_changed)

    def describe(self) -> dict[str, Fact]:
        """Return what `GET /state` shows."""
        return {
            "after_s": self._after_s,
            "rests": self._counters.rests,
            "last_wake_s": round(self.last_wake_s, 6) if self.last_wake_s is not None else None,
        }

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(min(LOOK_S, self._after_s / 4))
            if self._is_idle():
                try:
                    await self._rest()
                except (InterceptorError, LogError) as error:
                    logger.error("the idle target is not stopped: %s", error)
                    self._quiet_since_s = monotonic() + RETRY_S

    def wake(self) -> None:
        """Bring the target back, if it rests."""
        if self._machine.state is State.RESTING:
            self._admission.on_held = None
            self._wanted_s = monotonic()
            self._machine.apply(Cause.WANTED)
            self._wake_target()

    def _is_idle(self) -> bool:
        counters, passages = self._counters, self._passages
        seen = (self._journal.last_version, counters.unrecorded, counters.bypassed, counters.tunnels)
        busy = passages.reads_in_flight or passages.tunnels or self._admission.held
        if self._machine.state is not State.ACTIVE or busy or seen != self._seen:
            self._seen = seen
            self._quiet_since_s = max(self._quiet_since_s, monotonic())
        return monotonic() - self._quiet_since_s >= self._after_s

    async def _rest(self) -> None:
        """Stop the target, if it is as idle after the checkpoint as before."""
        if self._usable_checkpoint() is None:
            await self._take()
        await self._hold.take(HOLD)
        try:
            # It would cut a tunnel that was opened meanwhile.
            if not self._passages.tunnels:
                await self._close_connections()
            checkpoint = self._usable_checkpoint()
            if self._machine.state is not State.HELD or checkpoint is None:
                return
            if self._admission.held or self._passages.tunnels or self._hold.causes != {HOLD}:
                return
            self._machine.apply(Cause.REST)
            # Not in the middle of an admission: the state changes.
            loop = asyncio.get_running_loop()
            self._admission.on_held = lambda: loop.call_soon(self.wake)
        finally:
            self._hold.release(HOLD)
        self._counters.rests += 1
        logger.info("nobody has asked for %g s: the target rests in checkpoint %s", self._after_s, checkpoint.id)
        await self._supervisor.rest()

    def _usable_checkpoint(self) -> Checkpoint | None:
        """The checkpoint that holds every event, if there is one."""
        newest = self._catalogue.newest
        if newest is None or not (newest.holds_state and newest.verified):
            return None
        return newest if newest.version == self._journal.last_version else None

    def _state_changed(self, old: State, new: State, cause: Cause) -> None:
        if new is State.ACTIVE and self._wanted_s is not None:
            self.last_wake_s = monotonic() - self._wanted_s
            self._counters.wake.observe(self.last_wake_s)
            self._wanted_s = None
            logger.info("the target is back from its rest after %.3f s", self.last_wake_s)
