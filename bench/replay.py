"""How fast a target gets its memory back: the target's own speed against the interceptor's recovery.

First the target alone takes the events over one pipelined connection, with the fields that a proxy adds. Then the
same events go through an interceptor with a file log, the target is killed and started again empty, and the clock
runs from its new listening socket to the first answer that comes through the interceptor.
"""

import json
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.pipeline import send_pipelined
from bench.processes import Child, cpu_s, free_port
from bench.requests import increments
from bench.subjects import counter_command, interceptor_command

COUNTERS = 1000
ANSWER_TIMEOUT_S = 120.0


class ReplayError(Exception):
    """The state after the recovery is not the state before the crash, or an answer could not be read."""


@dataclass(frozen=True, slots=True)
class TargetSpeed:
    """The target alone: seconds for all events, and CPU microseconds for each."""

    seconds: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds of the load, and from the listening socket to the first answer; what the interceptor itself reports."""

    load_s: float
    first_answer_s: float
    reported: dict[str, Any]


def measure_target(events: int, window: int, directory: Path) -> TargetSpeed:
    """Deliver the events to a target without a proxy. Raises ProcessError, PipelineError or OSError."""
    port = free_port()
    requests = increments(events, COUNTERS, forwarded=True)
    with Child(counter_command(port), directory / "alone.out") as target:
        target.wait_until_listening(port)
        before = cpu_s(target.pid)
        seconds = send_pipelined(port, requests, window)
        return TargetSpeed(seconds, (cpu_s(target.pid) - before) * 1e6 / events)


def measure_recovery(events: int, window: int, durability: str, directory: Path) -> Recovery:
    """Load, kill, start again, wait for the answer. Raises ReplayError, ProcessError, PipelineError or OSError."""
    target_port, port, admin_port = free_port(), free_port(), free_port()
    command = interceptor_command(target_port, port, admin_port, f"file://{directory}/log", durability)
    with ExitStack() as stack:
        first = stack.enter_context(Child(counter_command(target_port), directory / "first.out"))
        first.wait_until_listening(target_port)
        proxy = stack.enter_context(Child(command, directory / "interceptor.out"))
        proxy.wait_until_listening(port)
        load_s = send_pipelined(port, increments(events, COUNTERS), window)
        before = _get_json(port)
        first.kill()
        second = stack.enter_context(Child(counter_command(target_port), directory / "second.out"))
        second.wait_until_listening(target_port)
        listening = time.perf_counter()
        after = _get_json(port)
        first_answer_s = time.perf_counter() - listening
        if after != before:
            raise ReplayError(f"the state differs: {before} before the crash, {after} after the recovery")
        return Recovery(load_s, first_answer_s, _last_recovery(admin_port))


def describe(events: int, target: TargetSpeed, recovery: Recovery | None) -> str:
    """Both rates and their ratio, as text."""
    lines = [
        f"target alone   {events / target.seconds:9.0f} events/s  {target.seconds:7.3f} s  "
        f"({target.cpu_us:.1f} µs CPU an event in the target)"
    ]
    if recovery is not None:
        lines += [
            f"load           {events / recovery.load_s:9.0f} events/s  {recovery.load_s:7.3f} s  "
            "(through the interceptor)",
            f"recovery       {events / recovery.first_answer_s:9.0f} events/s  {recovery.first_answer_s:7.3f} s  "
            "(listening socket to first answer)",
            f"recovery ÷ target alone: {recovery.first_answer_s / target.seconds:.2f} of its time",
            f"the interceptor's own report: {json.dumps(recovery.reported) if recovery.reported else 'none'}",
        ]
    return "\n".join(lines)


def _last_recovery(admin_port: int) -> dict[str, Any]:
    # Told beside our own figures: where it can't be had, they stand nevertheless.
    try:
        reported = _get_json(admin_port, "/state").get("last_recovery")
    except (OSError, ReplayError):
        return {}
    return reported if isinstance(reported, dict) else {}


def _get_json(port: int, path: str = "/") -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=ANSWER_TIMEOUT_S) as answer:
        raw = answer.read()
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise ReplayError(f"port {port} answered {path} with something that is no JSON: {raw[:200]!r}") from error
    if not isinstance(value, dict):
        raise ReplayError(f"port {port} answered {path} with something that is no object: {raw[:200]!r}")
    return value
