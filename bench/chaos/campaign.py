"""Runs in a row until the failures or the time are used up, each from a seed of its own."""

from __future__ import annotations

import asyncio
import random
import shlex
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.chaos.checker import check
from bench.chaos.faults import FAULTS, SECOND, Fault, possible_faults
from bench.chaos.history import Ending, History, Violation, save
from bench.chaos.plan import Plan, make_plan
from bench.chaos.proxy import INTERCEPTOR, ProxyError
from bench.chaos.world import World
from bench.processes import ProcessError

EPOCH_FAILURES = 3
# Between two faults: mostly after some work was done, now and then while the last one is being recovered from.
WORK_OPERATIONS_MAX = 60
HARDLY_SETTLED = 0.2
TWO_AT_ONCE = 0.2

_BROKEN = (ProxyError, ProcessError, OSError, TimeoutError, ValueError, KeyError, asyncio.IncompleteReadError)


@dataclass(frozen=True)
class Orders:
    """What was asked for.  `kinds` and `faults` empty: all.  `launcher`: the command in front of `run …`."""

    seed: int = 1
    failures: int = 100
    failures_per_run: int = 25
    seconds: float | None = None
    kinds: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    launcher: tuple[str, ...] = INTERCEPTOR
    work_dir: Path = Path("/var/tmp")
    histories: Path = Path("chaos-violations")
    stop_at_violation: bool = False
    variants: tuple[str, ...] = ()

    def repeat_command(self, plan: Plan) -> str:
        """The shortest command that does one run again."""
        options = [f"--seed {plan.seed}", f"--failures {plan.failures}"]
        options += [f"--kind {name}" for name in self.kinds] + [f"--fault {name}" for name in self.faults]
        options += [f"--variant {name}" for name in self.variants]
        if self.launcher != INTERCEPTOR:
            options.append(f"--launcher '{shlex.join(self.launcher)}'")
        return " ".join(["python -m bench chaos", *options])


@dataclass
class Findings:
    """One run, or the sum of several."""

    operations: int = 0
    acknowledged: int = 0
    refused: int = 0
    recoveries: int = 0
    restores: int = 0
    failures: int = 0
    runs: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    repeat: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Sum up."""
        for name in ("operations", "acknowledged", "refused", "recoveries", "restores", "failures", "runs", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults.update(other.faults)
        self.violations += other.violations
        self.repeat += other.repeat


async def run_campaign(orders: Orders, progress: Callable[[str], None]) -> Findings:
    """Run until the orders are fulfilled."""
    total = Findings()
    began = time.monotonic()
    seed = orders.seed
    while total.failures < orders.failures:
        plan = make_plan(
            seed, min(orders.failures_per_run, orders.failures - total.failures), orders.kinds, orders.faults,
            orders.variants,
        )  # fmt: skip
        if not possible_faults(plan):
            # The seed has chosen a kind of run in which none of the faults that were asked for makes sense.
            seed += 1
            continue
        findings = await run_once(orders, plan, progress)
        total.add(findings)
        total.seconds = time.monotonic() - began
        if not findings.failures:
            # It did not even begin, and the next one would not either.
            break
        if total.violations and orders.stop_at_violation:
            break
        if orders.seconds is not None and total.seconds > orders.seconds:
            break
        seed += 1
    return total


async def run_once(orders: Orders, plan: Plan, progress: Callable[[str], None]) -> Findings:
    """One run: faults in a row, then the check.  A violation's history is kept."""
    progress(f"seed {plan.seed}: {plan.describe()}")
    findings = Findings(runs=1)
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=orders.work_dir) as directory:
        history = await _history(orders, plan, Path(directory), findings, progress)
        findings.violations = check(history)
        if findings.violations:
            orders.histories.mkdir(parents=True, exist_ok=True)
            kept = orders.histories / f"seed-{plan.seed}.jsonl"
            save(history, findings.violations, kept)
            said = Path(directory) / "interceptor.out"
            if said.exists():
                kept.with_suffix(".out").write_bytes(said.read_bytes())
            findings.repeat = [f"{orders.repeat_command(plan)}    # history: {kept}"]
            for violation in findings.violations:
                progress(f"seed {plan.seed}: VIOLATION of {violation.rule}: {violation.text}")
    findings.operations = len(history.operations)
    findings.acknowledged = sum(operation.ending is Ending.ACKNOWLEDGED for operation in history.operations)
    findings.refused = sum(operation.ending is Ending.REFUSED for operation in history.operations)
    return findings


async def _history(
    orders: Orders, plan: Plan, directory: Path, findings: Findings, progress: Callable[[str], None]
) -> History:
    history = History()
    try:
        async with World(plan, orders.launcher, directory) as world:
            history = world.history
            await _hurt(world, plan, findings, progress)
            await world.finish()
            findings.recoveries, findings.restores = world.recoveries, world.restores
    except _BROKEN as error:
        history.notes.append(f"the run broke off: {error!r}")
    return history


async def _hurt(world: World, plan: Plan, findings: Findings, progress: Callable[[str], None]) -> None:
    chance = plan.chance
    faults = possible_faults(plan)
    await world.progress(20)
    while findings.failures < plan.failures:
        began_ns = time.monotonic_ns()
        done = _choose(faults, chance)
        names = " + ".join(fault.name for fault in done)
        progress(f"seed {plan.seed}: failure {findings.failures + 1} of {plan.failures}: {names}")
        async with asyncio.TaskGroup() as group:
            for fault in done:
                group.create_task(_inject(fault, world, chance))
        hurried = chance.random() < HARDLY_SETTLED and done[0].name == "kill"
        if hurried:
            await asyncio.sleep(chance.random() * 0.1)
        else:
            await world.settle()
        for fault in done:
            expected = fault.expected(plan)
            if plan.short_hold:
                # With a window of a second every failure may outlast it.
                expected = replace(expected, statuses=(*expected.statuses, 503))
            world.excuse(fault.name, began_ns, expected)
            world.history.uncertain_expected |= expected.uncertain
            world.history.divergences_expected |= expected.uncertain
            findings.faults[fault.name] += 1
        findings.failures += len(done)
        if findings.failures % EPOCH_FAILURES == 0:
            world.epoch += 1
        if not hurried:
            await world.progress(chance.randrange(1, WORK_OPERATIONS_MAX))


async def _inject(fault: Fault, world: World, chance: random.Random) -> None:
    try:
        await fault.inject(world, chance)
    except TimeoutError as error:
        raise ProxyError(f"the fault {fault.name} had no effect in time") from error


def _choose(faults: Sequence[Fault], chance: random.Random) -> list[Fault]:
    first = chance.choices(faults, [fault.weight for fault in faults])[0]
    if first.alone or chance.random() > TWO_AT_ONCE:
        return [first]
    second = [FAULTS[name] for name in SECOND if name != first.name and FAULTS[name] in faults]
    return [first, chance.choice(second)] if second else [first]
