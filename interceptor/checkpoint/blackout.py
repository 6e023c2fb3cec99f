"""How long a checkpoint keeps requests waiting, phase by phase."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

DRAIN, FREEZE, RESUME = "drain", "freeze", "resume"


class Blackout:
    """A stopwatch with phases: `begin` ends the one before.  The usual ones are drain, freeze and resume.

    drain: from the first request that is held until nothing is in flight.  freeze: the target's state is taken.
    resume: until requests pass again.  An engine may begin phases of its own names between freeze and resume.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._phase: str | None = None
        self._since_s = 0.0
        self.phases_s: dict[str, float] = {}

    def begin(self, phase: str) -> None:
        """End the present phase, and begin this one (again, if it was there before: then its times add up)."""
        self.end()
        self._phase = phase
        self._since_s = self._clock()

    def end(self) -> None:
        """End the present phase."""
        if self._phase is not None:
            past_s = self.phases_s.get(self._phase, 0.0)
            self.phases_s[self._phase] = past_s + self._clock() - self._since_s
            self._phase = None

    @property
    def total_s(self) -> float:
        """All phases that have ended."""
        return sum(self.phases_s.values())
