"""Whether the only lane spends its time waiting for a slow target: then another order would help, and is named.

Sampled several times a second, so that no request pays for it.
"""

from __future__ import annotations

import logging

from interceptor.counters import Counters
from interceptor.lane import Lane

logger = logging.getLogger(__name__)

# A target that takes less than this for an event is busy, not slow: more lanes would not make it faster.
SLOW_EVENT_S = 0.005
# The line is written when so much of a window was spent waiting, and not again for a while.
WINDOW_S = 10.0
WAITING_SHARE = 0.8
SAY_AGAIN_AFTER_S = 3600.0


class LaneWatch:
    """Looks each `every_s` seconds."""

    def __init__(self, lane: Lane, counters: Counters, every_s: float) -> None:
        self._lane = lane
        self._counters = counters
        self._every_s = every_s
        self._answered_version = 0
        self._looked_s = 0.0
        self._waited_s = 0.0
        self._answered = 0
        self._quiet_s = 0.0

    def look(self, answered_version: int) -> None:
        """Take a sample; `answered_version` is the last event that was answered."""
        answered = answered_version - self._answered_version
        self._answered_version = answered_version
        # The first one is with the target, the second waits behind it.
        if self._lane.pending > 1 and answered * SLOW_EVENT_S < self._every_s:
            self._counters.lane_waiting_s += self._every_s
            self._waited_s += self._every_s
            self._answered += answered
        self._looked_s += self._every_s
        if self._looked_s < WINDOW_S:
            return
        if self._quiet_s > 0.0:
            self._quiet_s -= self._looked_s
        elif self._waited_s >= WAITING_SHARE * self._looked_s:
            self._quiet_s = SAY_AGAIN_AFTER_S
            self._say()
        self._looked_s = self._waited_s = 0.0
        self._answered = 0

    def _say(self) -> None:
        logger.warning(
            "requests wait behind one another for a slow target: %d events in %.0f s, %d wait now. What would help: "
            "--order key:… where state falls apart by session, room or cart; --record unsafe where reads change "
            "nothing; --bypass for streams and long polls (docs/suitability.md)",
            self._answered, self._waited_s, self._lane.pending,
        )  # fmt: skip
