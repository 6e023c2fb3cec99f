"""Recovery: from the loss of a connection to the memory that stands where it stood.

One coroutine, one incident at a time: judge, wait for the target, project the log, go on.  Delivering again is allowed
to a new incarnation only (RFC 9110 §9.2.2); where the incarnation is the same, what was unanswered is ambiguous: a
target that we supervise is started anew, which makes it exact, elsewhere the clients get 502 and the range is reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import monotonic, time
from typing import Any

from interceptor.counters import Counters
from interceptor.delivery import Delivery
from interceptor.errors import NotPossibleNowError, TargetLostError
from interceptor.incident import Incident, OnUnclean, RecoveryRecord, exit_text
from interceptor.journal import Journal
from interceptor.lane import Lane
from interceptor.limits import Limits
from interceptor.poison import PoisonWatch
from interceptor.projector import Progress, Projector
from interceptor.states import Cause, State, StateMachine
from interceptor.target.detection import DeathDetector
from interceptor.target.errors import TargetError
from interceptor.target.judgement import Verdict, judge_loss, wait_for_target
from interceptor.target.supervisor import Supervisor
from interceptor.tasks import TaskGroup
from interceptor.uncertainty import find_uncertain
from storage_backends.errors import LogError

logger = logging.getLogger(__name__)

# While no lane is open, nothing breaks when the target dies: look this often.
WATCH_S = 0.01
# Beyond so many, an event on which the target closes the connection again is quarantined instead of passed over.
NEVER_ANSWERED_MAX = 10_000
CONNECT_PROBE_TIMEOUT_S = 2.0


class Recovery:
    """Keeps the target in step with the log."""

    def __init__(
        self,
        machine: StateMachine,
        journal: Journal,
        projector: Projector,
        detector: DeathDetector,
        supervisor: Supervisor | None,
        limits: Limits,
        counters: Counters,
        on_unclean: OnUnclean,
    ) -> None:
        self.identity: str | None = None
        self.incarnation_since_s: float | None = None
        self.incarnations = 0
        self.quarantined: set[int] = set()
        self.uncertain: tuple[int, int] | None = None
        self.problem: str | None = None
        self.on_defect: Callable[[str], None] = _ignore
        self.last_recovery: dict[str, object] | None = None
        self._machine = machine
        self._journal = journal
        self._projector = projector
        self._detector = detector
        self._supervisor = supervisor
        self._target_back_s = 0.0
        self._exit_seen_s = 0.0
        self._passed_over_version = 0
        # Events on which a living target closed the connection; they are replayed alone, and may do so again.
        self._never_answered: set[int] = set()
        self._limits = limits
        self._counters = counters
        self._on_unclean = on_unclean
        self._poison = PoisonWatch(limits.quarantine_after)
        self._incidents: asyncio.Queue[Incident] = asyncio.Queue()
        self._tasks = TaskGroup("recovery")

    # --- told by others

    def confirm(self) -> bool:
        """Whether the incarnation that a new connection leads to is the one that we deliver to."""
        try:
            return self._detector.look() == self.identity
        except TargetError:
            # The judgement that follows meets the same error, and says it where an operator looks.
            return False

    def lane_lost(self, lane: Lane, reason: str) -> None:
        """The ordered connection broke, or could not be made: hold everything at once, then judge."""
        self._detector.connection_lost()
        self._suspect(reason)

    def target_exited(self, returncode: int) -> None:
        """The supervised process has ended."""
        self._exit_seen_s = monotonic()
        self._suspect(f"the target's process ended with {exit_text(returncode)}")

    def target_unreachable(self) -> None:
        """A connection beside the lane broke; only if the incarnation has changed, that means anything."""
        if self._machine.state is State.ACTIVE and not self.confirm():
            self._suspect("a connection beside the lane broke")

    def reproject(self, from_version: int | None) -> asyncio.Future[dict[str, object]]:
        """Ask for a projection into the target as a new incarnation; only without a lane in use (Waiting)."""
        done: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        self._incidents.put_nowait(Incident("reproject was asked for", reproject_from=from_version or 1, done=done))
        return done

    def assume_in_step(self) -> None:
        """An operator says that the target, for which there is a `problem`, holds every event."""
        self._incidents.put_nowait(Incident("an operator's word", assume_in_step=True))

    @property
    def target_is_known_same(self) -> bool:
        """Whether it is certain that the target is the incarnation that already holds every event."""
        return self.identity is not None and not self._detector.awaits_connection and self.confirm()

    # --- the work

    def start(self) -> None:
        """Begin to look for the target."""
        self._tasks.start(self._guard(self._run()))
        self._tasks.start(self._guard(self._watch()))

    async def stop(self) -> None:
        """End."""
        await self._tasks.cancel_all()

    async def restart_target(self) -> None:
        """Kill a supervised target and start it anew: its state becomes the log's, exactly."""
        assert self._supervisor is not None
        await self._supervisor.restart()

    async def _run(self) -> None:
        await self._meet()
        while True:
            await self._handle(await self._incidents.get())

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            # Without it nothing would ever be noticed or recovered again, so say it in every place where one looks.
            logger.critical("recovery has failed", exc_info=error)
            self.problem = f"an error that was not foreseen, restart the ambassador: {error!r}"
            self.on_defect(self.problem)

    async def _handle(self, incident: Incident) -> None:
        if self._machine.state is State.FAILED:
            if incident.done is not None:
                incident.done.set_exception(NotPossibleNowError("the log has failed"))
            return
        try:
            if incident.assume_in_step:
                await self._assume_in_step()
            elif incident.done is not None:
                await self._reproject(incident)
            elif self._machine.state is State.SUSPECT:
                await self._judge(incident)
            elif self._machine.state is State.AWAITING:
                await self._recover(incident)
        except TargetError as error:
            self._park(str(error))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            if self._detector.awaits_connection:
                continue
            state = self._machine.state
            lane_open = all(lane.connected for lane in self._projector.lanes)
            if state in (State.ACTIVE, State.HELD) and not lane_open and not self.confirm():
                self._suspect("the target's listening socket changed")
            elif state is State.AWAITING and self.problem is not None and self._incidents.empty():
                self._look_for_another()

    def _look_for_another(self) -> None:
        """A `problem` with one incarnation is none with the next."""
        try:
            seen = self._detector.look()
        except TargetError:
            # It is the problem already, or becomes it with the next judgement.
            return
        if seen is not None and seen != self.identity:
            self._incidents.put_nowait(Incident("the target was restarted"))

    def _suspect(self, reason: str) -> None:
        state = self._machine.state
        if state in (State.ACTIVE, State.DRAINING, State.HELD):
            self._machine.apply(Cause.CONNECTION_LOST)
            self._incidents.put_nowait(Incident(reason))
        elif state is State.PROJECTING:
            self._projector.interrupt(reason)

    async def _judge(self, incident: Incident) -> None:
        assert self.identity is not None
        verdict = await judge_loss(self._detector, self.identity)
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
        sent = [delivery for lane in self._projector.lanes for delivery in lane.take_back_sent()]
        if sent and self._supervisor is not None:
            logger.warning(
                "%s with %d events unanswered, and the target lives: it is started anew, because what it had done with "
                "them is unknown", incident.reason, len(sent),
            )  # fmt: skip
            await self.restart_target()
            await self._recover(incident, sent)
            return
        if sent:
            self._report_uncertain(incident.reason, sent)
        self._machine.apply(Cause.SAME_INCARNATION)
        for lane in self._projector.lanes:
            lane.pump()

    def _report_uncertain(self, reason: str, sent: Sequence[Delivery]) -> None:
        versions = [delivery.event.version for delivery in sent]
        low, high = min(versions), max(versions)
        self.uncertain = (min(low, self.uncertain[0]), max(high, self.uncertain[1])) if self.uncertain else (low, high)
        self._counters.uncertain += len(sent)
        if len(self._never_answered) < NEVER_ANSWERED_MAX:
            self._never_answered.update(versions)
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

    async def _recover(
        self, incident: Incident, sent: Sequence[Delivery] = (), *, from_version: int = 1
    ) -> Progress | None:
        """Wait for an incarnation and project the log into it, until one survives that.

        Returns None, with `problem` set, where only an operator can help.
        """
        incident.detected()
        logger.warning("the target is gone (%s); requests are held until it is back", incident.reason)
        self._blame(self._lost(sent))
        progress = await self._bring_into_step(lambda: self._project(from_version))
        if progress is not None:
            self._report(incident, progress)
        return progress

    async def _bring_into_step(self, project: Callable[[], Awaitable[Progress | None]]) -> Progress | None:
        """Let `project` bring an incarnation up to the last event, until one survives that."""
        while True:
            try:
                await self._await_target()
                progress = await project()
            except TargetLostError as error:
                if await self._survives_loss(str(error)):
                    continue
                return None
            except (LogError, TargetError, NotPossibleNowError) as error:
                self._park(str(error))
                return None
            self._in_step()
            return progress

    async def _survives_loss(self, reason: str) -> bool:
        """The connection was lost during a projection: return whether to try again, with a new incarnation."""
        assert self.identity is not None
        try:
            verdict = await judge_loss(self._detector, self.identity)
            if verdict is Verdict.DEAD:
                logger.warning("the target died during the recovery: %s", reason)
                self._blame(self._lost())
                return True
            sent = [delivery for lane in self._projector.lanes for delivery in lane.take_back_sent()]
            if [delivery.event.version in self._never_answered for delivery in sent] == [True]:
                # It was alone under way, so nothing else is in doubt: it goes on as it did the first time.
                self._pass_over(sent[0], reason)
                return True
            # The suspects are delivered one at a time to the next incarnation.
            self._blame(self._lost(sent))
            if self._supervisor is not None:
                logger.warning("%s during the recovery, and the target lives: it is started anew", reason)
                await self.restart_target()
                return True
        except TargetError as error:
            reason = f"{reason}; {error}"
        self._park(
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

    async def _await_target(self) -> None:
        self.problem = None
        if self._machine.state is State.PROJECTING:
            # An event was passed over: it is still the same incarnation.
            return
        self._passed_over_version = 0
        self.identity = await wait_for_target(self._detector, self._probe)
        self._target_back_s = monotonic()
        self._machine.apply(Cause.TARGET_READY)

    async def _meet(self) -> None:
        """Meet the target for the first time after our own start."""
        quarantined = self._journal.facts.get("quarantined")
        if isinstance(quarantined, list):
            self.quarantined.update(version for version in quarantined if isinstance(version, int))
        incident = Incident("our own start")
        progress = await self._bring_into_step(self._project_unless_in_step)
        if progress is not None:
            self._report(incident, progress)

    async def _project_unless_in_step(self) -> Progress | None:
        journal = self._journal
        if journal.last_version == 0 or journal.facts.get("incarnation") == self.identity:
            uncertain = await find_uncertain(journal, self._limits.in_flight_events_max)
            if uncertain is None and journal.may_have_lost_delivered_events:
                uncertain = (journal.last_version + 1, journal.last_version + self._limits.in_flight_events_max)
            self._check_unclean(uncertain)
            return None
        if self._detector.awaits_connection:
            raise NotPossibleNowError(
                f"the log holds events 1 to {journal.last_version}, and nothing tells whether this target has got "
                "them: say `interceptor state Active` if it has, `interceptor reproject` if it is new"
            )
        return await self._project(1)

    def _check_unclean(self, uncertain: tuple[int, int] | None) -> None:
        """After an unclean stop the living target may have finished the last events, or not."""
        if uncertain is None:
            return
        self.uncertain = uncertain
        self._counters.uncertain += uncertain[1] - uncertain[0] + 1
        text = (
            f"we were stopped uncleanly and the target lives on: whether it applied all events from {uncertain[0]} to "
            f"{uncertain[1]} is unknown"
        )
        if self._on_unclean is OnUnclean.WAIT:
            raise NotPossibleNowError(
                f"{text}; restart the target, or say `interceptor state Active` to take them as applied"
            )
        logger.error("%s; they are taken as applied (--on-unclean assume-applied). Restart the target to be sure", text)

    def _lost(self, sent: Sequence[Delivery] = ()) -> list[Delivery]:
        """The incarnation is over: return what it was sent and has not answered."""
        self._machine.apply(Cause.TARGET_LOST)
        self.uncertain = None
        self._projector.keep(sent)
        return [*sent, *self._projector.take_back()]

    def _blame(self, unanswered: Sequence[Delivery]) -> None:
        """Find out whether an event is to blame for a death."""
        if unanswered:
            versions = [delivery.event.version for delivery in unanswered]
            logger.info("the target died with the events %d to %d unanswered", versions[0], versions[-1])
        guilty = self._poison.died_with(unanswered)
        if guilty is not None:
            self._quarantine(guilty)

    def _quarantine(self, version: int) -> None:
        reason = "the target died each time while this event was the first unanswered one"
        logger.error("event %d is quarantined: %s", version, reason)
        self.quarantined.add(version)
        self._counters.quarantined += 1
        self._journal.append_quarantine(version, reason)
        self._journal.store_fact("quarantined", [*sorted(self.quarantined)])
        live = self._projector.withdraw(version)
        if live is not None:
            live.take_refusal(502, f"event {version} is quarantined: {reason}")

    async def _project(self, from_version: int) -> Progress:
        journal = self._journal
        from_version = max(from_version, self._passed_over_version + 1)
        serial = self._never_answered.union(self._poison.serial)
        reader = journal.reader(min(from_version, journal.last_version + 1))
        try:
            progress = await self._projector.catch_up(
                reader, from_version, lambda: journal.last_version, self.quarantined, serial
            )
        finally:
            reader.close()
        for outcome in progress.comparison.take_first_outcomes():
            journal.record_outcome(*outcome)
        return progress

    def _in_step(self) -> None:
        """The incarnation holds every event: deliver directly from now on, and remember which one it is."""
        journal = self._journal
        assert self.identity is not None
        self._projector.begin_in_step(journal.last_version)
        self._poison.survived()
        if self._supervisor is not None:
            self._supervisor.child_has_proved_itself()
        self.incarnations += 1
        self.incarnation_since_s = time()
        if journal.facts.get("clean_stop") is not None:
            journal.store_fact("clean_stop", None)
        if journal.facts.get("incarnation") != self.identity:
            journal.store_fact("incarnation", self.identity)
            journal.append_mark("incarnation", journal.last_version, identity=self.identity)
        self._machine.apply(Cause.IN_STEP)

    def _report(self, incident: Incident, progress: Progress) -> None:
        counters = self._counters
        record = RecoveryRecord(incident, self._target_back_s, monotonic(), progress)
        counters.replayed += progress.replayed
        counters.divergences += progress.comparison.divergences
        counters.recoveries += 1
        counters.recovery.observe(record.total_s)
        self.last_recovery = record.as_json()
        record.log()

    # --- by an operator

    async def _reproject(self, incident: Incident) -> None:
        assert incident.done is not None
        assert incident.reproject_from is not None
        try:
            if self._supervisor is not None:
                await self.restart_target()
            progress = await self._recover(incident, from_version=incident.reproject_from)
            if incident.done.cancelled():
                return
            if progress is None:
                incident.done.set_exception(NotPossibleNowError(self.problem or "the log has failed"))
            else:
                incident.done.set_result(progress.as_json())
        except BaseException as error:
            if not incident.done.done():
                incident.done.set_exception(NotPossibleNowError(f"the projection has failed: {error!r}"))
            raise

    async def _assume_in_step(self) -> None:
        """An operator says that the target holds every event."""
        await self._await_target()
        last = self._journal.last_version
        logger.warning("an operator says that the target holds every event up to %d", last)
        for live in self._projector.give_up_waiting():
            live.take_refusal(
                502, f"it is not known whether event {live.event.version} was applied; it is taken as such"
            )
        self._in_step()

    def _park(self, problem: str) -> None:
        """Only a new incarnation or an operator can help: say so, and wait (design rule 8)."""
        self.problem = problem
        logger.critical("the target can't be brought into step: %s", problem)
        self._projector.take_back()
        self._machine.apply(Cause.TARGET_LOST)

    async def _probe(self) -> bool:
        lane = self._projector.lanes[0]
        try:
            async with asyncio.timeout(CONNECT_PROBE_TIMEOUT_S):
                _, writer = await asyncio.open_connection(lane.target.host, lane.target.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True


def _ignore(problem: str) -> None:
    """Nobody listens yet."""
