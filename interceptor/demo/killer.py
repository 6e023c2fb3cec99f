"""Kills the application, watches it come back, and notes how long each part of that took.

All times count from the SIGKILL itself, not from the moment in which the interceptor noticed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

from interceptor.demo.errors import DemoError
from interceptor.demo.stage import Stage
from interceptor.demo.traffic import Traffic

RECOVERY_TIMEOUT_S = 30.0
POLL_S = 0.002
# How far a replay has come, as a share, when the application is killed in the middle of it.
CAUGHT_AT_SHARES = (0.1, 0.6)


@dataclass
class Kill:
    """One SIGKILL.  What the interceptor did about it is None where another kill cut that short."""

    number: int
    pid: int
    at_s: float
    """Since the traffic began."""
    epoch_s: float
    acknowledged_before: int
    """Increments that clients had been told were done."""
    amid_recovery: bool = False
    detected_s: float | None = None
    listening_s: float | None = None
    events: int | None = None
    rate: float | None = None
    recovered_s: float | None = None
    slowest_answer_s: float | None = None


class Killer:
    """Strikes when told to.  `phase` says what is going on, for whoever draws it."""

    def __init__(self, stage: Stage, traffic: Traffic, chance: random.Random) -> None:
        self.phase = "serving"
        self.kills: list[Kill] = []
        self.caught_a_recovery = False
        self._stage = stage
        self._traffic = traffic
        self._random = chance
        self._began_s = monotonic()

    async def strike(self, *, twice: bool) -> list[Kill]:
        """Kill the application, `twice`: again while the log is projected into it; return when all are answered.

        There is one kill only where the recovery was over before it could be caught.  Raises DemoError.
        """
        state = await self._stage.state()
        lives_before = int(state["target"]["incarnations"])
        self._traffic.tally.take_slowest_s()
        kills = [self._kill(state)]
        if twice and await self._catch_projection(kills[0], lives_before):
            kills.append(self._kill(await self._stage.state()))
        state = await self._await_recovery({kill.pid for kill in kills}, lives_before)
        # Both deaths belong to one recovery only if no incarnation was brought into step between them.
        if len(kills) == 2 and state["target"]["incarnations"] == lives_before + 1:
            kills[1].amid_recovery = self.caught_a_recovery = True
        _note_recovery(kills, state["last_recovery"])
        self.phase = "answering those who waited"
        await self._traffic.wait_until_answered()
        kills[-1].slowest_answer_s = self._traffic.tally.take_slowest_s()
        self.phase = "serving"
        return kills

    def _kill(self, state: dict[str, Any]) -> Kill:
        pid = state["target"]["pid"]
        acknowledged = self._traffic.tally.acknowledged
        kill = Kill(len(self.kills) + 1, pid, monotonic() - self._began_s, time(), acknowledged)
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, TypeError) as error:
            raise DemoError("the application had died by itself before it could be killed") from error
        self.kills.append(kill)
        self.phase = f"killed pid {pid}"
        return kill

    async def _catch_projection(self, first: Kill, lives_before: int) -> bool:
        """Wait for a moment in the middle of the replay; False if it was over before."""
        share = self._random.uniform(*CAUGHT_AT_SHARES)
        async with _patience():
            while True:
                state = await self._look()
                projection = state["projection"]
                if projection and state["target"]["pid"] not in (None, first.pid):
                    if projection["events"] >= share * projection["to"]:
                        return True
                elif state["target"]["incarnations"] > lives_before:
                    return False
                await asyncio.sleep(POLL_S)

    async def _await_recovery(self, killed_pids: set[int], lives_before: int) -> dict[str, Any]:
        async with _patience():
            while True:
                state = await self._look()
                target = state["target"]
                back = target["incarnations"] > lives_before and target["pid"] not in (None, *killed_pids)
                if back and state["state"] == "Active":
                    return state
                await asyncio.sleep(POLL_S)

    async def _look(self) -> dict[str, Any]:
        self._stage.ensure_alive()
        state = await self._stage.state()
        projection = state["projection"]
        if projection:
            self.phase = f"replaying {projection['events']:,} of {projection['to']:,}"
        elif state["state"] != "Active":
            self.phase = f"dead, {self._traffic.waiting} clients wait"
        return state


def _note_recovery(kills: list[Kill], recovery: dict[str, Any]) -> None:
    last = kills[-1]
    ended = float(recovery["at"])
    began = ended - float(recovery["total_s"])
    # A recovery that was cut short and begun again tells of its first detection and of its last return.
    first = kills[0] if last.amid_recovery else last
    first.detected_s = max(0.0, began + recovery["detected_after_s"] - first.epoch_s)
    last.listening_s = max(0.0, began + recovery["target_back_after_s"] - last.epoch_s)
    last.recovered_s = max(0.0, ended - last.epoch_s)
    last.events = recovery["events"]
    last.rate = recovery["rate"]


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(RECOVERY_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise DemoError(f"the application was not back within {RECOVERY_TIMEOUT_S:g} s") from error
