"""The arrival of a target: wait until an incarnation is there and ready to be projected into."""

from __future__ import annotations

import logging

from interceptor.counters import Counters
from interceptor.standing import Standing
from interceptor.target.detection import DeathDetector
from interceptor.target.judgement import wait_for_target
from interceptor.target.readiness import Readiness
from interceptor.target.serving_process import ServingProcess
from interceptor.target.supervisor import Supervisor

logger = logging.getLogger(__name__)


class Arrival:
    """Waits as often as it takes.  `supervisor` is None where somebody else starts the target."""

    def __init__(
        self,
        detector: DeathDetector,
        readiness: Readiness,
        serving: ServingProcess,
        supervisor: Supervisor | None,
        standing: Standing,
        counters: Counters,
        ready_timeout_s: float,
    ) -> None:
        # The first wait found it there: it is older than we are, or as old.
        self.was_there_before_us: bool | None = None
        self._detector = detector
        self._readiness = readiness
        self._serving = serving
        self._supervisor = supervisor
        self._standing = standing
        self._counters = counters
        self._ready_timeout_s = ready_timeout_s

    async def wait(self) -> None:
        """Return once one is there and ready; `Standing.identity` says which.  Raises TargetError."""
        standing = self._standing
        await self._end_what_has_no_memory()
        if self.was_there_before_us is None:
            told = self._supervisor is None and await self._detector.ask()
            self.was_there_before_us = told and self._detector.look() is not None
        standing.identity = await wait_for_target(
            self._detector, self._readiness.attempt, self._overdue, self._ready_timeout_s
        )
        self._serving.settle()
        standing.serving = self._serving.identity
        standing.problem = None

    async def _end_what_has_no_memory(self) -> None:
        """The process that held the state has ended; the rest of what we have started must not go on without it."""
        outlived = self._serving.gone
        self._serving.forget()
        if outlived and self._supervisor is not None and self._detector.look() == self._standing.identity:
            await self._supervisor.restart()

    async def _overdue(self) -> None:
        self._counters.limits_reached["ready_timeout_s"] += 1
        problem = f"the target is not ready after {self._ready_timeout_s:g} s: {self._readiness.reason}"
        if self._supervisor is not None:
            logger.error("%s; it is started anew", problem)
            await self._supervisor.restart()
            return
        logger.error("%s; it is waited for", problem)
        self._standing.problem = f"{problem}. It is waited for: see why it does not get ready, or restart it"
