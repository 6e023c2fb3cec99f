"""The faults: how each is done, where it makes sense, and what is legal while it is at work."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.chaos.expectation import (
    BEYOND_HOLD,
    INTERCEPTOR_KILLED,
    INTERCEPTOR_KILLED_TARGET_LIVES,
    INVISIBLE,
    LIVING_TARGET_UNSUPERVISED,
    ORDERLY_STOP,
    POISON,
    Expectation,
)
from bench.chaos.history import Ending
from bench.chaos.plan import Plan
from bench.chaos.world import World


def _always(plan: Plan) -> bool:
    return True


@dataclass(frozen=True)
class Fault:
    """`weight`: how often it is chosen, beside the others that are possible.  `alone`: only without a second one."""

    name: str
    inject: Callable[[World, random.Random], Awaitable[None]]
    expected: Callable[[Plan], Expectation] = lambda plan: INVISIBLE
    possible: Callable[[Plan], bool] = _always
    weight: int = 2
    alone: bool = False


# --- the target


async def _kill(world: World, chance: random.Random) -> None:
    pid = world.target.pid
    world.target.signal(signal.SIGKILL)
    await world.target.until_another(pid)


async def _kill_in_bursts(world: World, chance: random.Random) -> None:
    """Again before it has recovered from the last: nothing that it was working on is to blame."""
    pause_s = chance.choice((0.02, 0.075, 0.2))
    for _ in range(chance.randint(4, 8)):
        await _kill(world, chance)
        await asyncio.sleep(pause_s)


async def _stop_and_continue(world: World, chance: random.Random) -> None:
    world.target.signal(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(0.01, 0.4))
    world.target.signal(signal.SIGCONT)


async def _kill_group(world: World, chance: random.Random) -> None:
    pid = world.target.pid
    world.target.kill_all()
    await world.target.until_another(pid)


async def _crash_on_start(world: World, chance: random.Random) -> None:
    crashes = chance.randint(1, 3)
    for number in range(1, crashes + 1):
        world.target.order(f"crash-{number}")
    await _kill(world, chance)
    await world.target.until_taken(*(f"crash-{number}" for number in range(1, crashes + 1)))


async def _slow_start(world: World, chance: random.Random) -> None:
    world.target.order("start-delay", str(chance.uniform(0.1, 0.5)))
    await _kill(world, chance)


async def _warm_up(world: World, chance: random.Random) -> None:
    """It is back on its port before it is ready."""
    world.target.order("warm-up", str(chance.uniform(0.05, 0.6)))
    await _kill(world, chance)


async def _outage(world: World, chance: random.Random) -> None:
    world.target.restart_after_s = world.plan.hold_s + 1.0
    refused = sum(operation.ending is Ending.REFUSED for client in world.clients for operation in client.operations)
    pid = world.target.pid
    world.target.kill_all()
    await world.target.until_another(pid)
    world.target.restart_after_s = 0.0
    now = sum(operation.ending is Ending.REFUSED for client in world.clients for operation in client.operations)
    if now == refused:
        world.history.notes.append("an outage beyond the hold window, and nobody got 503")


def _ordered(name: str) -> Callable[[World, random.Random], Awaitable[None]]:
    async def inject(world: World, chance: random.Random) -> None:
        world.target.order("order", name)
        await world.target.until_taken("order")
        # Whoever dies or closes because of it does so now.
        await asyncio.sleep(0.05)

    return inject


async def _poison(world: World, chance: random.Random) -> None:
    operation = await world.aside.send_poison()
    if operation.status != 502:
        world.history.notes.append(f"the client of poison {operation.id} got {operation.status} instead of 502")


# --- the interceptor


async def _kill_interceptor(world: World, chance: random.Random) -> None:
    await world.proxy.kill()
    await asyncio.sleep(chance.uniform(0.0, 0.2))
    world.proxy.start()


async def _kill_both(world: World, chance: random.Random) -> None:
    """And the power: what no flush has covered is gone."""
    pid = world.target.pid
    await world.proxy.kill()
    world.target.kill_all()
    world.target.signal(signal.SIGKILL)
    if world.database is not None:
        await asyncio.to_thread(world.database.crash)
    elif not world.plan.small_disk:
        world.disk.cut_power()
    if not world.plan.supervised:
        await world.target.until_another(pid)
        await world.target.until_listening()
    world.proxy.start()


async def _restart_interceptor(world: World, chance: random.Random) -> None:
    status = await world.proxy.terminate()
    if status != 0:
        world.history.notes.append(f"the interceptor ended with {status} after SIGTERM")
    world.proxy.start()


async def _hold(world: World, chance: random.Random) -> None:
    if chance.random() < 0.7:
        world.target.order("order", "slow")
    await world.quiet("a hold on demand")


# --- the log and the clock


async def _slow_log(world: World, chance: random.Random) -> None:
    world.disk.begin("slow")
    await asyncio.sleep(chance.uniform(0.2, 0.8))
    world.disk.end("slow")


async def _slow_log_and_both_killed(world: World, chance: random.Random) -> None:
    """While a flush is under way there is something to lose."""
    world.disk.begin("slow")
    await asyncio.sleep(chance.uniform(0.1, 0.4))
    await _kill_both(world, chance)
    world.disk.end("slow")


async def _full_log(world: World, chance: random.Random) -> None:
    assert world.small_disk is not None
    world.small_disk.fill()
    await asyncio.sleep(chance.uniform(0.2, 0.8))
    world.small_disk.make_room()


async def _frozen_database(world: World, chance: random.Random) -> None:
    assert world.database is not None
    world.database.freeze()
    try:
        await asyncio.sleep(chance.uniform(0.2, 0.8))
    finally:
        world.database.thaw()


async def _crashed_database(world: World, chance: random.Random) -> None:
    assert world.database is not None
    await asyncio.to_thread(world.database.crash)


async def _step_clock(world: World, chance: random.Random) -> None:
    world.disk.step_clock(chance.choice((-86_400, -3_600, -30, 30, 3_600, 86_400)))
    await asyncio.sleep(0.1)


# --- what is legal


def _living_target_closes(plan: Plan) -> Expectation:
    return INVISIBLE if plan.supervised else LIVING_TARGET_UNSUPERVISED


def _interceptor_killed(plan: Plan) -> Expectation:
    exact = plan.supervised or plan.wait_on_unclean or plan.kind.prefork
    return INTERCEPTOR_KILLED if exact else INTERCEPTOR_KILLED_TARGET_LIVES


def _in_files(plan: Plan) -> bool:
    return not plan.postgres


def _in_a_database(plan: Plan) -> bool:
    return plan.postgres


def _target_can_be_made_new(plan: Plan) -> bool:
    """A database lacks what was delivered and not committed: a target that lives on holds more than the log."""
    return not plan.postgres or _interceptor_killed(plan) is INTERCEPTOR_KILLED


def _on_the_wire(plan: Plan) -> bool:
    return plan.kind.on_the_wire


_WIRE = ("half-head-close", "garbage", "close-after")
_DEADLY = ("exit-before", "exit-after", "exit-between")

FAULTS = {
    fault.name: fault
    for fault in (
        Fault("kill", _kill, weight=20),
        Fault("kill-burst", _kill_in_bursts, weight=4),
        Fault("stop", _stop_and_continue, weight=4),
        Fault("kill-group", _kill_group, possible=lambda plan: not plan.supervised),
        Fault("crash-on-start", _crash_on_start, possible=lambda plan: not plan.kind.prefork),
        Fault("slow-start", _slow_start),
        Fault("warm-up", _warm_up, possible=lambda plan: plan.ready_path, weight=4),
        *(Fault(name, _ordered(name)) for name in (*_DEADLY, "slow")),
        *(Fault(name, _ordered(name), possible=_on_the_wire) for name in ("half-head-exit", "half-answer-exit")),
        Fault("hang-in-answer", _ordered("hang-in-answer"), possible=_on_the_wire),
        *(Fault(name, _ordered(name), _living_target_closes, _on_the_wire) for name in _WIRE),
        Fault("poison", _poison, lambda plan: POISON, lambda plan: not plan.kind.prefork, weight=1, alone=True),
        Fault(
            "outage",
            _outage,
            lambda plan: BEYOND_HOLD,
            lambda plan: plan.short_hold and not plan.supervised,
            weight=8,
            alone=True,
        ),
        Fault("kill-interceptor", _kill_interceptor, _interceptor_killed, _target_can_be_made_new),
        Fault("kill-both", _kill_both, lambda plan: INTERCEPTOR_KILLED),
        Fault("restart-interceptor", _restart_interceptor, lambda plan: ORDERLY_STOP),
        Fault("hold", _hold, alone=True),
        Fault("log-slow", _slow_log, possible=_in_files),
        Fault("log-slow-kill-both", _slow_log_and_both_killed, lambda plan: INTERCEPTOR_KILLED, _in_files),
        Fault("log-full", _full_log, possible=lambda plan: plan.small_disk, weight=8),
        Fault("log-frozen", _frozen_database, possible=_in_a_database, weight=8),
        Fault("log-crash", _crashed_database, possible=_in_a_database, weight=8, alone=True),
        Fault("clock-step", _step_clock),
    )
}


# What may happen at the same time as another fault.
SECOND = ("kill", "stop", "log-slow")


def possible_faults(plan: Plan) -> list[Fault]:
    """Return the faults that make sense in a run, and were asked for."""
    chosen = [FAULTS[name] for name in plan.only] if plan.only else list(FAULTS.values())
    return [fault for fault in chosen if fault.possible(plan)]
