"""How long to wait before the target is started again."""

from __future__ import annotations


class RestartBackoff:
    """The first restart is immediate, each further one waits twice as long as the one before, within limits.

    A life of `reset_after_s` seconds or more makes the next restart a first one again.
    """

    __slots__ = ("_max_s", "_min_s", "_next_s", "_reset_after_s")

    def __init__(self, min_s: float, max_s: float, reset_after_s: float) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._reset_after_s = reset_after_s
        self._next_s = 0.0

    def delay_s(self, lived_s: float) -> float:
        """Seconds to wait after a life of `lived_s` seconds; 0 for a start that failed."""
        if lived_s >= self._reset_after_s:
            self._next_s = 0.0
        delay_s = self._next_s
        self._next_s = min(max(delay_s * 2, self._min_s), self._max_s)
        return delay_s

    def reset(self) -> None:
        """Make the next restart a first one again."""
        self._next_s = 0.0
