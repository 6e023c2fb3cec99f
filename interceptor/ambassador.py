"""The ambassador: puts the parts of the picture in docs/architecture.md together, and is what control talks to."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from time import monotonic, time

from interceptor.address import Address, TargetAddress, UnixAddress
from interceptor.admission import Admission
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.idle import IdleRest
from interceptor.checkpoint.service import Checkpoints
from interceptor.counters import Counters
from interceptor.distribution import distribution, lane_count
from interceptor.errors import ConfigurationError, DrainTimeoutError, NotPossibleNowError
from interceptor.hold import Hold
from interceptor.hold_policy import HoldPolicy
from interceptor.journal import Journal
from interceptor.lane import Lane
from interceptor.lane_watch import LaneWatch
from interceptor.listener import Listener
from interceptor.message import Tagger, plain, without_tags
from interceptor.order import OrderKind, order_of_log
from interceptor.passages import Passages
from interceptor.projector import Progress, Projector
from interceptor.recovery import Recovery, already_in_step
from interceptor.release_gate import ReleaseGate
from interceptor.routing import Router, event_matcher
from interceptor.scratch import project_into_scratch
from interceptor.sequencer import Sequencer
from interceptor.server_tls import ServerTls
from interceptor.settings import Detection, Settings
from interceptor.shown_url import shown_url
from interceptor.states import Cause, State, StateMachine
from interceptor.target.boot_id import BootIdDetector
from interceptor.target.detection import ConnectionDetector, DeathDetector, ListenerDetector, SupervisedDetector
from interceptor.target.errors import TargetError
from interceptor.target.readiness import TargetReadiness
from interceptor.target.serving_process import ServedDetector, ServingProcess
from interceptor.target.supervisor import Supervisor
from interceptor.target.whereabouts import ensure_nobody_listens, is_local, listening_at
from storage_backends import open_log
from storage_backends.backend import LogBackend
from storage_backends.errors import LogError
from storage_backends.records import Event

logger = logging.getLogger(__name__)

# Hold and answer deadlines are checked this often; they are stated in seconds.
DEADLINES_S = 0.1
# Young objects die young here; full collections over what lives long would only cost.
GC_THRESHOLDS = (50_000, 20, 100)


class Ambassador:
    """One target, one log, one listener.  Everything runs in the event loop that `start` was called in."""

    @classmethod
    async def open(cls, settings: Settings) -> Ambassador:
        """Check the settings, open the log, and put the parts together; nothing else is started.

        Raises ConfigurationError, TargetStartError and the errors of the log.
        """
        detection = settings.effective_detection()
        settings.check_admin()
        settings.retention.check_possible(holds_state=settings.checkpoint.engine != "mark")
        settings.lane_count()
        router = Router(record_all=settings.record_all, bypass=settings.bypass, admin_same=settings.admin is None)
        if settings.command:
            ensure_nobody_listens(settings.target)
        backend = open_log(
            settings.log_url,
            key_file=settings.log_key_file,
            compression=settings.log_compression,
            **settings.log_options,
        )
        try:
            await backend.start()
            ambassador = cls(settings, backend, router, detection)
            try:
                await ambassador.checkpoints.open()
            except BaseException:
                ambassador.detector.close()
                raise
            return ambassador
        except BaseException:
            backend.close()
            raise

    def __init__(self, settings: Settings, backend: LogBackend, router: Router, detection: Detection) -> None:
        self.settings = settings
        limits = settings.limits
        loop = asyncio.get_running_loop()
        self.counters = Counters()
        self.machine = StateMachine()
        self.journal = Journal(
            backend, loop, settings.durability, limits.relaxed_window_ms, self.counters, limits.commit_delay_us
        )
        self.gate = ReleaseGate(self.journal, self.counters, limits)
        self.supervisor = Supervisor(list(settings.command), self._target_exited) if settings.command else None
        self.checkpoints = Checkpoints(settings, self.journal, self.counters, self.supervisor)
        # With `listener` and a boot id an operator says that processes come and go without the state.
        self.serving = ServingProcess()
        self._boot_id = (
            BootIdDetector(settings.target, settings.boot_id_path, limits, self.counters)
            if settings.boot_id_path is not None
            else None
        )
        self.detector: DeathDetector = ServedDetector(self._boot_id or self._make_detector(detection), self.serving)
        readiness = TargetReadiness(
            settings.target, settings.ready_path, limits.connect_timeout_s,
            self.serving if detection in (Detection.PROCESS, Detection.CONNECTION) else None,
        )  # fmt: skip
        written = Tagger().tagged if settings.tag_requests else plain
        lanes = [
            Lane(
                settings.target,
                limits,
                self.counters,
                on_lost=self._lane_lost,
                confirm=lambda: self.recovery.confirm(),
                ask=self._boot_id.ask if self._boot_id is not None else None,
                written=written,
            )
            for _ in range(lane_count(settings.order, settings.lane_count()))
        ]
        self.projector = Projector(lanes, limits, distribution(settings.order, lanes, self.counters))
        self.projector.ignores = self._ignores_divergence = _divergence_filter(settings)
        self.sequencer = Sequencer(self.journal, loop, self.projector.deliver)
        self.gate.sequencer = self.sequencer
        self.passages = Passages(
            settings.target, self.gate, limits, self.counters, lambda: self.projector.delivered_version
        )
        self.admission = Admission(self.sequencer, self.passages, limits, self.counters)
        self.passages.admission = self.admission
        self._hold_policy = HoldPolicy(self.admission, limits, self.counters, dry_run=settings.hold_dry_run)
        self.recovery = Recovery(
            self.machine, self.journal, self.projector, self.detector, readiness, self.serving, self.supervisor, limits,
            self.counters, settings.on_unclean, self.checkpoints.starting_point, settings.on_divergence,
        )  # fmt: skip
        self.recovery.on_defect = self._defect
        self.recovery.redact(settings.redact_headers)
        self.recovery.standing.holding = lambda: (self.admission.held, self.admission.oldest_held_s)
        if settings.tag_requests:
            self.passages.clean_head = without_tags
        self.passages.on_target_unreachable = self.recovery.target_unreachable
        self.hold = Hold(self.machine, self.sequencer, self.passages, limits.drain_timeout_s)
        self.listener = Listener(
            self.admission, self.gate, self.passages, router, limits, self.counters, settings.target.authority.encode()
        )
        self.listen_address: Address | UnixAddress | None = None
        self.started_s = time()
        self.stopping = False
        self._was_active = False
        self._deadlines: asyncio.TimerHandle | None = None
        self._lane_watch = (
            LaneWatch(lanes[0], self.counters, DEADLINES_S) if settings.order.kind is OrderKind.TOTAL else None
        )
        self.checkpoints.attach(self.machine, self.hold, self.recovery.standing, self._close_connections)
        self._let_rest_while_idle()
        self.journal.on_failed = self._log_failed
        self.machine.add_listener(self._state_changed)

    async def start(self) -> None:
        """Start the target, where we supervise it, and listen.  Raises ConfigurationError or TargetStartError."""
        settings = self.settings
        self.listen_address = await self.listener.start(
            settings.listen, unix_mode=settings.listen_unix_mode, proxy_protocol=settings.proxy_protocol,
            tls=ServerTls(settings.listen_tls, self.counters.tls_reloads) if settings.listen_tls else None,
        )  # fmt: skip
        if self.supervisor is not None:
            await self.supervisor.bring_up()
        if self._boot_id is not None:
            self._boot_id.start(self.recovery.boot_id_changed)
        self.recovery.start()
        self.checkpoints.start()
        self._deadlines = asyncio.get_running_loop().call_later(DEADLINES_S, self._check_deadlines)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        logger.info(
            "listening on %s for the target at %s, log %s (%s), last version %d", self.listen_address,
            settings.target, shown_url(settings.log_url), settings.durability.value, self.journal.last_version,
        )  # fmt: skip
        order, before = self.settings.order.text, order_of_log(self.journal.facts)
        if self.journal.last_version and order != before:
            logger.warning(
                "--order is %s, this log was delivered with %s so far: from now on a replay delivers all "
                "of it with %s", order, before, order,
            )  # fmt: skip
        if self.settings.order.kind is not OrderKind.TOTAL:
            logger.info("order %s, %d lanes", order, len(self.projector.lanes))

    async def stop(self) -> None:
        """The orderly shutdown: serve on, stop listening, drain, flush, mark the log clean, end the target."""
        if self.stopping:
            return
        self.stopping = True
        limits = self.settings.limits
        if self._was_active:
            logger.info("stopping: serving on for %g s, then draining", limits.shutdown_delay_s)
            await asyncio.sleep(limits.shutdown_delay_s)
        self.listener.stop_accepting()
        self.listener.close_idle()
        clean = await self._drain_for_stop()
        await self.checkpoints.stop()
        self.admission.refuse_all("the ambassador is shutting down; the request was not recorded and not delivered")
        await self.recovery.stop()
        if self._boot_id is not None:
            await self._boot_id.stop()
        await self._close_log(clean)
        self.listener.abort_all()
        await self.passages.close()
        for lane in self.projector.lanes:
            await lane.close()
        if self._deadlines is not None:
            self._deadlines.cancel()
        if self.supervisor is not None:
            await self.supervisor.stop(limits.target_stop_grace_s)
        self.detector.close()
        await self.checkpoints.close()
        logger.info("stopped")

    # --- control

    @property
    def able_to_hold(self) -> bool:
        """Readiness: the target has been in step once, and a request that comes now is served or held."""
        room = self.admission.held < self.settings.limits.hold_requests_max
        return self._was_active and room and not self.stopping and self.machine.state is not State.FAILED

    async def set_waiting(self, by: str = "operator") -> None:
        """Hold everything; returns when nothing is in flight.  Raises DrainTimeoutError: then nothing is held."""
        self._refuse_if_failed()
        await self.hold.take(by)

    def end_hold(self, by: str) -> None:
        """Take back the hold of somebody who knows nothing of the target's standing."""
        self._refuse_if_failed()
        self.hold.release(by)

    async def set_active(self) -> None:
        """Take an operator's hold back; where the target's standing is unknown, take it as in step."""
        self._refuse_if_failed()
        self._wake()
        self.hold.release("operator")
        if self.recovery.standing.problem is not None:
            self.recovery.assume_in_step()
            try:
                await self.machine.wait_for(lambda state: state is State.ACTIVE, self.settings.limits.drain_timeout_s)
            except TimeoutError:
                raise NotPossibleNowError(f"no target answers at {self.settings.target}: start it first") from None

    async def checkpoint(self) -> Checkpoint:
        """Take a checkpoint; returns the catalogue's new entry.  Raises what `Checkpoints.take` raises."""
        self._refuse_if_failed()
        return await self.checkpoints.take()

    async def reproject(self, from_version: int | None) -> dict[str, object]:
        """Project the log into the target as a new incarnation: restarted if we supervise it, else as the caller says.

        Raises NotPossibleNowError where the target is known to hold every event already.
        """
        self._refuse_if_failed()
        if not await self.detector.ask():
            raise NotPossibleNowError(f"{self._boot_id.problem if self._boot_id else 'nobody tells who is there'}")
        known_same = self.recovery.target_is_known_same and self.machine.state in (State.ACTIVE, State.HELD)
        if known_same and self.supervisor is None:
            if from_version is None:
                return already_in_step(self.journal.last_version)
            raise NotPossibleNowError(
                f"this incarnation already holds the events 1 to {self.journal.last_version}, projecting again would "
                "apply them twice: restart the target, or name a scratch copy with target="
            )
        self._check_versions(from_version, None)
        self.checkpoints.starting_point.check(from_version)
        self._wake()
        incarnations = self.recovery.standing.incarnations
        await self.hold.take("reproject")
        try:
            return await self.recovery.reproject(from_version, incarnations)
        finally:
            self.hold.release("reproject")

    async def reproject_into(
        self, target: TargetAddress, from_version: int | None, to_version: int | None, from_checkpoint: str | None
    ) -> AsyncIterator[Progress]:
        """Project into a scratch copy while live traffic goes on; yields progress, the last time when it is done.

        Raises NotPossibleNowError, NoSuchCheckpointError, and TargetLostError from restoring the checkpoint.
        """
        if target == self.settings.target:
            raise NotPossibleNowError(f"{target} is the live target: leave target= out to project into it")
        if from_checkpoint is not None:
            checkpoint = self.checkpoints.catalogue.get(from_checkpoint)
            from_version = checkpoint.version + 1
            self._check_versions(from_version, None if to_version == checkpoint.version else to_version)
            await self.checkpoints.restoring.restore_into(checkpoint, target)
        else:
            self._check_versions(from_version, to_version)
        return project_into_scratch(
            self.journal, target, self.settings.limits, self.recovery.quarantined.versions, from_version or 1,
            to_version or self.journal.last_version, self.settings.order, self.settings.lane_count(),
            Tagger().tagged if self.settings.tag_requests else plain, self._ignores_divergence,
            self.settings.redact_headers,
        )  # fmt: skip

    def unquarantine(self, version: int) -> dict[str, object]:
        """Let the next incarnation get a quarantined event again.  Raises NotPossibleNowError."""
        self._refuse_if_failed()
        self.recovery.quarantined.release(version)
        return {
            "version": version,
            "quarantined": sorted(self.recovery.quarantined.versions),
            "detail": "the next incarnation gets it, in its place; the present one has lived without it",
        }

    def describe(self) -> dict[str, object]:
        """Return what `GET /state` shows."""
        recovery, sequencer = self.recovery, self.sequencer
        progress = self.projector.progress
        return {
            "state": self.machine.state.public,
            "reason": self.machine.state.value,
            "holds": sorted(self.hold.causes),
            "problem": recovery.standing.problem or (str(self.journal.failure) if self.journal.failure else None),
            "note": recovery.standing.note,
            "log_unavailable": str(self.journal.unavailable) if self.journal.unavailable else None,
            "versions": {
                "first": self.journal.backend.first_version,
                "last": sequencer.last_version,
                "delivered": self.projector.delivered_version,
                "answered": self.gate.answered_version,
                "durable": self.journal.durable_version,
            },
            "held": self.admission.held,
            "in_flight": sequencer.outstanding_events,
            "unrecorded_in_flight": self.passages.reads_in_flight,
            "tunnels": self.passages.tunnels,
            "connections": self.listener.connections,
            "target": {
                "address": str(self.settings.target),
                "incarnation": recovery.standing.identity,
                "incarnations": recovery.standing.incarnations,
                "since": recovery.standing.since_s,
                "pid": self.supervisor.pid if self.supervisor else None,
                "serving_pid": self.serving.pid,
                "supervised": self.supervisor is not None,
                "boot_id_problem": self._boot_id.problem if self._boot_id is not None else None,
                "serial": any(lane.serial for lane in self.projector.lanes),
            },
            "order": self.settings.order.text,
            "lanes": [
                {"pending": lane.pending, "connected": lane.connected, "serial": lane.serial}
                for lane in self.projector.lanes
            ],
            "log": {
                "url": shown_url(self.settings.log_url),
                "durability": self.settings.durability.value,
                "size_bytes": self.journal.backend.size_bytes,
            },
            "quarantined": sorted(recovery.quarantined.versions),
            "uncertain": list(recovery.standing.uncertain) if recovery.standing.uncertain else None,
            "projection": progress.as_json() if progress and self.machine.state is State.PROJECTING else None,
            "last_recovery": recovery.standing.last_recovery,
            "checkpoints": self.checkpoints.describe(),
            "last_checkpoint": newest.as_fact() if (newest := self.checkpoints.catalogue.newest) else None,
        }

    # --- inside

    def _make_detector(self, detection: Detection) -> DeathDetector:
        target = self.settings.target
        known = self.journal.facts.get("incarnation")
        try:
            if self.supervisor is not None:
                return SupervisedDetector(self.supervisor, listening_at(target) if is_local(target) else None)
            if detection in (Detection.LISTENER, Detection.PROCESS):
                return ListenerDetector(listening_at(target), known if isinstance(known, str) else None)
        except TargetError as error:
            raise ConfigurationError(f"{error}. Or choose --detect connection") from error
        return ConnectionDetector()

    def _let_rest_while_idle(self) -> None:
        after_s = self.settings.checkpoint.idle_after_s
        if after_s is not None and self.supervisor is not None:
            self.checkpoints.idle = IdleRest(
                after_s, self.machine, self.hold, self.journal, self.checkpoints.catalogue, self.admission,
                self.passages, self.counters, self.supervisor, self.checkpoints.take, self._close_connections,
                self.recovery.wake,
            )  # fmt: skip

    def _wake(self) -> None:
        """An operator wants the target, should it rest."""
        if self.checkpoints.idle is not None:
            self.checkpoints.idle.wake()

    async def _close_connections(self) -> None:
        """Close every connection to the target: the idle lanes, the pool, and what has left HTTP."""
        for lane in self.projector.lanes:
            lane.close_idle()
        await self.passages.cut_all()

    def _lane_lost(self, lane: Lane, reason: str) -> None:
        self.recovery.lane_lost(lane, reason)

    def _target_exited(self, returncode: int) -> None:
        if not self.stopping:
            self.recovery.target_exited(returncode)

    def _log_failed(self, error: LogError) -> None:
        self.machine.apply(Cause.LOG_FAILED)
        self.gate.drop_all(error)
        self.admission.refuse_all(f"the log has failed: {error}")

    def _defect(self, problem: str) -> None:
        self.machine.apply(Cause.DEFECT)
        self.admission.refuse_all(problem)

    def _state_changed(self, old: State, new: State, cause: Cause) -> None:
        logger.debug("%s → %s: %s", old.name, new.name, cause.value)
        if cause is Cause.IN_STEP:
            self._hold_policy.recovered()
        if new is State.ACTIVE:
            self._was_active = True
            # Not before: until then the order of the last run says which events may be in doubt.
            if order_of_log(self.journal.facts) != self.settings.order.text:
                self.journal.store_fact("order", self.settings.order.text)
            if self.hold.causes:
                self.machine.apply(Cause.HOLD)
            else:
                self.admission.open()
        elif old is State.ACTIVE:
            self.admission.close()
        if new is State.AWAITING:
            if self._was_active and cause is not Cause.WANTED:
                self._hold_policy.target_lost()
            self.passages.close_idle()
        for lane in self.projector.lanes:
            lane.draining = False
            if new is State.DRAINING:
                lane.drain()
        if new is State.DRAINING:
            self.hold.check_drained()

    def _check_deadlines(self) -> None:
        self.admission.expire()
        overdue_s = monotonic() - self.settings.limits.answer_timeout_s
        self.projector.refuse_overdue(overdue_s)
        self.gate.refuse_overdue(overdue_s)
        if self._lane_watch is not None:
            self._lane_watch.look(self.gate.answered_version)
        self._deadlines = asyncio.get_running_loop().call_later(DEADLINES_S, self._check_deadlines)

    def _check_versions(self, from_version: int | None, to_version: int | None) -> None:
        first, last = self.journal.backend.first_version, self.journal.last_version
        if (from_version or 1) < first:
            raise NotPossibleNowError(
                f"from={from_version or 1}: the log begins at version {first}, what is before it is gone; "
                "begin at a checkpoint (from_checkpoint=)"
            )
        if from_version is not None and not 1 <= from_version <= last + 1:
            raise NotPossibleNowError(f"from={from_version}: the log holds the events {first} to {last}")
        if to_version is not None and not (from_version or 1) <= to_version <= last:
            raise NotPossibleNowError(f"to={to_version}: the log holds the events {first} to {last}")

    def _refuse_if_failed(self) -> None:
        if self.machine.state is State.FAILED:
            raise NotPossibleNowError(
                f"restart the ambassador: {self.journal.failure or self.recovery.standing.problem}"
            )

    async def _drain_for_stop(self) -> bool:
        """Wait until everything that was accepted is answered; return whether that was so in time."""
        if self.machine.state is State.FAILED:
            return False
        deadline_s = monotonic() + self.settings.limits.drain_timeout_s
        if self.sequencer.blocked:
            # What the log has refused can't be drained, and nothing of it happened.
            self.admission.refuse_all(
                "the log takes no records, and the ambassador is shutting down; nothing was recorded"
            )
        try:
            await self.listener.wait_until_quiet(deadline_s)
            await self.hold.take("shutdown")
        except (DrainTimeoutError, TimeoutError):
            logger.warning("requests were still in flight after drain_timeout_s; they are cut")
            return False
        return self.machine.state in (State.HELD, State.RESTING)

    async def _close_log(self, clean: bool) -> None:
        # A log that is away may stay so; in strict durability what it has not taken was acknowledged to nobody.
        drain_timeout_s = self.settings.limits.drain_timeout_s
        deadline_s = asyncio.get_running_loop().time() + drain_timeout_s
        try:
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self.journal.make_durable()
                if clean:
                    self.journal.store_fact("clean_stop", self.journal.last_version)
                    self.journal.append_mark("clean-stop", self.journal.last_version)
            finally:
                await self.journal.close(deadline_s)
        except TimeoutError:
            logger.error(
                "the log was not closed cleanly: it took no records for drain_timeout_s (%g s)", drain_timeout_s
            )
        except LogError as error:
            logger.error("the log was not closed cleanly: %s", error)


def _divergence_filter(settings: Settings) -> Callable[[Event], bool] | None:
    texts = settings.divergence_ignore
    return event_matcher("--divergence-ignore", texts) if texts else None
