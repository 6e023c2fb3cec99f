"""The first meeting with the target after our own start: does it hold what the log holds?"""

from __future__ import annotations

import logging

from interceptor.arrival import Arrival
from interceptor.errors import NotPossibleNowError
from interceptor.incident import OnUnclean
from interceptor.journal import Journal
from interceptor.projection import Projection
from interceptor.projector import Progress
from interceptor.standing import Standing
from interceptor.target.connection_owner import is_gone
from interceptor.target.detection import DeathDetector
from interceptor.uncertainty import Uncertain, find_uncertain

logger = logging.getLogger(__name__)


class FirstContact:
    """Decides between in step, in step with a doubt, and a new incarnation."""

    def __init__(
        self,
        journal: Journal,
        projection: Projection,
        detector: DeathDetector,
        standing: Standing,
        arrival: Arrival,
        on_unclean: OnUnclean,
        in_flight_events_max: int,
    ) -> None:
        self._journal = journal
        self._projection = projection
        self._detector = detector
        self._standing = standing
        self._arrival = arrival
        self._on_unclean = on_unclean
        self._in_flight_events_max = in_flight_events_max

    async def project_unless_in_step(self) -> Progress | None:
        """Project into a target that is another incarnation than before.

        Raises NotPossibleNowError where an operator must decide, and what `Projection.project` raises.
        """
        journal = self._journal
        if journal.facts.get("projecting") == self._standing.identity:
            raise NotPossibleNowError(
                "we were stopped while the log was projected into this target: what it holds of it is unknown. Restart "
                "the target, or say `interceptor state Active` to take it as it is"
            )
        if journal.last_version == 0:
            self._note_older_target()
        if journal.last_version == 0 or self._is_the_one_in_step():
            self._standing.recall_doubt()
            uncertain = await find_uncertain(journal, self._in_flight_events_max)
            if uncertain is None and journal.may_have_lost_delivered_events:
                window = self._in_flight_events_max
                uncertain = Uncertain(journal.last_version + 1, journal.last_version + window, window)
            if uncertain is not None:
                self._doubt(uncertain)
            return None
        if self._detector.awaits_connection:
            raise NotPossibleNowError(
                f"the log holds events 1 to {journal.last_version}, and nothing tells whether this target has got "
                "them: say `interceptor state Active` if it has, `interceptor reproject` if it is new"
            )
        return await self._projection.project()

    def _is_the_one_in_step(self) -> bool:
        serving = self._journal.facts.get("serving")
        if isinstance(serving, str) and self._standing.serving is not None and is_gone(serving):
            # The listening socket is the same, the process that held the state is not.
            return False
        return self._journal.facts.get("incarnation") == self._standing.identity

    def _note_older_target(self) -> None:
        if self._arrival.was_there_before_us:
            self._standing.note = (
                "the log is empty and the target was there before us: what it holds already is not in the log, and no "
                "recovery gives it back. Restart the target now if it holds anything"
            )
            logger.warning("%s", self._standing.note)

    def _doubt(self, uncertain: Uncertain) -> None:
        """After an unclean stop the living target may have finished the last events, or not."""
        self._standing.doubt(*uncertain)
        text = (
            "we were stopped uncleanly and the target lives on: whether it applied all events from "
            f"{uncertain.low} to {uncertain.high} is unknown"
        )
        if self._on_unclean is OnUnclean.WAIT:
            raise NotPossibleNowError(
                f"{text}; restart the target, or say `interceptor state Active` to take them as applied"
            )
        logger.error("%s; they are taken as applied (--on-unclean assume-applied). Restart the target to be sure", text)
