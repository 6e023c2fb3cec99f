"""What of the log and of the checkpoints may be forgotten: never an event that a recovery would need (design rule 8).

A recovery begins at a checkpoint that holds the target's state, or at version 1 where there is none.  So the log is
trimmed behind such a checkpoint only, one that was read back after it was stored.  A `mark` holds none, and does not
count.  A pinned checkpoint stays, and so do the events behind it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.errors import ConfigurationError

CHECKPOINTS_KEPT = 100
"""No policy can look further back, and no more marks are kept."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CHECKPOINTS = re.compile(r"checkpoints:([0-9]{1,9})")
_TIME = re.compile(r"time:([0-9]{1,9})([smhd])")


@dataclass(frozen=True, slots=True)
class Retention:
    """Keep what follows the last `checkpoints`, or what leads to any moment of the last `time_s`; else everything."""

    text: str = "all"
    checkpoints: int | None = None
    time_s: int | None = None

    @classmethod
    def parse(cls, text: str) -> Retention:
        """Return the policy that `all`, `checkpoints:K` or `time:DURATION` names. Raises ConfigurationError."""
        if text == "all":
            return cls()
        if (match := _CHECKPOINTS.fullmatch(text)) and 1 <= int(match[1]) <= CHECKPOINTS_KEPT:
            return cls(text, checkpoints=int(match[1]))
        if (match := _TIME.fullmatch(text)) and int(match[1]):
            return cls(text, time_s=int(match[1]) * _UNITS_S[match[2]])
        raise ConfigurationError(
            f"--retain {text}: write all, checkpoints:K (1 to {CHECKPOINTS_KEPT}), or time:DURATION such as time:36h "
            "or time:7d"
        )

    def check_possible(self, *, holds_state: bool) -> None:
        """Raise ConfigurationError where nothing could ever be trimmed."""
        if self.text != "all" and not holds_state:
            raise ConfigurationError(
                f"--retain {self.text}: a recovery needs every event from version 1 on, because this checkpoint engine "
                "does not hold the target's state (mark only notes a version). Choose another --checkpoint-engine, or "
                "leave it at all"
            )

    def first_kept_version(self, catalogue: Sequence[Checkpoint], now_s: float) -> int:
        """Return the oldest event that must be kept; 1 keeps all.  The catalogue is oldest first."""
        pinned = [entry for entry in catalogue if entry.pinned and entry.holds_state]
        base = self._base(catalogue, now_s)
        return min(entry.version for entry in (base, *pinned)) + 1 if base is not None else 1

    def superfluous(self, catalogue: Sequence[Checkpoint], now_s: float, checkpoints_max: int) -> list[Checkpoint]:
        """Return what may be dropped: behind the one that the log is kept from, and beyond the number kept.

        Under `time:` those stay that leave the smallest gaps, so that the log can be trimmed behind one of them later.
        """
        base = self._base(catalogue, now_s)
        stateful = [entry for entry in catalogue if entry.holds_state and not entry.pinned]
        marks = [entry for entry in catalogue if not entry.holds_state and not entry.pinned]
        behind = [entry for entry in stateful if base is not None and entry.version < base.version]
        kept = [entry for entry in stateful if entry not in behind]
        beyond: list[Checkpoint] = []
        while len(kept) > max(checkpoints_max, self.checkpoints or 0):
            beyond.append(kept.pop(self._most_dispensable(kept)))
        return [*behind, *beyond, *marks[:-CHECKPOINTS_KEPT]]

    def _base(self, catalogue: Sequence[Checkpoint], now_s: float) -> Checkpoint | None:
        """The checkpoint from which on everything is kept, if the policy has one already."""
        usable = [entry for entry in catalogue if entry.holds_state and entry.verified]
        if self.time_s is not None:
            # The last one before the moment from which on every version is to be reached.
            usable = [entry for entry in usable if entry.time_s <= now_s - self.time_s][-1:]
        elif self.checkpoints is not None:
            usable = usable[-self.checkpoints :] if len(usable) >= self.checkpoints else []
        else:
            usable = []
        return usable[0] if usable else None

    def _most_dispensable(self, kept: Sequence[Checkpoint]) -> int:
        """Return the position of the one to drop: the oldest, or under `time:` the one with the smallest gap around."""
        if self.time_s is None or len(kept) < 3:
            return 0
        gaps = [later.time_s - earlier.time_s for earlier, later in zip(kept, kept[2:], strict=False)]
        return 1 + gaps.index(min(gaps))
