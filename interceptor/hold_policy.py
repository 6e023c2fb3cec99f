"""Whether requests are held while the target is away, as Vitess' vtgate decides about buffering.

Held, as a rule.  Not if the target dies again within `recovery_min_interval_s` of its last recovery: a target that dies
over and over would hold its clients for nothing.  Not in a dry run, which counts what it would have held.
"""

from __future__ import annotations

import logging
from time import monotonic

from interceptor.admission import Admission
from interceptor.counters import Counters
from interceptor.limits import Limits

logger = logging.getLogger(__name__)


class HoldPolicy:
    """Told of each loss and each recovery."""

    def __init__(self, admission: Admission, limits: Limits, counters: Counters, *, dry_run: bool) -> None:
        self._admission = admission
        self._min_interval_s = limits.recovery_min_interval_s
        self._counters = counters
        self._dry_run = dry_run
        self._recovered_s: float | None = None
        self._lost_s = 0.0
        self._refused_before = 0

    def target_lost(self) -> None:
        """The incarnation is over: hold, or refuse until the next one is in step."""
        now_s = self._lost_s = monotonic()
        if self._dry_run:
            self._refused_before = self._counters.holds_ended["dry_run"]
            self._admission.refuse_while_closed(
                "the application is away; without --hold-dry-run the request would be held", "dry_run"
            )
        elif self._recovered_s is not None and now_s - self._recovered_s < self._min_interval_s:
            self._counters.limits_reached["recovery_min_interval_s"] += 1
            self._admission.refuse_while_closed(
                f"the application is away again within {self._min_interval_s:g} s (recovery_min_interval_s) of its "
                "last recovery; the request was not recorded and not delivered", "too_soon",
            )  # fmt: skip

    def recovered(self) -> None:
        """An incarnation is in step."""
        self._recovered_s = monotonic()
        if self._dry_run and self._lost_s:
            logger.warning(
                "dry run: %d requests would have been held, the first for at most %.3f s",
                self._counters.holds_ended["dry_run"] - self._refused_before, self._recovered_s - self._lost_s,
            )  # fmt: skip
