"""Poison: an event that kills the target again and again is quarantined, so that the others live.

Under suspicion for a death are the events that the target may have been working on: the first of each lane that was
sent and not answered.  After a death the suspects are delivered one at a time over all lanes, which makes the blame of
the next death exact.

That an event was under way at each death proves nothing where somebody else kills, always at the same moment of a
recovery.  So before the delivery that may be its last, the incarnation must live for a while without it: longer than
those before it have lived with it.  If it dies in that time, the event is acquitted.

An event that is replayed with nobody waiting has most likely been survived once, and its client was told that it is
done.  To drop it loses what was acknowledged: it takes twice as many deaths, all but the first few with such a trial.
"""

from __future__ import annotations

from collections.abc import Sequence

from interceptor.delivery import Delivery

# Delivered one at a time after a death, and altogether: each costs a round trip in every recovery that follows.
SUSPECTS_OF_A_DEATH_MAX = 32
SUSPECTS_MAX = 96
# How long the target must live without a suspect: at least, at most, and as a multiple of its longest life with it.
TRIAL_MIN_S = 0.25
TRIAL_MAX_S = 2.0
TRIAL_LIVES = 2.0
# How many times as many deaths an event may be blamed for of which nobody awaits the answer.
REPLAYED_DEATHS = 2


class PoisonWatch:
    """Counts deaths running by the events that were being answered."""

    def __init__(self, quarantine_after: int) -> None:
        self._quarantine_after = quarantine_after
        self._deaths: dict[int, int] = {}
        # Which of these were replayed with nobody waiting for the answer.
        self._replayed: set[int] = set()
        self._longest_life_s = 0.0
        self._on_trial = False
        # Versions to be delivered one at a time.
        self.serial: set[int] = set()

    def pause_s(self, version: int) -> float:
        """Return how long the target must live before it gets this event, with nothing else under way."""
        deaths = self._deaths.get(version, 0)
        self._on_trial = deaths > 0 and deaths >= self._quarantine_after - 1
        if not self._on_trial:
            return 0.0
        return min(max(TRIAL_MIN_S, TRIAL_LIVES * self._longest_life_s), TRIAL_MAX_S)

    def died_with(
        self, sent_unanswered: Sequence[Delivery], suspects: Sequence[Delivery], lived_s: float = 0.0
    ) -> int | None:
        """Note a death; return the version to quarantine, if it has come to that.

        `lived_s`: from the target's return to its death in a recovery.  With a single suspect the ones behind it were
        in its lane, and are delivered one at a time as well: the target may have begun them.
        """
        on_trial, self._on_trial = self._on_trial, False
        if not sent_unanswered:
            if on_trial:
                self._deaths = {}
            return None
        versions = [delivery.event.version for delivery in suspects]
        again = any(version in self._deaths for version in versions)
        self._longest_life_s = max(lived_s, self._longest_life_s) if again else lived_s
        self._deaths = {version: self._deaths.get(version, 0) + 1 for version in versions}
        self._replayed = {delivery.event.version for delivery in suspects if delivery.is_replay}
        alone = len(versions) == 1
        self._suspect(sent_unanswered if alone else suspects)
        if not alone or self._deaths[versions[0]] < self._deaths_max(versions[0]):
            return None
        return self._deaths.popitem()[0]

    def _deaths_max(self, version: int) -> int:
        return self._quarantine_after * (REPLAYED_DEATHS if version in self._replayed else 1)

    def survived(self) -> None:
        """The target holds everything again."""
        self._deaths = {}
        self._on_trial = False
        self.serial = set()

    def _suspect(self, deliveries: Sequence[Delivery]) -> None:
        added = {delivery.event.version for delivery in deliveries[:SUSPECTS_OF_A_DEATH_MAX]}
        self.serial |= added
        if len(self.serial) > SUSPECTS_MAX:
            self.serial = added
