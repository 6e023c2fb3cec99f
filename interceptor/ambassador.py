"""The ambassador: puts the parts of the picture in docs/architecture.md together, starts and stops them."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from time import monotonic, time

from interceptor.address import Address, UnixAddress
from interceptor.admission import Admission
from interceptor.checkpoint.idle import IdleRest
from interceptor.checkpoint.service import Checkpoints
from interceptor.counters import Counters
from interceptor.distribution import distribution, lane_count
from interceptor.errors import ConfigurationError, DrainTimeoutError
from interceptor.hold import Hold
from interceptor.hold_policy import HoldPolicy
from interceptor.journal import Journal
from interceptor.lane import Lane
from interceptor.lane_watch import LaneWatch
from interceptor.listener import Listener
from interceptor.log_opening import opened_log
from interceptor.message import Tagger, plain, without_tags
from interceptor.order import OrderKind, order_of_log
from interceptor.passages import Passages
from interceptor.projector import Projector
from interceptor.recovery import Recovery
from interceptor.release_gate import ReleaseGate
from interceptor.routing import Router, event_matcher
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
    async def open(cls, settings: Settings, stop: asyncio.Event | None = None) -> Ambassador:
        """Check the settings, open the log, and put the parts together; nothing else is started.

        `stop` ends the wait for a log that another writer has.
        Raises ConfigurationError, TargetStartError and the errors of the log.
        """
        detection = settings.effective_detection()
        settings.check_admin()
        settings.retention.check_possible(holds_state=settings.checkpoint.engine != "mark")
        settings.lane_count()
        router = Router(record_all=settings.record_all, bypass=settings.bypass, admin_same=settings.admin is None)
        if settings.command:
            ensure_nobody_listens(settings.target)
        backend = await opened_log(settings, stop or asyncio.Event())
        try:
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
        self.boot_id = (
            BootIdDetector(settings.target, settings.boot_id_path, limits, self.counters)
            if settings.boot_id_path is not None
            else None
        )
        self.detector: DeathDetector = ServedDetector(self.boot_id or self._make_detector(detection), self.serving)
        readiness = TargetReadiness(
            settings.target, settings.ready_path, limits.connect_timeout_s,
            self.serving if detection in (Detection.PROCESS, Detection.CONNECTION) else None,
        )  # fmt: skip
        lanes = self._make_lanes()
        self.projector = Projector(lanes, limits, distribution(settings.order, lanes, self.counters))
        self.projector.ignores = _divergence_filter(settings)
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
        only_lane = lanes[0] if settings.order.kind is OrderKind.TOTAL else None
        self._lane_watch = LaneWatch(only_lane, self.counters, DEADLINES_S) if only_lane is not None else None
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
        if self.boot_id is not None:
            self.boot_id.start(self.recovery.boot_id_changed)
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
        if self.boot_id is not None:
            await self.boot_id.stop()
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

    @property
    def able_to_hold(self) -> bool:
        """Readiness: the target has been in step once, and a request that comes now is served or held."""
        room = self.admission.held < self.settings.limits.hold_requests_max
        return self._was_active and room and not self.stopping and self.machine.state is not State.FAILED

    # --- inside

    def _make_lanes(self) -> list[Lane]:
        settings = self.settings
        written = Tagger().tagged if settings.tag_requests else plain
        return [
            Lane(
                settings.target,
                settings.limits,
                self.counters,
                on_lost=self._lane_lost,
                confirm=lambda: self.recovery.confirm(),
                ask=self.boot_id.ask if self.boot_id is not None else None,
                is_watched=lambda: self.serving.is_known_alive,
                written=written,
                pipelining=settings.pipelining,
                is_known_to_take_turns=lambda: self.serving.takes_turns,
            )
            for _ in range(lane_count(settings.order, settings.lane_count()))
        ]

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
        if new is State.SUSPECT:
            self.passages.target_suspected()
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
