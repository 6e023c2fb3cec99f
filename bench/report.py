"""The report of a cost measurement: medians and spreads for each subject, as a table and as JSON."""

import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from statistics import median

from bench.build import interceptor_build
from bench.cost import Measurement, Slice
from bench.subjects import DIRECT

CPU_REFERENCES = ("nginx", "envoy", "floor")


@dataclass(frozen=True, slots=True)
class Row:
    """One subject: medians over its rounds; a spread is the least and the greatest. None where it does not apply."""

    subject: str
    cpu_us: float | None
    cpu_us_spread: tuple[float, float] | None
    cpu_ratios: dict[str, float]
    target_cpu_us: float
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p95_ratio_to_direct: float | None
    errors: int
    rss_mib: float | None


def summarise(measurement: Measurement) -> list[Row]:
    """One row for each subject, in the order of the plan."""
    slices = {
        name: [measured for measured in measurement.slices if measured.subject == name]
        for name in measurement.plan.subjects
    }
    return [_row(own, slices, measurement.rss_bytes.get(name)) for name, own in slices.items() if own]


def _row(own: list[Slice], slices: dict[str, list[Slice]], rss: int | None) -> Row:
    cpu = [measured.proxy_cpu_us for measured in own if measured.proxy_cpu_us is not None]
    return Row(
        subject=own[0].subject,
        cpu_us=median(cpu) if cpu else None,
        cpu_us_spread=(min(cpu), max(cpu)) if cpu else None,
        cpu_ratios={
            name: ratio for name in CPU_REFERENCES if (ratio := cpu_ratio(own, slices.get(name, []))) is not None
        },
        target_cpu_us=median(measured.target_cpu_us for measured in own),
        requests_per_s=median(measured.load.requests_per_s for measured in own),
        p50_ms=median(measured.load.p50_ms for measured in own),
        p95_ms=median(measured.load.p95_ms for measured in own),
        p99_ms=median(measured.load.p99_ms for measured in own),
        p95_ratio_to_direct=_ratio(own, slices.get(DIRECT, []), lambda measured: measured.load.p95_ms),
        errors=sum(measured.load.errors_total for measured in own),
        rss_mib=None if rss is None else rss / 2**20,
    )


def cpu_ratio(own: list[Slice], reference: list[Slice]) -> float | None:
    """The median over the rounds of how much more CPU a request took than the reference's."""
    return _ratio(own, reference, lambda measured: measured.proxy_cpu_us)


def _ratio(own: list[Slice], reference: list[Slice], value: Callable[[Slice], float | None]) -> float | None:
    """The median of the ratios within each round, or None where one side has no values."""
    pairs = [(value(one), value(other)) for one, other in zip(own, reference, strict=False)]
    ratios = [one / other for one, other in pairs if one is not None and other]
    return median(ratios) if ratios else None


def table(rows: Iterable[Row]) -> str:
    """The rows as text, one line each, under a head."""
    head = (
        "subject",
        "CPU µs/req",
        "spread",
        "vs nginx",
        "vs Envoy",
        "vs floor",
        "target µs",
        "req/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
    )
    lines = [(*head, "p95 vs direct", "errors", "RSS MiB"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *others = [
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join([first, *others]).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.subject,
        _number(row.cpu_us, 1),
        "-" if row.cpu_us_spread is None else f"{row.cpu_us_spread[0]:.1f}…{row.cpu_us_spread[1]:.1f}",
        *(_number(row.cpu_ratios.get(name), 2) for name in CPU_REFERENCES),
        _number(row.target_cpu_us, 1),
        _number(row.requests_per_s, 0),
        _number(row.p50_ms, 2),
        _number(row.p95_ms, 2),
        _number(row.p99_ms, 2),
        _number(row.p95_ratio_to_direct, 2),
        str(row.errors),
        _number(row.rss_mib, 1),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def to_json(measurement: Measurement) -> str:
    """Everything measured: the plan, the machine, the rows, and every slice."""
    return json.dumps(
        {
            "plan": asdict(measurement.plan),
            "machine": {
                "platform": platform.platform(),
                "python": platform.python_version(),
                "interceptor": interceptor_build(),
            },
            "rows": [asdict(row) for row in summarise(measurement)],
            "slices": [asdict(measured) for measured in measurement.slices],
        },
        indent=2,
    )
