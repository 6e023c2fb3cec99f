"""What a proxy costs: CPU time of its process per request, for all subjects side by side in one run.

The subjects all run from the start and are loaded one after the other, round by round (A B C A B C …), so that
whatever else the machine does meets all of them alike. Ratios are taken within a round and then the median of them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.load import COUNTERS, LoadResult, run_load
from bench.pipeline import send_pipelined
from bench.processes import cpu_s, rss_bytes
from bench.requests import increments
from bench.subjects import Running, start_subject

_WARM_UP_S = 1
_PREFILL_WINDOW = 256

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: which subjects, how long and how often."""

    subjects: Sequence[str]
    connections: int
    seconds: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Slice:
    """One subject under load for a few seconds. CPU in microseconds per request; none for a proxy that is not there."""

    subject: str
    round: int
    load: LoadResult
    proxy_cpu_us: float | None
    target_cpu_us: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """All slices of a run, and the resident memory of each proxy at its end."""

    plan: Plan
    slices: list[Slice]
    rss_bytes: dict[str, int]


def measure_cost(plan: Plan, directory: Path, progress: Progress) -> Measurement:
    """Start the subjects, load them by turns, end them. Raises ProcessError, LoadError, PipelineError or OSError."""
    with ExitStack() as stack:
        running: list[Running] = []
        for name in plan.subjects:
            progress(f"starting {name}")
            running.append(start_subject(name, directory / name, stack))
        for subject in running:
            progress(f"warming up {subject.name}")
            create_counters(subject)
            run_load(subject.port, connections=plan.connections, seconds=_WARM_UP_S, seed=0)
        slices: list[Slice] = []
        for number in range(1, plan.rounds + 1):
            for subject in running:
                slices.append(_measure_slice(subject, plan, number))
                progress(f"round {number}/{plan.rounds} {describe(slices[-1])}")
        memory = {subject.name: rss_bytes(subject.proxy.pid) for subject in running if subject.proxy is not None}
        return Measurement(plan, slices, memory)


def describe(measured: Slice) -> str:
    """A slice in one line."""
    cpu = "     -" if measured.proxy_cpu_us is None else f"{measured.proxy_cpu_us:6.1f}"
    load = measured.load
    text = f"{measured.subject:<24} {cpu} µs  {load.requests_per_s:8.0f}/s  p95 {load.p95_ms:7.2f} ms"
    return text + (f"  {load.errors_total} errors" if load.errors_total else "")


def create_counters(subject: Running) -> None:
    """Create the counters that the load reads, so that no read is a 404. Raises PipelineError or OSError."""
    # Past the proxy: one that syncs each request would take long, and nothing is replayed here.
    send_pipelined(subject.target_port, increments(COUNTERS, COUNTERS), _PREFILL_WINDOW)


def _measure_slice(subject: Running, plan: Plan, number: int) -> Slice:
    pids = [child.pid for child in (subject.target, subject.proxy) if child is not None]
    before = [cpu_s(pid) for pid in pids]
    load = run_load(subject.port, connections=plan.connections, seconds=plan.seconds, seed=number)
    used_us = [(cpu_s(pid) - start) * 1e6 / load.requests for pid, start in zip(pids, before, strict=True)]
    for child in (subject.target, subject.proxy):
        if child is not None:
            child.check_alive()
    return Slice(subject.name, number, load, used_us[1] if subject.proxy is not None else None, used_us[0])
