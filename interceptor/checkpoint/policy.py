"""When a checkpoint is taken without being asked for: by time, by events, or before a recovery would take too long.

The data plane is not touched: a look every few milliseconds compares two versions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from interceptor.checkpoint.catalogue import Catalogue
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.estimate import RecoveryFigures
from interceptor.checkpoint.options import CheckpointOptions
from interceptor.checkpoint.restoring import Restored
from interceptor.errors import InterceptorError
from interceptor.journal import Journal
from interceptor.standing import Standing
from storage_backends.errors import LogError

logger = logging.getLogger(__name__)

LOOK_S = 0.05
# Requests are kept waiting for at most this share of the time, whatever the objective.
PAUSE_SHARE_MAX = 0.2
# Of the objective, for the recovery that the figures foretell: on a busy machine one took 2.5 s where 2 were foretold.
AIM_SHARE = 0.75
# Of the objective: what restore and tail may take even if the target starts slowly, and a tail too short to bother.
BUDGET_SHARE_MIN = 0.25
TAIL_SHARE_MIN = 0.05
# After a failure; doubled each time up to the second.
RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0
_FIGURES_FACT = "recovery_figures"


class CheckpointPolicy:
    """Looks at the log and calls `take`."""

    def __init__(
        self,
        options: CheckpointOptions,
        catalogue: Catalogue,
        journal: Journal,
        standing: Standing,
        last_restored: Callable[[], Restored | None],
        may_take: Callable[[], bool],
        take: Callable[[], Awaitable[Checkpoint]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.figures = RecoveryFigures.from_fact(journal.facts.get(_FIGURES_FACT))
        self.failures_total = 0
        self._failures = 0
        self._options = options
        self._catalogue = catalogue
        self._journal = journal
        self._standing = standing
        self._last_restored = last_restored
        self._may_take = may_take
        self._take = take
        self._clock = clock
        self._looked_s = self._newest_since_s = clock()
        self._newest_id = catalogue.newest.id if catalogue.newest is not None else None
        self._looked_version = journal.last_version
        self._events_s = 0.0
        self._took_s = 0.0
        self._pause_until_s = 0.0
        self._recovery_seen: object = None
        self._restore_seen: Restored | None = None
        self._unreachable_told = False

    @property
    def estimate_s(self) -> float:
        """Seconds from a death now until the target would be in step again."""
        return self._estimate_s(self._tail_events)

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Take a checkpoint if one is due; a failure is logged, and tried again later and later."""
        self._learn()
        now_s = self._clock()
        if now_s < self._pause_until_s or not self._may_take():
            return
        reason = self._reason(now_s)
        if reason is None:
            return
        logger.debug("a checkpoint is due: %s", reason)
        try:
            entry = await self._take()
        except (InterceptorError, LogError) as error:
            self.failures_total += 1
            self._failures += 1
            self._pause_until_s = self._clock() + min(RETRY_MAX_S, RETRY_MIN_S * 2 ** (self._failures - 1))
            logger.error("no checkpoint was taken (%s): %s", reason, error)
            return
        self._failures = 0
        self._took_s = self._clock() - now_s
        self._pause_until_s = now_s + entry.blackout_s / PAUSE_SHARE_MAX

    def _reason(self, now_s: float) -> str | None:
        """Return why one is due, None if none is; never without an event since the last."""
        options, newest = self._options, self._catalogue.newest
        events = self._journal.last_version - (newest.version if newest is not None else 0)
        if events <= 0:
            return None
        if options.every_events is not None and events >= options.every_events:
            return f"{events} events"
        if options.interval_s is not None and now_s - self._newest_since_s >= options.interval_s:
            return f"{options.interval_s:g} s"
        if options.recovery_time_objective_s is None:
            return None
        return self._reason_by_objective(options.recovery_time_objective_s)

    def _reason_by_objective(self, objective_s: float) -> str | None:
        figures, base = self.figures, self._base
        # A target that starts slowly leaves the rest little time, but never none: the tail is what we can shorten.
        budget_s = max(objective_s * AIM_SHARE - figures.start_s, objective_s * BUDGET_SHARE_MIN)
        # Until it is stored, the tail grows on.
        tail_events = self._tail_events + self._events_s * (self._took_s + 2 * LOOK_S)
        tail_s = tail_events / figures.replay_events_s
        restore_s = figures.restore_s(base.state_bytes if base is not None else None)
        if figures.start_s + restore_s >= objective_s:
            self._tell_unreachable(objective_s, restore_s)
        if restore_s + tail_s < budget_s or tail_s < objective_s * TAIL_SHARE_MIN:
            return None
        return f"a recovery would take {figures.start_s + restore_s + tail_s:.2f} s"

    @property
    def _base(self) -> Checkpoint | None:
        """The checkpoint that a recovery would begin at."""
        return next((entry for entry in reversed(self._catalogue.entries) if entry.holds_state), None)

    @property
    def _tail_events(self) -> int:
        base = self._base
        return self._journal.last_version - (base.version if base is not None else 0)

    def _estimate_s(self, tail_events: int) -> float:
        base = self._base
        return self.figures.estimate_s(tail_events, base.state_bytes if base is not None else None)

    def _learn(self) -> None:
        now_s, version = self._clock(), self._journal.last_version
        if now_s > self._looked_s:
            rate = (version - self._looked_version) / (now_s - self._looked_s)
            self._events_s += 0.2 * (rate - self._events_s)
            self._looked_s, self._looked_version = now_s, version
        newest = self._catalogue.newest
        if newest is not None and newest.id != self._newest_id:
            self._newest_id, self._newest_since_s = newest.id, now_s
        recovery, restored = self._standing.last_recovery, self._last_restored()
        if restored is not None and restored is not self._restore_seen:
            self._restore_seen = restored
            self.figures.restored(restored.checkpoint.state_bytes, restored.seconds)
        if recovery is not None and recovery is not self._recovery_seen:
            self._recovery_seen = recovery
            self.figures.recovered(recovery)
            self._journal.store_fact(_FIGURES_FACT, self.figures.as_fact())

    def _tell_unreachable(self, objective_s: float, restore_s: float) -> None:
        if not self._unreachable_told:
            self._unreachable_told = True
            logger.warning(
                "--recovery-time-objective %g s can't be met: starting the target takes %.2f s, restoring its state "
                "%.2f s", objective_s, self.figures.start_s, restore_s,
            )  # fmt: skip
