"""Throughput against latency: from 50 clients to 10,000, the subjects taking turns at each number.

The clients are wrk's connections: closed loop, no thinking, so 50 of them already load a proxy fully. What grows with
their number is the queue, and with it the latency.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.cost import create_counters
from bench.load import LoadError, run_load
from bench.processes import Child, cpu_s, rss_bytes
from bench.subjects import Running, start_subject

CLIENTS = (50, 100, 200, 400, 1000, 2000, 5000, 10_000)
SUBJECTS = (
    "direct", "interceptor-memory", "interceptor-file-relaxed", "interceptor-file-strict",
    "interceptor-postgresql-relaxed", "interceptor-postgresql-strict", "nginx", "haproxy", "envoy", "aiohttp",
)  # fmt: skip
WARM_UP_S = 1
ANSWER_TIMEOUT_S = 30
# Ten thousand connections are not made in a second, and each must get several answers.
_CLIENTS_PER_SECOND = 2000

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Point:
    """One subject at one number of clients. CPU and memory are the proxy's; none where there is no proxy."""

    subject: str
    clients: int
    round: int
    generator: str
    requests: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    cpu_us: float | None
    rss_mib: float | None


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """Which subjects at which numbers of clients; `seconds` at least for each point, `rounds` points of each."""

    subjects: Sequence[str]
    clients: Sequence[int]
    seconds: int
    rounds: int


def measure_sweep(plan: SweepPlan, directory: Path, progress: Progress) -> list[Point]:
    """Measure every point; one that can't be is left out and said. Raises ProcessError, PipelineError or OSError."""
    with ExitStack() as stack:
        running: list[Running] = []
        for name in plan.subjects:
            progress(f"starting {name}")
            running.append(start_subject(name, directory / name, stack))
            create_counters(running[-1])
            run_load(running[-1].port, connections=50, seconds=WARM_UP_S, seed=0)
        points: list[Point] = []
        for number in range(1, plan.rounds + 1):
            for clients in plan.clients:
                for subject in running:
                    try:
                        points.append(_measure(subject, clients, plan.seconds, number))
                    except LoadError as error:
                        progress(f"{subject.name} with {clients} clients: no point, {error}")
                        continue
                    progress(describe_point(points[-1]))
        return points


def _measure(subject: Running, clients: int, seconds: int, number: int) -> Point:
    proxy = subject.proxy
    before = _cpu_s(proxy)
    load = run_load(
        subject.port,
        connections=clients,
        seconds=max(seconds, round(clients / _CLIENTS_PER_SECOND)),
        seed=number * 100_000 + clients,
        timeout_s=ANSWER_TIMEOUT_S,
    )
    for child in (subject.target, proxy):
        if child is not None:
            child.check_alive()
    return Point(
        subject=subject.name, clients=clients, round=number, generator="wrk", requests=load.requests,
        requests_per_s=round(load.requests_per_s, 1), p50_ms=load.p50_ms, p95_ms=load.p95_ms, p99_ms=load.p99_ms,
        max_ms=load.max_ms, errors=load.errors_total,
        cpu_us=None if proxy is None else round((_cpu_s(proxy) - before) * 1e6 / load.requests, 2),
        rss_mib=None if proxy is None else round(rss_bytes(proxy.pid) / 2**20, 1),
    )  # fmt: skip


def _cpu_s(proxy: Child | None) -> float:
    return 0.0 if proxy is None else cpu_s(proxy.pid)


def describe_point(point: Point) -> str:
    """A point in one line."""
    text = f"{point.clients:>6} clients  {point.subject:<30} {point.requests_per_s:8.0f}/s  "
    text += f"p50 {point.p50_ms:8.2f}  p95 {point.p95_ms:8.2f}  p99 {point.p99_ms:8.2f} ms"
    return text + (f"  {point.errors} errors" if point.errors else "")
