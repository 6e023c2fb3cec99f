"""How old the oldest event is that the log has taken and not made durable.

A database commits what one sync covers in several transactions, so the age is that of what is left, not of the sync.
"""

from __future__ import annotations

from collections import deque


class UndurableAge:
    """Learns when events were appended, to within `step_s` seconds."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._next_s = 0.0
        # Every event up to the version was appended before the time, every later one at that time or after it.
        self._marks: deque[tuple[float, int]] = deque()
        self._durable_until_s = 0.0

    def appending(self, last_version: int, now_s: float) -> None:
        """Events behind `last_version` are appended now."""
        if now_s >= self._next_s:
            self._next_s = now_s + self._step_s
            self._marks.append((now_s, last_version))

    def durable_until_s(self, durable_version: int) -> float:
        """Return a time before which no event was appended that is not among those up to `durable_version`."""
        while self._marks and self._marks[0][1] <= durable_version:
            self._durable_until_s = self._marks.popleft()[0]
        return self._durable_until_s
