"""Quiet on demand: hold what comes, wait until nothing is in flight.

Several may ask at once (an operator, a checkpoint, a shutdown); requests pass again when the last of them lets go.
"""

from __future__ import annotations

import asyncio

from interceptor.errors import DrainTimeoutError
from interceptor.passages import Passages
from interceptor.sequencer import Sequencer
from interceptor.states import Cause, State, StateMachine


class Hold:
    """Who wants quiet, and whether it is quiet."""

    def __init__(self, machine: StateMachine, sequencer: Sequencer, passages: Passages, drain_timeout_s: float) -> None:
        self.causes: set[str] = set()
        self._machine = machine
        self._sequencer = sequencer
        self._passages = passages
        self._drain_timeout_s = drain_timeout_s

    async def take(self, cause: str) -> None:
        """Hold from now on; returns once nothing is in flight (or there is no target for anything to be in flight to).

        Raises DrainTimeoutError after drain_timeout_s: then this hold is taken back.
        """
        self.causes.add(cause)
        if self._machine.state is State.ACTIVE:
            self._machine.apply(Cause.HOLD)
        try:
            await self._machine.wait_for(
                lambda state: state in (State.HELD, State.RESTING, State.AWAITING, State.FAILED), self._drain_timeout_s
            )
        except TimeoutError:
            in_flight = self._sequencer.outstanding_events + self._passages.reads_in_flight
            self.release(cause)
            raise DrainTimeoutError(
                f"{in_flight} requests were still in flight after {self._drain_timeout_s:g} s (drain_timeout_s); "
                "requests pass again"
            ) from None
        except asyncio.CancelledError:
            self.release(cause)
            raise

    def release(self, cause: str) -> None:
        """Let go; the last one to do so lets requests pass again."""
        self.causes.discard(cause)
        if not self.causes and self._machine.state in (State.HELD, State.DRAINING):
            self._machine.apply(Cause.RELEASE)

    def check_drained(self) -> None:
        """Called when a drain begins and whenever something in flight has ended."""
        if self._machine.state is not State.DRAINING:
            self._sequencer.on_idle = self._passages.on_idle = None
        elif self._sequencer.outstanding_events or self._passages.reads_in_flight:
            self._sequencer.on_idle = self._passages.on_idle = self.check_drained
        else:
            self._sequencer.on_idle = self._passages.on_idle = None
            self._machine.apply(Cause.DRAINED)
