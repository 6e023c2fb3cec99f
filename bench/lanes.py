"""What lanes are worth where handlers are slow: throughput live and in a replay, for each order.

One client for each key sends one request after the other; then the target is killed and started again empty.
"""

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import Child, ProcessError, free_port
from bench.subjects import interceptor_command

RECOVERY_TIMEOUT_S = 120.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """How many clients with a key each, how long a handler takes, and for how long requests are sent."""

    keys: int
    handler_ms: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """Events a second; `order` and `lanes` as they were asked for."""

    order: str
    lanes: int
    live_rate: float
    replay_rate: float


def measure_lanes(plan: Plan, subjects: Sequence[tuple[str, int]], directory: Path) -> list[Row]:
    """Measure each (order, lanes).  Raises ProcessError or OSError."""
    return [_measure(plan, order, lanes, directory / str(number)) for number, (order, lanes) in enumerate(subjects)]


def table(rows: Sequence[Row]) -> str:
    """The rows as text, with how many times the first one's throughput each has."""
    lines = [f"{'order':<24}{'lanes':>6}{'live/s':>10}{'':>8}{'replay/s':>10}{'':>8}"]
    first = rows[0]
    lines += [
        f"{row.order:<24}{row.lanes:>6}{row.live_rate:>10.0f}{row.live_rate / first.live_rate:>7.1f}x"
        f"{row.replay_rate:>10.0f}{row.replay_rate / first.replay_rate:>7.1f}x"
        for row in rows
    ]
    return "\n".join(lines)


def _measure(plan: Plan, order: str, lanes: int, directory: Path) -> Row:
    directory.mkdir()
    target_port, port, admin_port = free_port(), free_port(), free_port()
    slow = [sys.executable, "-m", "bench.slow_target", "--port", str(target_port), "--handler-ms", str(plan.handler_ms)]
    command = interceptor_command(target_port, port, admin_port, f"file://{directory}/log", "strict")
    command += ["--order", order, "--lanes", str(lanes), "--hold-time-max-s", str(RECOVERY_TIMEOUT_S)]
    with ExitStack() as stack:
        target = stack.enter_context(Child(slow, directory / "first.out"))
        target.wait_until_listening(target_port)
        proxy = stack.enter_context(Child(command, directory / "interceptor.out"))
        proxy.wait_until_listening(port)
        answered = asyncio.run(_load(port, plan))
        target.kill()
        stack.enter_context(Child(slow, directory / "second.out"))
        return Row(order, lanes, answered / plan.seconds, _replay_rate(admin_port))


async def _load(port: int, plan: Plan) -> int:
    end_s = time.monotonic() + plan.seconds
    return sum(await asyncio.gather(*(_client(port, key, end_s) for key in range(plan.keys))))


async def _client(port: int, key: int, end_s: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while time.monotonic() < end_s:
        writer.write(b"POST /rooms/%d/messages HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n" % key)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ProcessError(f"an answer was not 200: {head[:200]!r}")
        await reader.readexactly(2)
        answered += 1
    writer.close()
    return answered


def _replay_rate(admin_port: int) -> float:
    deadline_s = time.monotonic() + RECOVERY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/state", timeout=10.0) as answer:
            state: dict[str, Any] = json.load(answer)
        if state["last_recovery"] is not None:
            return float(state["last_recovery"]["rate"])
        time.sleep(POLL_S)
    raise ProcessError(f"no recovery within {RECOVERY_TIMEOUT_S:g} s")
