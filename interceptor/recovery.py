"""Recovery: from the loss of a connection to the memory that stands where it stood.

One coroutine, one incident at a time: judge, then bring a target into step.  Delivering again is allowed to a new
incarnation only (RFC 9110 §9.2.2); where the incarnation is the same, what was unanswered is ambiguous: a target that
we supervise is started anew, which makes it exact, elsewhere the clients get 502 and the range is reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

from interceptor.arrival import Arrival
from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.divergence import OnDivergence
from interceptor.errors import NotPossibleNowError
from interceptor.first_contact import FirstContact
from interceptor.incident import Incident, OnUnclean, RecoveryRecord, exit_text
from interceptor.journal import Journal
from interceptor.lane import Lane
from interceptor.limits import Limits
from interceptor.projection import Projection
from interceptor.projector import Progress, Projector
from interceptor.quarantine import Quarantined
from interceptor.standing import Standing, versions_of
from interceptor.starting_point import StartingPoint
from interceptor.states import Cause, State, StateMachine
from interceptor.target.detection import DeathDetector
from interceptor.target.errors import TargetError
from interceptor.target.judgement import Verdict, judge_loss
from interceptor.target.readiness import Readiness
from interceptor.target.serving_process import ServingProcess
from interceptor.target.supervisor import Supervisor
from interceptor.tasks import TaskGroup

logger = logging.getLogger(__name__)

# While no lane is open, nothing breaks when the target dies: look this often.
WATCH_S = 0.01


class Recovery:
    """Keeps the target in step with the log."""

    def __init__(
        self,
        machine: StateMachine,
        journal: Journal,
        projector: Projector,
        detector: DeathDetector,
        readiness: Readiness,
        serving: ServingProcess,
        supervisor: Supervisor | None,
        limits: Limits,
        counters: Counters,
        on_unclean: OnUnclean,
        starting_point: StartingPoint,
        on_divergence: OnDivergence = OnDivergence.REPORT,
    ) -> None:
        self.standing = Standing(journal, counters)
        self.standing.dies_with_us = supervisor is not None
        self.quarantined = Quarantined(journal, projector, counters, limits.quarantine_after)
        self.on_defect: Callable[[str], None] = _ignore
        self._machine = machine
        self._projector = projector
        self._journal = journal
        self._detector = detector
        self._supervisor = supervisor
        self._starting_point = starting_point
        self._exit_seen_s = 0.0
        self._losses = 0
        self._counters = counters
        arrival = Arrival(detector, readiness, serving, supervisor, self.standing, counters, limits.ready_timeout_s)
        self._projection = Projection(
            machine, journal, projector, detector, supervisor, self.standing, self.quarantined, counters, arrival,
            starting_point, on_divergence,
        )  # fmt: skip
        self._first_contact = FirstContact(
            journal, self._projection, detector, self.standing, arrival, on_unclean, limits.in_flight_events_max
        )
        serving.on_exit = self._serving_process_ended
        self._incidents: asyncio.Queue[Incident] = asyncio.Queue()
        self._tasks = TaskGroup("recovery")

    def redact(self, fields: Sequence[str]) -> None:
        """Hide the values of these header fields wherever a divergent request is shown."""
        self._projection.secret_fields = fields

    # --- told by others

    def confirm(self) -> bool:
        """Whether the incarnation that a new connection leads to is the one that we deliver to."""
        try:
            return self._detector.look() == self.standing.identity
        except TargetError:
            # The judgement that follows meets the same error, and says it where an operator looks.
            return False

    def lane_lost(self, lane: Lane, reason: str) -> None:
        """The ordered connection broke, or could not be made: hold everything at once, then judge."""
        told_apart = not self._detector.awaits_connection and self.confirm()
        if told_apart and self._projector.forgives_idle_close(lane):
            return
        if told_apart and lane.lost_nothing and self._machine.state is State.PROJECTING:
            # Descriptors that we lack, a full backlog, a firewall for a moment: what is not answered was not sent.
            lane.connect_again()
            return
        self._losses += 1
        self._detector.connection_lost()
        self._suspect(reason)

    def target_exited(self, returncode: int) -> None:
        """The supervised process has ended."""
        self._exit_seen_s = monotonic()
        self._suspect(f"the target's process ended with {exit_text(returncode)}")

    def _serving_process_ended(self, pid: int) -> None:
        if self._machine.state is State.RESTING:
            return
        self._counters.serving_process_exits += 1
        reason = f"process {pid}, which held the target's state, has ended"
        if self._machine.state is State.AWAITING and self.standing.problem is not None:
            # A `problem` with one incarnation is none with the next.
            self._incidents.put_nowait(Incident(reason))
        else:
            self._suspect(reason)

    def target_unreachable(self) -> None:
        """A connection beside the lane broke; only if the incarnation has changed, that means anything."""
        if self._machine.state is State.ACTIVE and not self.confirm():
            self._suspect("a connection beside the lane broke")

    def boot_id_changed(self) -> None:
        """Another incarnation has answered, whatever stands of the connections to the last one."""
        if self.standing.identity is not None and not self.confirm():
            self._suspect("the target reports another boot id")

    def reproject(
        self, from_version: int | None, after_incarnations: int | None = None
    ) -> asyncio.Future[dict[str, object]]:
        """Ask for a projection into the target as a new incarnation; only without a lane in use (Waiting).

        `after_incarnations`: how many had been brought into step when the caller decided.  If there is one more by now,
        it is the one that was meant, and getting the log again would apply everything twice (rule 3).
        """
        done: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        if after_incarnations is None:
            after_incarnations = self.standing.incarnations
        self._incidents.put_nowait(
            Incident(
                "reproject was asked for", reproject_from=from_version, after_incarnations=after_incarnations, done=done
            )
        )
        return done

    def assume_in_step(self) -> None:
        """An operator says that the target, for which there is a `problem`, holds every event."""
        self._incidents.put_nowait(Incident("an operator's word", assume_in_step=True))

    def wake(self) -> None:
        """Bring a target back that rests in its newest checkpoint."""
        self._incidents.put_nowait(Incident("a request came while the target rested", wake=True))

    @property
    def target_is_known_in_step(self) -> bool:
        """Whether it is certain that the target is the incarnation that already holds every event."""
        return (
            self._machine.state in (State.ACTIVE, State.HELD)
            and self.standing.identity is not None
            and not self._detector.awaits_connection
            and self.confirm()
        )

    # --- the work

    def start(self) -> None:
        """Begin to look for the target."""
        self._tasks.start(self._guard(self._run()))
        self._tasks.start(self._guard(self._watch()))

    async def stop(self) -> None:
        """End."""
        self.standing.stop()
        await self._tasks.cancel_all()

    async def _run(self) -> None:
        self.quarantined.load()
        incident = Incident("our own start")
        progress = await self._projection.bring_into_step(self._first_contact.project_unless_in_step)
        if progress is not None:
            self._report(incident, progress)
        while True:
            await self._handle(await self._incidents.get())

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            # Without it nothing would ever be noticed or recovered again, so say it in every place where one looks.
            logger.critical("recovery has failed", exc_info=error)
            self.standing.problem = f"an error that was not foreseen, restart the ambassador: {error!r}"
            self.on_defect(self.standing.problem)

    async def _handle(self, incident: Incident) -> None:
        if self._machine.state is State.FAILED:
            if incident.done is not None:
                incident.done.set_exception(NotPossibleNowError("the log has failed"))
            return
        try:
            if incident.assume_in_step:
                await self._assume_in_step()
            elif incident.wake:
                await self._wake()
            elif incident.done is not None:
                await self._reproject(incident, incident.done)
            elif self._machine.state is State.SUSPECT:
                await self._judge(incident)
            elif self._machine.state is State.AWAITING:
                await self._recover(incident)
        except TargetError as error:
            self._projection.park(str(error))

    # --- noticing

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            if self._detector.awaits_connection:
                continue
            state = self._machine.state
            lane_open = any(lane.connected for lane in self._projector.lanes)
            if state in (State.ACTIVE, State.HELD) and not lane_open and not self.confirm():
                self._suspect("the target's listening socket changed")
            elif state is State.AWAITING and self.standing.problem is not None and self._incidents.empty():
                self._look_for_another()

    def _look_for_another(self) -> None:
        """A `problem` with one incarnation is none with the next."""
        try:
            seen = self._detector.look()
        except TargetError:
            # It is the problem already, or becomes it with the next judgement.
            return
        if seen is not None and seen != self.standing.identity:
            self._incidents.put_nowait(Incident("the target was restarted"))

    def _suspect(self, reason: str) -> None:
        state = self._machine.state
        if state in (State.ACTIVE, State.DRAINING, State.HELD):
            self._machine.apply(Cause.CONNECTION_LOST)
            self._incidents.put_nowait(Incident(reason))
        elif state is State.PROJECTING:
            self._projector.interrupt(reason)

    # --- one incident

    async def _judge(self, incident: Incident) -> None:
        assert self.standing.identity is not None
        verdict, losses = Verdict.SAME, -1
        while verdict is Verdict.SAME and losses != self._losses:
            # Each loss of another lane meanwhile is worth a settled look of its own.
            losses = self._losses
            verdict = await judge_loss(self._detector, self.standing.identity)
        if self._machine.state is State.FAILED:
            # The log has failed meanwhile: nothing will be delivered again, so nobody needs to wait.
            for delivery in self._projector.take_back():
                delivery.take_refusal(502, "the target closed the connection, and the log has failed")
            return
        if verdict is Verdict.DEAD:
            # The end of a process that we started is certain at once; starting the next one comes before this line.
            if self._exit_seen_s >= incident.at_s:
                incident.detected_s = self._exit_seen_s
            incident.detected()
            self._counters.detection.observe(incident.detected_after_s)
            await self._recover(incident)
            return
        sent = self._projector.take_back_lost()
        if sent and self._supervisor is not None:
            logger.warning(
                "%s with %d events unanswered, and the target lives: it is started anew, because what it had done with "
                "them is unknown", incident.reason, len(sent),
            )  # fmt: skip
            await self._supervisor.restart()
            await self._recover(incident, sent)
            return
        if sent:
            self._give_up(incident.reason, sent)
        self._machine.apply(Cause.SAME_INCARNATION)
        self._projector.go_on()

    def _give_up(self, reason: str, sent: Sequence[Delivery]) -> None:
        """A living target that we can't restart has closed the connection on these: they are not sent again."""
        versions = versions_of(sent)
        low, high = min(versions), max(versions)
        self.standing.doubt(low, high, len(sent))
        self._projection.will_not_be_answered(versions)
        logger.error(
            "%s while the target lives: whether it applied the events %d to %d is unknown; they are not sent again, "
            "their clients get 502. Restart the target to make its state exact", reason, low, high,
        )  # fmt: skip
        for delivery in sent:
            delivery.take_refusal(
                502,
                f"the target closed the connection without an answer; it is not known whether event "
                f"{delivery.event.version} was applied",
            )

    async def _recover(self, incident: Incident, sent: Sequence[Delivery] = ()) -> Progress | None:
        """Bring the next incarnation into step.  Returns None, with a `problem`, where only an operator can help."""
        incident.detected()
        logger.warning("the target is gone (%s); requests are held until it is back", incident.reason)
        self._projection.lost(sent)
        asked_version = incident.reproject_from
        progress = await self._projection.bring_into_step(lambda: self._projection.project(asked_version))
        if progress is not None:
            self._report(incident, progress)
        return progress

    def _report(self, incident: Incident, progress: Progress) -> None:
        counters = self._counters
        record = RecoveryRecord(
            incident, self._projection.target_back_s, monotonic(), progress, *self.standing.held_at_return
        )
        counters.replayed += progress.replayed
        counters.recoveries += 1
        counters.recovery.observe(record.total_s)
        counters.recovery_target_back.observe(record.target_back_after_s)
        counters.recovery_projection.observe(progress.seconds)
        counters.recovery_hold.observe(record.longest_hold_s)
        self.standing.last_recovery = record.as_json()
        record.log()

    # --- by an operator

    async def _reproject(self, incident: Incident, done: asyncio.Future[dict[str, object]]) -> None:
        self._starting_point.expect(incident.reproject_from)
        try:
            if self._supervisor is not None:
                await self._supervisor.restart()
            elif self.standing.incarnations != incident.after_incarnations or self.target_is_known_in_step:
                if not done.cancelled():
                    done.set_result(already_in_step(self._journal.last_version))
                return
            progress = await self._recover(incident)
            if done.cancelled():
                return
            if progress is None:
                done.set_exception(NotPossibleNowError(self.standing.problem or "the log has failed"))
            else:
                done.set_result(progress.as_json())
        except BaseException as error:
            if not done.done():
                done.set_exception(NotPossibleNowError(f"the projection has failed: {error!r}"))
            raise
        finally:
            self._starting_point.expect(None)

    async def _wake(self) -> None:
        if self._supervisor is not None and self._machine.state is State.AWAITING:
            self._supervisor.wake()
            await self._projection.bring_into_step(self._projection.project)

    async def _assume_in_step(self) -> None:
        """An operator says that the target holds every event."""
        await self._projection.await_target()
        last = self._journal.last_version
        logger.warning("an operator says that the target holds every event up to %d", last)
        for live in self._projector.give_up_waiting():
            live.take_refusal(
                502, f"it is not known whether event {live.event.version} was applied; it is taken as such"
            )
        self._projection.in_step()


def already_in_step(last_version: int) -> dict[str, object]:
    """What an operator is told who asks for a projection that has been made."""
    return {
        "from": last_version + 1,
        "to": last_version,
        "events": 0,
        "already_in_step": True,
        "detail": f"this incarnation already holds the events 1 to {last_version}",
    }


def _ignore(problem: str) -> None:
    """Nobody listens yet."""
