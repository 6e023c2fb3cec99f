"""From looks to verdicts: did the target die, when is there one again, and did it change while nobody was connected.

All waiting goes through a Clock, and no function holds the event loop longer than one look.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from interceptor.target.detection import DeathDetector

ReadyProbe = Callable[[], Awaitable[bool]]
"""Asks the target once whether it is ready. Has a timeout of its own."""

_EAGER_POLL_S = 0.002
_EAGER_FOR_S = 10.0
_PATIENT_POLL_S = 0.05
_READY_PAUSE_MIN_S = 0.002
_READY_PAUSE_MAX_S = 0.25
_READY_PAUSES = 8
# Where a look is expensive (see proc_net), polling takes at most a fifth of one CPU.
_PAUSE_PER_LOOK = 4.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Monotonic time in seconds, and waiting."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


SYSTEM_CLOCK = Clock()


class Verdict(enum.Enum):
    """What the loss of the ordered connection meant."""

    DEAD = "dead"
    """The incarnation is gone, and with it everything that an unanswered request may have done."""
    SAME = "same"
    """It lives and closed the connection: what was unanswered is ambiguous and must not be sent again."""


async def judge_loss(
    detector: DeathDetector,
    identity: str,
    settle_s: float = 0.05,
    poll_s: float = 0.001,
    clock: Clock = SYSTEM_CLOCK,
) -> Verdict:
    """Decide what the ordered connection was lost to. Report the loss to the detector first.

    A dying process closes its descriptors one after the other, so its listening socket can outlive the connection
    by a moment. DEAD therefore as soon as another identity or none is seen, SAME only after `settle_s` seconds without.
    Where somebody must be asked, there is no verdict until he has answered.
    Raises ListenerUnreadableError if the question cannot be answered.
    """
    settled_at = clock.now() + settle_s
    while True:
        began = clock.now()
        told = await detector.ask()
        if detector.look() != identity:
            return Verdict.DEAD
        ended = clock.now()
        if told and began >= settled_at:
            return Verdict.SAME
        await clock.sleep(max(poll_s, (ended - began) * _PAUSE_PER_LOOK))


async def wait_for_target(
    detector: DeathDetector,
    is_ready: ReadyProbe,
    on_overdue: Callable[[], Awaitable[None]],
    ready_timeout_s: float,
    clock: Clock = SYSTEM_CLOCK,
) -> str:
    """Wait, without limit, until a target is there and ready; its identity.

    Looks each 2 ms for 10 s, then each 50 ms. One that is there and not ready is asked again after pauses of an eighth
    of the time that it has taken so far, from 2 to 250 ms; `on_overdue` is called once when that is `ready_timeout_s`.
    Raises ListenerUnreadableError, and what the callbacks raise.
    """
    while True:
        identity = await _wait_until_there(detector, clock)
        if await _wait_until_ready(detector, identity, is_ready, on_overdue, ready_timeout_s, clock):
            return identity


async def _wait_until_there(detector: DeathDetector, clock: Clock) -> str:
    patient_at = clock.now() + _EAGER_FOR_S
    while True:
        began = clock.now()
        identity = detector.look() if await detector.ask() else None
        if identity is not None:
            return identity
        ended = clock.now()
        poll_s = _EAGER_POLL_S if ended < patient_at else _PATIENT_POLL_S
        await clock.sleep(max(poll_s, (ended - began) * _PAUSE_PER_LOOK))


async def _wait_until_ready(
    detector: DeathDetector,
    identity: str,
    is_ready: ReadyProbe,
    on_overdue: Callable[[], Awaitable[None]],
    ready_timeout_s: float,
    clock: Clock,
) -> bool:
    """Return false if it has gone meanwhile, or become another one."""
    began = clock.now()
    overdue_at = began + ready_timeout_s
    while not await is_ready():
        now = clock.now()
        if now >= overdue_at:
            overdue_at = float("inf")
            await on_overdue()
        await clock.sleep(min(max((now - began) / _READY_PAUSES, _READY_PAUSE_MIN_S), _READY_PAUSE_MAX_S))
        if not await detector.ask() or detector.look() != identity:
            return False
    # What was ready must be what was looked at.
    return await detector.ask() and detector.look() == identity
