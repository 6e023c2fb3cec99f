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

ConnectProbe = Callable[[], Awaitable[bool]]
"""Tries to connect once, closes the connection again, and says whether it stood. Has a timeout of its own."""

_EAGER_POLL_S = 0.002
_EAGER_FOR_S = 10.0
_PATIENT_POLL_S = 0.05
_CONNECT_BACKOFF_MIN_S = 0.01
_CONNECT_BACKOFF_MAX_S = 0.5
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
    Raises ListenerUnreadableError if the question cannot be answered.
    """
    settled_at = clock.now() + settle_s
    while True:
        began = clock.now()
        if detector.look() != identity:
            return Verdict.DEAD
        ended = clock.now()
        if began >= settled_at:
            return Verdict.SAME
        await clock.sleep(max(poll_s, (ended - began) * _PAUSE_PER_LOOK))


async def wait_for_target(detector: DeathDetector, connect_probe: ConnectProbe, clock: Clock = SYSTEM_CLOCK) -> str:
    """Wait, without limit, until a target is there; its identity.

    Polls each 2 ms for 10 s, then each 50 ms. A target that cannot be looked at is tried by `connect_probe` instead,
    with pauses from 10 ms doubling to 500 ms. Raises ListenerUnreadableError, and what the probe raises.
    """
    if detector.awaits_connection:
        await _wait_for_connection(connect_probe, clock)
    patient_at = clock.now() + _EAGER_FOR_S
    while True:
        began = clock.now()
        identity = detector.look()
        if identity is not None:
            return identity
        ended = clock.now()
        poll_s = _EAGER_POLL_S if ended < patient_at else _PATIENT_POLL_S
        await clock.sleep(max(poll_s, (ended - began) * _PAUSE_PER_LOOK))


async def _wait_for_connection(connect_probe: ConnectProbe, clock: Clock) -> None:
    pause_s = _CONNECT_BACKOFF_MIN_S
    while not await connect_probe():
        await clock.sleep(pause_s)
        pause_s = min(pause_s * 2, _CONNECT_BACKOFF_MAX_S)
