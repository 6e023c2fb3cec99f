"""Recovery against the log's length, while clients go on: by replay, and by each checkpoint engine that works here.

The target is supervised and killed with SIGKILL under a steady load. The figures come with a check: the state holds
every acknowledged increment exactly once, and no client has seen an error.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.checkpoints import CheckpointBenchError, ask, kill_and_wait, until_active
from bench.engines import ENGINES, EngineMissingError, engine_options
from bench.pipeline import send_pipelined
from bench.processes import Child, ProcessError, free_port
from bench.replay import measure_target
from bench.requests import increments
from bench.steady import SteadyLoad
from bench.subjects import interceptor_command

EVENTS = (1000, 10_000, 20_000, 100_000, 1_000_000)
REPLAY, HTTP = "replay", "http"
CLIENTS, RATE_PER_S = 20, 200.0
COUNTERS = 1000
_STEP_EVENTS = 100_000
_WINDOW = 512
_LEAD_S = 0.5
# Behind a checkpoint stands a hundredth of the log.
_TAIL = 100

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recovered:
    """Seconds of one recovery from the loss of the connection on, as the interceptor reports them.

    `slowest_client_s` is the clients' own clock: the longest wait of those who went on asking. `target_alone_s` is what
    the target takes for the same events with nobody in between.
    """

    way: str
    events: int
    detected_s: float
    target_back_s: float
    total_s: float
    replayed: int
    replay_s: float
    slowest_client_s: float
    failed: int
    target_alone_s: float


@dataclass(frozen=True, slots=True)
class Recoveries:
    """What was measured, and which ways are not there and why."""

    rows: list[Recovered]
    missing: dict[str, str]


def measure_recoveries(lengths: Sequence[int], directory: Path, progress: Progress) -> Recoveries:
    """Measure each length by each way.

    Raises CheckpointBenchError for a wrong state, ProcessError, PipelineError or OSError.
    """
    engines, missing = list(ENGINES), dict[str, str]()
    rows: list[Recovered] = []
    for events in lengths:
        place = directory / str(events)
        place.mkdir()
        alone_s = measure_target(events, _WINDOW, place).seconds
        for engine in list(engines):
            (place / engine).mkdir()
            try:
                rows += asyncio.run(_measure(engine, events, alone_s, place / engine))
            except (EngineMissingError, ProcessError, OSError) as error:
                # That replay works is the point; another engine may lack what it needs on this machine.
                if engine == HTTP:
                    raise
                missing[engine] = str(error)[-300:]
                engines.remove(engine)
                progress(f"{engine}: not measured, {missing[engine]}")
        for row in rows:
            if row.events == events:
                progress(describe_recovery(row))
    return Recoveries(rows, missing)


async def _measure(engine: str, events: int, alone_s: float, directory: Path) -> list[Recovered]:
    """One log, and two deaths: through a checkpoint, then (once, with the engine http) by replay of everything."""
    target_port, port, admin_port = free_port(), free_port(), free_port()
    command = interceptor_command(target_port, port, admin_port, f"file://{directory}/log", "strict")
    command += [*engine_options(engine), "--hold-time-max-s", "300", "--"]
    command += [sys.executable, "-m", "bench.counter", "--port", str(target_port)]
    with Child(command, directory / "interceptor.out") as proxy:
        proxy.wait_until_listening(port, 30.0)
        until_active(admin_port)
        tail = events // _TAIL
        await asyncio.to_thread(_fill, port, events - tail, 1)
        await asyncio.to_thread(ask, admin_port, "/checkpoint", "POST")
        await asyncio.to_thread(_fill, port, tail, 2)
        acknowledged = events
        rows: list[Recovered] = []
        for way in (engine, REPLAY) if engine == HTTP else (engine,):
            if way == REPLAY:
                await asyncio.to_thread(_forget_checkpoints, admin_port)
            load, record = await _kill_under_load(port, admin_port)
            acknowledged += load.acknowledged
            _check(ask(port), acknowledged, load)
            if (record["from"] == 1) != (way == REPLAY):
                raise CheckpointBenchError(f"the recovery by {way} began at version {record['from']}")
            rows.append(_row(way, events, record, load, alone_s))
        return rows


def _fill(port: int, events: int, seed: int) -> None:
    for start in range(0, events, _STEP_EVENTS):
        send_pipelined(port, increments(min(_STEP_EVENTS, events - start), COUNTERS, seed=seed + start), _WINDOW)


def _forget_checkpoints(admin_port: int) -> None:
    for entry in ask(admin_port, "/checkpoint"):
        ask(admin_port, f"/checkpoint?id={entry['id']}", "DELETE")


async def _kill_under_load(port: int, admin_port: int) -> tuple[SteadyLoad, dict[str, Any]]:
    load = SteadyLoad(answer_timeout_s=300.0)
    running = asyncio.create_task(load.run(port, RATE_PER_S, CLIENTS))
    try:
        await asyncio.sleep(_LEAD_S)
        await asyncio.to_thread(kill_and_wait, admin_port)
        await asyncio.sleep(_LEAD_S)
    finally:
        load.running = False
        await running
    record: dict[str, Any] = (await asyncio.to_thread(ask, admin_port, "/state"))["last_recovery"]
    return load, record


def _check(state: dict[str, Any], acknowledged: int, load: SteadyLoad) -> None:
    if state["total"] != acknowledged or load.failed:
        raise CheckpointBenchError(
            f"{acknowledged} increments were acknowledged, {state['total']} are in the state, {load.failed} failed"
        )


def _row(way: str, events: int, record: dict[str, Any], load: SteadyLoad, alone_s: float) -> Recovered:
    return Recovered(
        way=way, events=events, detected_s=record["detected_after_s"], target_back_s=record["target_back_after_s"],
        total_s=record["total_s"], replayed=record["events"], replay_s=record["seconds"],
        slowest_client_s=round(load.slowest_s, 4), failed=load.failed, target_alone_s=round(alone_s, 4),
    )  # fmt: skip


def describe_recovery(row: Recovered) -> str:
    """A recovery in one line."""
    return (
        f"{row.events:>9} events by {row.way:<7} detected {row.detected_s * 1000:6.1f} ms, target back "
        f"{row.target_back_s:6.3f} s, {row.replayed} replayed in {row.replay_s:7.3f} s, all {row.total_s:7.3f} s; "
        f"slowest client {row.slowest_client_s:7.3f} s; target alone {row.target_alone_s:7.3f} s"
    )
