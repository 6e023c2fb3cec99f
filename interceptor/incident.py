"""Incidents: what sets a recovery off, and the record that is kept of it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic, time

from interceptor.projector import Progress

logger = logging.getLogger("interceptor.recovery")


class OnUnclean(Enum):
    """What to do when we were killed and the target lives on, and it is not known what it had finished."""

    ASSUME_APPLIED = "assume-applied"
    WAIT = "wait"


@dataclass
class Incident:
    """A lost connection, or a request to project anew (`reproject`, with the future that its caller waits for)."""

    reason: str
    at_s: float = field(default_factory=monotonic)
    reproject_from: int | None = None
    after_incarnations: int = 0
    assume_in_step: bool = False
    wake: bool = False
    done: asyncio.Future[dict[str, object]] | None = None
    detected_s: float | None = None

    def detected(self) -> None:
        """It is certain now that the incarnation is over, if it was not before."""
        if self.detected_s is None:
            self.detected_s = monotonic()

    @property
    def detected_after_s(self) -> float:
        """From the incident until it was certain that the incarnation is over."""
        return self.detected_s - self.at_s if self.detected_s is not None else 0.0


@dataclass(frozen=True)
class RecoveryRecord:
    """One recovery: `…_s` are monotonic times and durations in seconds.  `held`: when the target was in step."""

    incident: Incident
    target_back_s: float
    ended_s: float
    progress: Progress
    held: int
    longest_hold_s: float

    @property
    def target_back_after_s(self) -> float:
        """From the incident until the target was ready."""
        return self.target_back_s - self.incident.at_s

    @property
    def total_s(self) -> float:
        """From the incident until the target held everything again."""
        return self.ended_s - self.incident.at_s

    def as_json(self) -> dict[str, object]:
        """Return it as `GET /state` shows it."""
        return {
            "cause": self.incident.reason,
            "at": round(time(), 3),
            "detected_after_s": round(self.incident.detected_after_s, 6),
            "target_back_after_s": round(self.target_back_after_s, 6),
            "total_s": round(self.total_s, 6),
            "held": self.held,
            "longest_hold_s": round(self.longest_hold_s, 6),
            **self.progress.as_json(),
        }

    def log(self) -> None:
        """Write it as one line; machines find its parts under `recovery`."""
        record = self.as_json()
        # They have lines of their own.
        del record["first_divergences"]
        logger.warning(
            "recovered from: %s; the target was back after %.3f s, %d events were projected in %.3f s, %d diverged",
            self.incident.reason, self.target_back_after_s, self.progress.answered, self.progress.seconds,
            self.progress.comparison.divergences, extra={"recovery": record},
        )  # fmt: skip


def exit_text(returncode: int) -> str:
    """Say how a process ended."""
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
