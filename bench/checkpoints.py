"""What checkpoints are worth: a recovery through one beside a replay from the beginning, and recoveries under load.

The target is kept by CRIU, or hands its state out and takes it back (`http`).  Every figure comes with a check: the
state after the recovery is the one before it, and no client saw an error.
"""

import asyncio
import json
import os
import random
import signal
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engines import engine_options
from bench.pipeline import send_pipelined
from bench.processes import Child, free_port
from bench.requests import increments
from bench.steady import SteadyLoad
from bench.subjects import counter_command, interceptor_command

COUNTERS = 1000
TIMEOUT_S = 300.0
WINDOW = 512


class CheckpointBenchError(Exception):
    """A state that is not the one before, a request that failed, or an answer that could not be read."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds from the kill to the next answer, by each way, and the checkpoint's own figures."""

    engine: str
    checkpoint_s: float
    replay_s: float
    tail_events: int
    checkpoint: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """Recoveries (seconds from each death to Active again), blackouts, and what the clients saw."""

    recoveries_s: list[float]
    blackouts_s: list[float]
    checkpoints: int
    acknowledged: int
    failed: int
    slowest_s: float


def compare(engine: str, events: int, memory_mb: int, directory: Path) -> Comparison:
    """Kill a supervised target with `events` behind it; bring it back through a checkpoint, and without.

    Raises CheckpointBenchError, EngineMissingError, ProcessError, PipelineError or OSError.
    """
    target_port, port, admin_port = free_port(), free_port(), free_port()
    command = interceptor_command(target_port, port, admin_port, f"file://{directory}/log", "strict")
    command += [*engine_options(engine), "--", *counter_command(target_port), "--memory-mb", str(memory_mb)]
    tail = increments(events // 100, COUNTERS, seed=2)
    with Child(command, directory / "interceptor.out") as proxy:
        proxy.wait_until_listening(port)
        until_active(admin_port)
        send_pipelined(port, increments(events - len(tail), COUNTERS), WINDOW)
        checkpoint = ask(admin_port, "/checkpoint", "POST")
        send_pipelined(port, tail, WINDOW)
        before = ask(port)
        checkpoint_s = _first_answer_s(admin_port, port, before, from_version=checkpoint["version"] + 1)
        ask(admin_port, f"/checkpoint?id={checkpoint['id']}", "DELETE")
        replay_s = _first_answer_s(admin_port, port, before, from_version=1)
        return Comparison(engine, checkpoint_s, replay_s, len(tail), checkpoint)


def recover_under_load(
    engine: str, rate: int, seconds: float, kills: int, options: list[str], directory: Path
) -> UnderLoad:
    """Kill a supervised target at random moments of a steady load.

    Raises CheckpointBenchError, EngineMissingError, ProcessError or OSError.
    """
    target_port, port, admin_port = free_port(), free_port(), free_port()
    command = interceptor_command(target_port, port, admin_port, f"file://{directory}/log", "strict")
    command += [*engine_options(engine), *options, "--", *counter_command(target_port)]
    with Child(command, directory / "interceptor.out") as proxy:
        proxy.wait_until_listening(port)
        until_active(admin_port)
        found = asyncio.run(_load_with_kills(port, admin_port, rate, seconds, kills))
        total = ask(port)["total"]
        if total != found.acknowledged:
            raise CheckpointBenchError(f"{found.acknowledged} increments were acknowledged, {total} are in the state")
        return found


def describe_comparison(events: int, memory_mb: int, found: Sequence[Comparison]) -> str:
    """The times side by side, as text."""
    lines = [f"{memory_mb} MB of state, {events} events; seconds from the kill to the next answer, the state exact"]
    for each in found:
        phases = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in each.checkpoint["phases_s"].items())
        lines += [
            f"{each.engine:6}{each.checkpoint_s:8.3f} s   and a tail of {each.tail_events} events; "
            f"{each.checkpoint['size_bytes']} bytes, {phases}",
            f"replay{each.replay_s:8.3f} s   from version 1",
        ]
    return "\n".join(lines)


def describe_load(found: UnderLoad) -> str:
    """The recoveries and blackouts, as text."""
    recoveries = " ".join(f"{seconds:.2f}" for seconds in found.recoveries_s)
    blackouts = sorted(found.blackouts_s) or [0.0]
    return "\n".join((
        f"recoveries, seconds     {recoveries}",
        f"checkpoints             {found.checkpoints}, blackout of the last {len(blackouts)}: median "
        f"{blackouts[len(blackouts) // 2] * 1000:.1f} ms, longest {blackouts[-1] * 1000:.1f} ms",
        f"requests                {found.acknowledged} acknowledged, {found.failed} failed, "
        f"slowest {found.slowest_s:.2f} s",
    ))  # fmt: skip


async def _load_with_kills(port: int, admin_port: int, rate: int, seconds: float, kills: int) -> UnderLoad:
    chance = random.Random(3)
    load = SteadyLoad()
    running = asyncio.create_task(load.run(port, rate, 50))
    recoveries = []
    try:
        for _ in range(kills):
            await asyncio.sleep(seconds / kills * chance.uniform(0.6, 1.4))
            recoveries.append(await asyncio.to_thread(kill_and_wait, admin_port))
        await asyncio.sleep(seconds / kills / 2)
    finally:
        load.running = False
        await running
    entries = await asyncio.to_thread(ask, admin_port, "/checkpoint")
    taken = (await asyncio.to_thread(ask, admin_port, "/state"))["last_checkpoint"]["id"]
    blackouts = [entry["blackout_s"] for entry in entries]
    return UnderLoad(
        recoveries, blackouts, int(taken.rpartition("-")[2]), load.acknowledged, load.failed, load.slowest_s
    )


def kill_and_wait(admin_port: int) -> float:
    """Kill the target; return how long its recovery took, as the interceptor says."""
    state = ask(admin_port, "/state")
    before = state["target"]["incarnations"]
    os.kill(state["target"]["pid"], signal.SIGKILL)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        state = ask(admin_port, "/state")
        if state["target"]["incarnations"] > before:
            return float(state["last_recovery"]["total_s"])
        time.sleep(0.05)
    raise CheckpointBenchError(f"the target did not come back: {state['problem']}")


def _first_answer_s(admin_port: int, port: int, before: dict[str, Any], from_version: int) -> float:
    """Kill the target; return the seconds until a request is answered by the next one, with the same state."""
    pid = ask(admin_port, "/state")["target"]["pid"]
    killed = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    after = ask(port)
    seconds = time.perf_counter() - killed
    if after != before:
        raise CheckpointBenchError(f"the state differs: {before} before the crash, {after} after the recovery")
    began_at = ask(admin_port, "/state")["last_recovery"]["from"]
    if began_at != from_version:
        raise CheckpointBenchError(f"the recovery began at version {began_at} instead of {from_version}")
    return seconds


def until_active(admin_port: int) -> None:
    """Wait until requests pass. Raises CheckpointBenchError at the timeout."""
    deadline = time.monotonic() + TIMEOUT_S
    while ask(admin_port, "/state")["state"] != "Active":
        if time.monotonic() > deadline:
            raise CheckpointBenchError("the interceptor did not become Active")
        time.sleep(0.05)


def ask(port: int, path: str = "/", method: str = "GET") -> Any:
    """Return what 127.0.0.1:port answers, read as JSON (None for an empty answer). Raises OSError or ValueError."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        body = answer.read()
        return json.loads(body) if body else None
