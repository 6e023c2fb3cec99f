"""A data plane with a real lane, a scripted target and a detector that says what the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from interceptor.distribution import distribution, lane_count
from interceptor.divergence import OnDivergence
from interceptor.incident import OnUnclean
from interceptor.lane import Lane
from interceptor.limits import Limits
from interceptor.order import Order
from interceptor.pipelining import Pipelining
from interceptor.projector import Projector
from interceptor.recovery import Recovery
from interceptor.states import Cause, State, StateMachine
from interceptor.target.serving_process import ServingProcess
from tests.interceptor.conftest import DataPlane
from tests.interceptor.fake_log import FakeBackend
from tests.interceptor.fakes import FakeClient, FakeDetector, until
from tests.interceptor.target import Script, ScriptedTarget, echo


class FakeSupervisor:
    """Starts the target anew by giving it another identity."""

    def __init__(self, detector: FakeDetector) -> None:
        self._detector = detector
        self.restarts = 0

    async def restart(self) -> None:
        self.restarts += 1
        self._detector.identity = f"restarted-{self.restarts}"

    def child_has_proved_itself(self) -> None:
        """Nothing is delayed here."""


class AlwaysReady:
    """Takes a target that the detector names for ready: the scripts count their connections."""

    reason = ""

    async def attempt(self) -> bool:
        return True


class FromTheBeginning:
    """There are no checkpoints."""

    async def prepare(self, asked_version: int | None) -> int:
        return asked_version or 1

    def expect(self, asked_version: int | None) -> None:
        """Each begins anew."""


class Rig:
    """The parts of the ambassador that a recovery moves."""

    def __init__(
        self, target: ScriptedTarget, backend: FakeBackend, detector: FakeDetector, on_unclean: OnUnclean,
        supervised: bool, order: Order, lanes: int, on_divergence: OnDivergence, **limits: float,
    ) -> None:  # fmt: skip
        self.target = target
        self.backend = backend
        self.detector = detector
        self.machine = StateMachine()
        self.plane = DataPlane(backend, limits=Limits(**limits))  # type: ignore[arg-type]
        plane = self.plane
        self.lanes = [
            Lane(
                target.address, plane.limits, plane.counters,
                on_lost=lambda lane, why: self.recovery.lane_lost(lane, why), confirm=lambda: self.recovery.confirm(),
                pipelining=Pipelining.ON,  # each script says from its first request on what is under way
            )
            for _ in range(lane_count(order, lanes))
        ]  # fmt: skip
        self.lane = self.lanes[0]
        self.projector = Projector(self.lanes, plane.limits, distribution(order, self.lanes, plane.counters))
        plane.sequencer._deliver = self.projector.deliver
        self.supervisor = FakeSupervisor(detector) if supervised else None
        self.recovery = Recovery(
            self.machine, plane.journal, self.projector, detector, AlwaysReady(), ServingProcess(),
            self.supervisor, plane.limits, plane.counters, on_unclean, FromTheBeginning(),  # type: ignore[arg-type]
            on_divergence,
        )  # fmt: skip
        self.states: list[State] = []
        self.machine.add_listener(self._changed)

    def _changed(self, old: State, new: State, cause: Cause) -> None:
        self.states.append(new)
        if new is State.ACTIVE:
            self.plane.admission.open()
        elif old is State.ACTIVE:
            self.plane.admission.close()

    async def active(self) -> None:
        await self.machine.wait_for(lambda state: state is State.ACTIVE, 5.0)

    async def parked(self) -> str:
        await until(lambda: self.recovery.standing.problem is not None)
        assert self.machine.state is State.AWAITING
        assert self.recovery.standing.problem is not None
        return self.recovery.standing.problem

    def request(self, *paths: str) -> list[FakeClient]:
        """A request of a client each, all in one turn of the loop."""
        clients = [FakeClient() for _ in paths]
        for client, path in zip(clients, paths, strict=True):
            self.plane.admission.admit(self.plane.request(path, client=client))
        return clients

    async def answered(self, clients: list[FakeClient]) -> list[int | None]:
        await until(lambda: all(client.output for client in clients))
        return [client.status for client in clients]


@asynccontextmanager
async def recovering(
    script: Script = echo, *, backend: FakeBackend | None = None, detector: FakeDetector | None = None,
    on_unclean: OnUnclean = OnUnclean.ASSUME_APPLIED, supervised: bool = False,
    order: Order | None = None, lanes: int = 1, on_divergence: OnDivergence = OnDivergence.REPORT,
    **limits: float,
) -> AsyncIterator[Rig]:  # fmt: skip
    async with ScriptedTarget(script) as target:
        backend = backend or FakeBackend()
        backend.syncs_soon = True
        rig = Rig(
            target,
            backend,
            detector or FakeDetector(),
            on_unclean,
            supervised,
            order or Order(),
            lanes,
            on_divergence,
            **limits,
        )
        rig.recovery.start()
        try:
            yield rig
        finally:
            await rig.recovery.stop()
            for lane in rig.lanes:
                await lane.close()
