"""Bringing a target into step: wait for an incarnation, project the log into it, until one survives that."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from interceptor.arrival import Arrival
from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.divergence import OnDivergence
from interceptor.divergence_report import SECRET_FIELDS, add_requests
from interceptor.errors import DivergedError, NotPossibleNowError, TargetLostError
from interceptor.journal import Journal
from interceptor.log_damage import with_remedy
from interceptor.projector import Progress, Projector
from interceptor.quarantine import Quarantined
from interceptor.standing import Standing, versions_of
from interceptor.starting_point import StartingPoint
from interceptor.states import Cause, State, StateMachine
from interceptor.target.detection import DeathDetector
from interceptor.target.errors import TargetError
from interceptor.target.judgement import Verdict, judge_loss
from interceptor.target.supervisor import Supervisor
from storage_backends.errors import LogError

logger = logging.getLogger(__name__)

# Beyond so many, an event on which the target closes the connection again is quarantined instead of passed over.
NEVER_ANSWERED_MAX = 10_000


class Projection:
    """Projects into one incarnation after the other.  `supervisor` is None where somebody else starts the target."""

    def __init__(
        self,
        machine: StateMachine,
        journal: Journal,
        projector: Projector,
        detector: DeathDetector,
        supervisor: Supervisor | None,
        standing: Standing,
        quarantined: Quarantined,
        counters: Counters,
        arrival: Arrival,
        starting_point: StartingPoint,
        on_divergence: OnDivergence,
    ) -> None:
        self.target_back_s = 0.0
        # Hidden in the command lines that show divergent requests.
        self.secret_fields: Sequence[str] = SECRET_FIELDS
        self._machine = machine
        self._journal = journal
        self._projector = projector
        self._detector = detector
        self._supervisor = supervisor
        self._standing = standing
        self._quarantined = quarantined
        self._counters = counters
        self._arrival = arrival
        self._starting_point = starting_point
        self._on_divergence = on_divergence
        self._passed_over_version = 0
        # Events on which a living target closed the connection; they are replayed alone, and may do so again.
        self._never_answered: set[int] = set()

    async def bring_into_step(self, project: Callable[[], Awaitable[Progress | None]]) -> Progress | None:
        """Let `project` bring an incarnation up to the last event, until one survives that.

        Returns None where there was nothing to project, and where only an operator can help (`Standing.problem`).
        """
        while True:
            try:
                await self.await_target()
                progress = await project()
            except TargetLostError as error:
                if await self._survives_loss(str(error)):
                    continue
                return None
            except (LogError, TargetError, NotPossibleNowError, DivergedError) as error:
                self.park(with_remedy(error, self._journal.backend.url))
                return None
            self.in_step()
            return progress

    async def project(self, asked_version: int | None = None) -> Progress:
        """Deliver to the incarnation that is there.  Raises TargetLostError, and what the starting point raises."""
        journal = self._journal
        # Behind an event that was passed over it is the same incarnation, which holds all before it.
        passed_over = self._passed_over_version
        from_version = passed_over + 1 if passed_over else await self._starting_point.prepare(asked_version)
        if self._supervisor is None and not self._detector.awaits_connection:
            # What we supervise dies with us.
            self._standing.projecting()
        serial = self._never_answered.union(self._quarantined.poison.serial)
        reader = journal.reader(min(from_version, journal.last_version + 1))
        try:
            progress = await self._projector.catch_up(
                reader, from_version, lambda: journal.last_version, self._quarantined.versions, serial,
                self._quarantined.poison.pause_s,
            )  # fmt: skip
        finally:
            reader.close()
        for outcome in progress.comparison.take_first_outcomes():
            journal.record_outcome(*outcome)
        self._counters.divergences += progress.comparison.divergences
        if progress.comparison.divergences:
            await self._report_divergences(progress)
        return progress

    async def _report_divergences(self, progress: Progress) -> None:
        comparison = progress.comparison
        target = f"http://{self._projector.lanes[0].target.authority}"
        await add_requests(self._journal, comparison, target, self.secret_fields)
        for divergence in comparison.first_as_json():
            logger.warning("event %s was answered otherwise than before: %s", divergence["version"], divergence)
        if self._on_divergence is OnDivergence.STOP:
            first = comparison.first[0]
            raise DivergedError(
                f"{comparison.divergences} of {comparison.compared} replayed events were answered otherwise than "
                f"before, the first is event {first.version} (--on-divergence stop). The target holds every event: "
                "say `interceptor state Active` to go on with it, or restart it to try again"
            )

    async def await_target(self) -> None:
        """Wait for an incarnation that is ready."""
        self._standing.problem = None
        if self._machine.state is State.PROJECTING:
            # An event was passed over: it is still the same incarnation.
            return
        self._passed_over_version = 0
        await self._arrival.wait()
        self.target_back_s = monotonic()
        self._machine.apply(Cause.TARGET_READY)

    def in_step(self) -> None:
        """The incarnation holds every event: deliver directly from now on."""
        self._projector.begin_in_step(self._journal.last_version)
        self._quarantined.poison.survived()
        if self._supervisor is not None:
            self._supervisor.child_has_proved_itself()
        self._standing.in_step()
        self._machine.apply(Cause.IN_STEP)

    def park(self, problem: str) -> None:
        """Only a new incarnation or an operator can help: say so, and wait (design rule 8)."""
        self._standing.problem = problem
        logger.critical("the target can't be brought into step: %s", problem)
        self._projector.take_back()
        self._machine.apply(Cause.TARGET_LOST)

    def lost(self, sent: Sequence[Delivery] = ()) -> None:
        """The incarnation is over, `sent` was taken back from its lanes: blame what it has not answered."""
        # A life that was served in says nothing of how long a recovery must be watched.
        lived_s = monotonic() - self.target_back_s if self._machine.state is State.PROJECTING else 0.0
        self._machine.apply(Cause.TARGET_LOST)
        self._standing.uncertain = None
        self._projector.keep(sent)
        unanswered = [*sent, *self._projector.take_back()]
        unanswered.sort(key=lambda delivery: delivery.event.version)
        self._quarantined.blame(unanswered, lived_s)

    def will_not_be_answered(self, versions: Sequence[int]) -> None:
        """A living target has closed the connection on these."""
        if len(self._never_answered) < NEVER_ANSWERED_MAX:
            self._never_answered.update(versions)

    async def _survives_loss(self, reason: str) -> bool:
        """The connection was lost during a projection: return whether to try again, with a new incarnation."""
        assert self._standing.identity is not None
        try:
            verdict = await judge_loss(self._detector, self._standing.identity)
            if verdict is Verdict.DEAD:
                logger.warning("the target died during the recovery: %s", reason)
                self.lost()
                return True
            sent = self._projector.take_back_sent()
            if [version in self._never_answered for version in versions_of(sent)] == [True]:
                # It was alone under way, so nothing else is in doubt: it goes on as it did the first time.
                self._pass_over(sent[0], reason)
                return True
            # The suspects are delivered one at a time to the next incarnation.
            self.lost(sent)
            if self._supervisor is not None:
                logger.warning("%s during the recovery, and the target lives: it is started anew", reason)
                await self._supervisor.restart()
                return True
        except TargetError as error:
            reason = f"{reason}; {error}"
        self.park(
            f"{reason} while the log was projected into it, and the target lives: what it has applied is unknown; "
            "restart the target"
        )
        return False

    def _pass_over(self, delivery: Delivery, reason: str) -> None:
        """The incarnation has got this event and will never answer it; the projection goes on behind it."""
        version = delivery.event.version
        logger.warning("%s: event %d gets no answer from a target that lives; the recovery goes on", reason, version)
        self._counters.uncertain += 1
        delivery.take_refusal(502, f"{reason} without an answer to event {version}; whether it was applied is unknown")
        self._passed_over_version = version
