"""What of the log may be forgotten: never an event that a recovery would need (design rule 8).

A recovery begins at a checkpoint that holds the target's state, or at version 1 where there is none.  So the log is
trimmed behind such a checkpoint only.  A `mark` holds none, and does not count.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from interceptor.errors import ConfigurationError
from storage_backends.backend import Fact

ENGINES_WITH_STATE: Collection[str] = frozenset()
"""The checkpoint engines whose checkpoints a recovery can begin from."""

CHECKPOINTS_KEPT = 100
"""The catalogue's length; a policy can't look further back."""

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

    def check_possible(self) -> None:
        """Raise ConfigurationError where nothing could ever be trimmed."""
        if self.text != "all" and not ENGINES_WITH_STATE:
            raise ConfigurationError(
                f"--retain {self.text}: a recovery needs every event from version 1 on, because no checkpoint engine "
                "of this release holds the target's state (mark only notes a version). Leave it at all; to begin anew, "
                "stop the target and the interceptor, and name another log"
            )

    def first_kept_version(self, catalogue: Sequence[Mapping[str, Fact]], now_s: float) -> int:
        """Return the oldest event that must be kept; 1 keeps all.  The catalogue is oldest first."""
        usable = [entry for entry in catalogue if entry.get("engine") in ENGINES_WITH_STATE]
        if self.time_s is not None:
            # The last one before the moment from which on every version is to be reached.
            usable = [entry for entry in usable if _number(entry, "time") <= now_s - self.time_s][-1:]
        elif self.checkpoints is not None:
            usable = usable[-self.checkpoints :] if len(usable) >= self.checkpoints else []
        else:
            usable = []
        return int(min((_number(entry, "version") for entry in usable), default=0)) + 1


def _number(entry: Mapping[str, Fact], name: str) -> float:
    value = entry.get(name)
    # What can't be read must not allow anything to be trimmed: neither an early time nor a late version.
    missing = 0.0 if name == "version" else float("inf")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else missing
