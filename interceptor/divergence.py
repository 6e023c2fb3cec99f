"""Replayed outcomes against recorded ones: a replay that diverges is never silent.

Events and outcomes are read from the log in the order in which they were written, and answers arrive from the target
meanwhile; whichever of the two outcomes of a version is there first waits for the other.  What waits is bounded by what
is in flight.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from storage_backends.records import Outcome

# How many of the divergent events are reported in full; all are counted.
REPORTED_MAX = 10


class OnDivergence(Enum):
    """What follows a replay that diverged."""

    REPORT = "report"
    STOP = "stop"


class Divergence(NamedTuple):
    """An event that was answered otherwise than before."""

    version: int
    expected: Outcome
    got: Outcome

    def as_json(self) -> dict[str, object]:
        """Return it as the admin interface shows it."""
        return {"version": self.version, "expected": _outcome_as_json(self.expected), "got": _outcome_as_json(self.got)}


class OutcomeComparison:
    """Compares outcomes by version during one replay that begins at `from_version`."""

    def __init__(self, from_version: int) -> None:
        self.compared = 0
        self.divergences = 0
        self.first: list[Divergence] = []
        # How the requests of the first ones are sent again (see `divergence_report`).
        self.requests: dict[int, str] = {}
        self.ignored = 0
        self._ignored_versions: set[int] = set()
        self._from_version = from_version
        self._recorded: dict[int, Outcome] = {}
        self._replayed: dict[int, Outcome] = {}
        self._left_out: set[int] = set()

    @property
    def unresolved(self) -> int:
        """How many replayed versions still wait for their recorded outcome."""
        return len(self._replayed)

    def ignore(self, version: int) -> None:
        """Whatever this version is answered, it is no divergence."""
        self._ignored_versions.add(version)

    def leave_out(self, version: int) -> None:
        """This version is not replayed: it is quarantined, or answered for the first time."""
        self._left_out.add(version)

    def recorded(self, outcome: Outcome) -> None:
        """The log says how this version was answered."""
        version = outcome.version
        replayed = self._replayed.pop(version, None)
        if replayed is not None:
            self._compare(outcome, replayed)
        elif version >= self._from_version and version not in self._left_out:
            self._recorded[version] = outcome

    def replayed(self, outcome: Outcome) -> None:
        """The target has answered this version now."""
        recorded = self._recorded.pop(outcome.version, None)
        if recorded is None:
            self._replayed[outcome.version] = outcome
        else:
            self._compare(recorded, outcome)

    def take_first_outcomes(self) -> list[Outcome]:
        """Return the outcomes of versions that the log has none for: it is their first."""
        first = list(self._replayed.values())
        self._replayed.clear()
        self._recorded.clear()
        return first

    def first_as_json(self) -> list[dict[str, object]]:
        """Return the first divergences as the admin interface shows them."""
        return [{**each.as_json(), "request": self.requests.get(each.version)} for each in self.first]

    def _compare(self, recorded: Outcome, replayed: Outcome) -> None:
        self.compared += 1
        if recorded == replayed:
            self._ignored_versions.discard(recorded.version)
        elif recorded.version in self._ignored_versions:
            self._ignored_versions.remove(recorded.version)
            self.ignored += 1
        else:
            self.divergences += 1
            if len(self.first) < REPORTED_MAX:
                self.first.append(Divergence(recorded.version, recorded, replayed))


def _outcome_as_json(outcome: Outcome) -> dict[str, object]:
    return {"status": outcome.status, "length_bytes": outcome.length_bytes, "digest": f"{outcome.digest:016x}"}
