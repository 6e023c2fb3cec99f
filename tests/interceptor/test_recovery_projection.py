"""The projection in a recovery: asked for, interrupted, repeated (RFC 9110 §9.2.2, rules 1, 3, 8)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import pytest

from interceptor.address import Address
from interceptor.states import Cause, State
from tests.interceptor.fake_log import UNAVAILABLE, filled
from tests.interceptor.fakes import FakeDetector, ok, until
from tests.interceptor.recovering import recovering
from tests.interceptor.target import Connection


async def test_a_projection_that_an_operator_asks_for_reports_its_end() -> None:
    async with recovering(backend=filled(3), supervised=True) as rig:
        await rig.active()
        rig.machine.apply(Cause.HOLD)
        rig.machine.apply(Cause.DRAINED)
        result = await rig.recovery.reproject(None)
        assert (result["from"], result["to"], result["events"]) == (1, 3, 3)
        assert rig.supervisor is not None
        assert rig.supervisor.restarts == 1
        assert rig.machine.state is State.ACTIVE


async def test_a_projection_that_a_recovery_has_made_already_is_not_made_again() -> None:
    """Rule 3: who asks while the recovery of that very incarnation is under way must not have it all applied twice."""
    async with recovering(backend=filled(3)) as rig:
        asked_at = rig.recovery.standing.incarnations
        await rig.active()
        result = await rig.recovery.reproject(None, asked_at)
        assert result["already_in_step"]
        assert rig.target.asked == [["GET /1", "GET /2", "GET /3"]]


async def test_a_projection_that_the_log_cannot_feed_tells_its_caller() -> None:
    backend = filled(3)
    async with recovering(backend=backend, supervised=True) as rig:
        await rig.active()
        backend.trim(3)
        rig.machine.apply(Cause.HOLD)
        rig.machine.apply(Cause.DRAINED)
        with pytest.raises(Exception, match="version 1 is no longer"):
            await rig.recovery.reproject(None)


async def test_a_target_that_dies_during_the_projection_gets_it_from_the_beginning() -> None:
    detector = FakeDetector("life-1")

    async def script(connection: Connection) -> None:
        if detector.identity == "life-2":
            await connection.echo()
        await connection.requests(2)
        connection.write(ok(b"/1"))
        detector.identity = "life-2"
        connection.reset()

    async with recovering(script, backend=filled(3), detector=detector) as rig:
        await rig.active()
        assert [asked for asked in rig.target.asked if asked][-1] == ["GET /1", "GET /2", "GET /3"]


async def test_a_living_target_that_breaks_the_connection_during_the_projection_gets_nothing_twice() -> None:
    """Rule 3: exactly once to each incarnation, also where the projection is what was interrupted."""

    async def script(connection: Connection) -> None:
        if connection.number > 1:
            await connection.echo()
        await connection.requests(2)
        connection.write(ok(b"/1"))
        await connection.writer.drain()

    async with recovering(script, backend=filled(3)) as rig:
        await until(lambda: rig.recovery.standing.problem is not None or rig.machine.state is State.ACTIVE)
        assert sum(asked.count("GET /1") for asked in rig.target.asked) == 1


class ShortOfDescriptors:
    """A target that can't be connected to for a while, for a reason of our own."""

    def __init__(self, target: Address, failures: int) -> None:
        self._target = target
        self._failures = failures
        self.authority = target.authority

    async def connect(self, factory: Callable[[], asyncio.Protocol]) -> object:
        if self._failures:
            self._failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await self._target.connect(factory)


async def test_a_projection_that_finds_no_connection_to_a_living_target_goes_on_when_there_is_one() -> None:
    """Rule 3: nothing was sent, so nothing is in doubt, and nobody needs to restart the target."""
    async with recovering(backend=filled(3)) as rig:
        rig.lane.target = ShortOfDescriptors(rig.target.address, failures=3)  # type: ignore[assignment]
        await rig.active()
        assert [asked for asked in rig.target.asked if asked] == [["GET /1", "GET /2", "GET /3"]]
        assert rig.recovery.standing.problem is None


async def test_an_idle_connection_that_a_living_target_closes_amid_a_projection_costs_nothing() -> None:
    """Rule 3: everything that was sent on it had been answered."""

    async def script(connection: Connection) -> None:
        if connection.number > 1:
            await connection.echo()
        await connection.requests(2)
        connection.write(ok(b"/1"), ok(b"/2"))
        await connection.writer.drain()

    async with recovering(script, backend=filled(3), supervised=True) as rig:
        rig.recovery.quarantined.poison.serial = {3}
        rig.recovery.quarantined.poison.pause_s = lambda version: 0.05  # type: ignore[method-assign]
        await rig.active()
        assert [asked for asked in rig.target.asked if asked] == [["GET /1", "GET /2"], ["GET /3"]]
        assert rig.supervisor is not None
        assert rig.supervisor.restarts == 0


async def test_a_log_without_room_at_the_end_of_a_projection_only_delays() -> None:
    """LogBackend.store_facts may raise LogUnavailableError: the old facts then stand."""
    backend = filled(1)
    backend.fail_facts = UNAVAILABLE
    async with recovering(backend=backend) as rig:
        await until(lambda: rig.target.asked == [["GET /1"]])
        for _ in range(50):
            await asyncio.sleep(0)
        backend.fail_facts = None
        await rig.active()
