"""How long a recovery would take if the target died now.

    target start  +  restore of the newest checkpoint  +  tail ÷ replay rate

All three are measured in recoveries; before the first one they are guessed so that the estimate is rather too long.
What was measured is a fact of the log, so that our own restart need not guess again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage_backends.backend import Fact

START_GUESS_S = 0.5
REPLAY_GUESS_EVENTS_S = 2_000.0
RESTORE_GUESS_BYTES_S = 50_000_000.0
RESTORE_FLOOR_S = 0.02

# Fewer events, or fewer bytes, say nothing about a rate.
_EVENTS_MIN = 200
_BYTES_MIN = 1_000_000
# A new measurement weighs so much; a rate that is worse than what was thought counts at once.
_WEIGHT = 0.5


@dataclass
class RecoveryFigures:
    """Seconds from a death until the target listens, events replayed a second, bytes restored a second."""

    start_s: float = START_GUESS_S
    replay_events_s: float = REPLAY_GUESS_EVENTS_S
    restore_bytes_s: float = RESTORE_GUESS_BYTES_S

    @classmethod
    def from_fact(cls, fact: Fact) -> RecoveryFigures:
        """Return what was stored; guesses for what can't be read."""
        figures = cls()
        if isinstance(fact, dict):
            for name in vars(figures):
                value = fact.get(name)
                if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
                    setattr(figures, name, float(value))
        return figures

    def as_fact(self) -> dict[str, Fact]:
        return {name: round(value, 6) for name, value in vars(self).items()}

    def estimate_s(self, tail_events: int, state_bytes: int | None) -> float:
        """Return the seconds from a death until the target is in step; state_bytes is None without a checkpoint."""
        return self.start_s + self.restore_s(state_bytes) + tail_events / self.replay_events_s

    def restore_s(self, state_bytes: int | None) -> float:
        """Return the seconds for giving a state of that size back."""
        return RESTORE_FLOOR_S + state_bytes / self.restore_bytes_s if state_bytes is not None else 0.0

    def recovered(self, recovery: Mapping[str, object]) -> None:
        """Learn from a recovery, as `Standing.last_recovery` shows it; its projection does not count the restore."""
        start_s, events, seconds = (_number(recovery.get(key)) for key in ("target_back_after_s", "events", "seconds"))
        if start_s > 0:
            self.start_s = _mixed(self.start_s, start_s)
        if events >= _EVENTS_MIN and seconds > 0:
            self.replay_events_s = min(events / seconds, _mixed(self.replay_events_s, events / seconds))

    def restored(self, size_bytes: int, seconds: float) -> None:
        """Learn from a restore."""
        if size_bytes >= _BYTES_MIN and seconds > RESTORE_FLOOR_S:
            rate = size_bytes / (seconds - RESTORE_FLOOR_S)
            self.restore_bytes_s = min(rate, _mixed(self.restore_bytes_s, rate))


def _mixed(before: float, now: float) -> float:
    return before + _WEIGHT * (now - before)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
