"""A lane before a scripted target, what it was given, and what it told its owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from interceptor.address import Address
from interceptor.counters import Counters
from interceptor.lane import Lane
from interceptor.limits import Limits
from interceptor.pipelining import Pipelining
from tests.interceptor.fakes import FakeDelivery, event
from tests.interceptor.target import Script, ScriptedTarget, echo


class Rig:
    """A lane, what it was given, and what it told its owner."""

    def __init__(self, target: Address, pipelining: Pipelining = Pipelining.ON, **limits: float) -> None:
        self.losses: list[str] = []
        self.confirmed = True
        self.told = asyncio.Event()
        self.counters = Counters()
        self.lane = Lane(
            target, Limits(**limits), self.counters, on_lost=lambda _, why: self._lost(why),  # type: ignore[arg-type]
            confirm=lambda: self.confirmed, pipelining=pipelining,
        )  # fmt: skip
        self.deliveries: list[FakeDelivery] = []

    def _lost(self, why: str) -> None:
        self.losses.append(why)
        self.told.set()

    def send(self, count: int = 1, method: str = "GET", body: bytes = b"") -> list[FakeDelivery]:
        first = len(self.deliveries) + 1
        batch = [
            FakeDelivery(event(version, method=method, body=body), told=self.told)
            for version in range(first, first + count)
        ]
        self.deliveries.extend(batch)
        self.lane.send(batch)  # type: ignore[arg-type]
        return batch

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5.0):
            while not condition():
                self.told.clear()
                await self.told.wait()

    async def all_answered(self) -> None:
        await self.until(lambda: all(delivery.ended for delivery in self.deliveries))
        assert [delivery.content for delivery in self.deliveries] == [
            f"/{delivery.event.version}".encode() for delivery in self.deliveries
        ]

    async def lost(self) -> str:
        await self.until(lambda: bool(self.losses))
        assert len(self.losses) == 1
        return self.losses[0]


@asynccontextmanager
async def rig(
    script: Script = echo, pipelining: Pipelining = Pipelining.ON, **limits: float
) -> AsyncIterator[tuple[Rig, ScriptedTarget]]:
    async with ScriptedTarget(script) as target:
        made = Rig(target.address, pipelining, **limits)
        try:
            yield made, target
        finally:
            await made.lane.close()
