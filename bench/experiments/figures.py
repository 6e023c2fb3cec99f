"""The figures of docs/performance.md, drawn from the rows that the experiments have written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.experiments import thesis
from bench.experiments.style import (
    LOOKS,
    OVER_LINES,
    REPLAY_LOOKS,
    THESIS_MARK,
    Look,
    draw_line,
    label_ends,
    new_figure,
    plain_numbers,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]

_OURS = ("direct", "interceptor-memory", "interceptor-file-relaxed", "interceptor-file-strict",
         "interceptor-postgresql-relaxed", "interceptor-postgresql-strict")  # fmt: skip
_BESIDE = ("direct", "interceptor-memory", "interceptor-file-strict", "nginx", "haproxy", "envoy", "aiohttp")
_PANELS = {"Interceptor, by its log": _OURS, "beside proxies that record nothing": _BESIDE}
_BEHIND_TEXT = {"facecolor": "#e3e3e3", "linewidth": 0, "pad": 1}
_NAMED_CLIENTS = (50, 400, 2000, 10_000)


def draw_sweep(rows: Rows, directory: Path) -> None:
    """Latency against clients, and throughput against latency: the thesis' Figure 12. Raises PlotError or OSError."""
    _draw_latency(rows, directory)
    _draw_throughput(rows, directory)


def _draw_latency(rows: Rows, directory: Path) -> None:
    figure, panels = new_figure(2, 13.5, 5.6)
    panels[0].set_ylabel("95 of 100 answers are there within … ms")
    for name, p95_ms in thesis.P95_AT_50_CLIENTS_MS.items():
        panels[0].plot([50], [p95_ms], **THESIS_MARK)
        panels[0].annotate(f"thesis: {name}", (50, p95_ms), xytext=(9, 0), textcoords="offset points", fontsize=8,
                           va="center", color=THESIS_MARK["color"], **OVER_LINES)  # fmt: skip
    for row, (name, (low, high)) in enumerate(thesis.SATURATION_CLIENTS.items()):
        height = 0.03 + 0.045 * row
        panels[0].plot([low, high], [height] * 2, color=THESIS_MARK["color"], marker="|", linewidth=1.2,
                       transform=panels[0].get_xaxis_transform())  # fmt: skip
        panels[0].annotate(f"thesis: {name} saturates ", (low, height), xycoords=panels[0].get_xaxis_transform(),
                           fontsize=8, ha="right", va="center", color=THESIS_MARK["color"], **OVER_LINES)  # fmt: skip
    numbers = sorted({row["clients"] for row in rows})
    for panel, (title, subjects) in zip(panels, _PANELS.items(), strict=True):
        panel.set(xscale="log", yscale="log", xlabel="clients, each sending its next request at once")
        panel.set_title(title, loc="left", fontsize=11, fontweight="bold")
        ends = _draw_lines(panel, rows, subjects, "clients")
        panel.set_xticks(numbers)
        _finish(panel, ends)
    figure.suptitle(f"Latency against clients   (✚ {thesis.MEASURED_ELSEWHERE})", fontsize=12)
    save(figure, directory, "latency")


def _draw_throughput(rows: Rows, directory: Path) -> None:
    figure, panels = new_figure(2, 13.5, 5.6)
    panels[0].set_ylabel("95 of 100 answers are there within … ms")
    for panel, (title, subjects) in zip(panels, _PANELS.items(), strict=True):
        panel.set(yscale="log", xlabel="requests a second")
        panel.set_title(title, loc="left", fontsize=11, fontweight="bold")
        ends = _draw_lines(panel, rows, subjects, "requests_per_s")
        panel.set_xlim(left=0)
        for rate, p95_ms, clients in _rightmost_points(rows, subjects):
            panel.annotate(
                f"{clients:,} clients", (rate, p95_ms), xytext=(8, -3), textcoords="offset points", fontsize=7,
                **OVER_LINES,
            )  # fmt: skip
        _finish(panel, ends)
    figure.suptitle("Throughput against latency, from 50 clients (below) to 10,000 (above); right and low is good")
    save(figure, directory, "throughput-latency")


def _draw_lines(panel: "Axes", rows: Rows, subjects: Sequence[str], along: str) -> list[tuple[Look, float, float]]:
    """The subjects' p95 along something; returns where each line ends."""
    ends = []
    for name in subjects:
        x, y = _line(rows, name, along, "p95_ms")
        if x:
            draw_line(panel, LOOKS[name], x, y)
            ends.append((LOOKS[name], x[-1], y[-1]))
    return ends


def _finish(panel: "Axes", ends: Sequence[tuple[Look, float, float]]) -> None:
    plain_numbers(panel.xaxis)
    plain_numbers(panel.yaxis)
    if ends:
        panel.figure.canvas.draw()
        label_ends(panel, ends)


def _line(rows: Rows, subject: str, x: str, y: str) -> tuple[list[float], list[float]]:
    """The medians of the rounds at each number of clients. Points with errors are no measurement."""
    own = [row for row in rows if row["subject"] == subject and not row["errors"]]
    numbers = sorted({row["clients"] for row in own})
    at = {number: [row for row in own if row["clients"] == number] for number in numbers}
    return [median(row[x] for row in at[number]) for number in numbers], [
        median(row[y] for row in at[number]) for number in numbers
    ]


def _rightmost_points(rows: Rows, subjects: Sequence[str]) -> list[tuple[float, float, int]]:
    """Where numbers of clients are written: beside the fastest subject, so that no line goes through the words."""
    fastest: dict[float, tuple[float, float]] = {}
    for subject in subjects:
        numbers, p95 = _line(rows, subject, "clients", "p95_ms")
        rates, _ = _line(rows, subject, "requests_per_s", "p95_ms")
        for number, rate, height in zip(numbers, rates, p95, strict=True):
            fastest[number] = max(fastest.get(number, (rate, height)), (rate, height))
    return [(*fastest[number], int(number)) for number in sorted(fastest) if number in _NAMED_CLIENTS]


def draw_recovery(rows: Rows, directory: Path) -> None:
    """Recovery against the log's length. Raises PlotError or OSError."""
    figure, (panel,) = new_figure(1, 9.0, 5.2)
    panel.set(
        xscale="log", yscale="log", xlabel="events in the log", ylabel="seconds from the kill until it is in step"
    )
    ends = []
    for way, look in REPLAY_LOOKS.items():
        own = sorted((row for row in rows if row["way"] == way), key=lambda row: row["events"])
        if own:
            x, y = [row["events"] for row in own], [row["total_s"] for row in own]
            draw_line(panel, look, x, y)
            ends.append((look, x[-1], y[-1]))
    alone = Look("the application alone, for the same events", "#000000", ":", "", 1.8)
    known = sorted({(row["events"], row["target_alone_s"]) for row in rows})
    if known:
        x, y = [events for events, _ in known], [seconds for _, seconds in known]
        draw_line(panel, alone, x, y)
        ends.append((alone, x[-1], y[-1]))
    panel.plot(list(thesis.RECOVERY_S), list(thesis.RECOVERY_S.values()), **THESIS_MARK)
    for events, seconds in thesis.RECOVERY_S.items():
        panel.annotate(
            f"thesis {seconds:g} s", (events, seconds), xytext=(9, 3), textcoords="offset points", fontsize=8,
            color=THESIS_MARK["color"],
        )  # fmt: skip
    panel.set_title(f"Recovery after kill -9   (✚ {thesis.MEASURED_ELSEWHERE})", loc="left", fontsize=11)
    _finish(panel, ends)
    save(figure, directory, "recovery")


def draw_cost(rows: Rows, directory: Path) -> None:
    """CPU microseconds of the proxy for a request: a bar each, with its spread. Raises PlotError or OSError."""
    figure, (panel,) = new_figure(1, 8.5, 4.4)
    own = sorted((row for row in rows if row["cpu_us"] is not None), key=lambda row: -row["cpu_us"])
    # One that is far off would leave no room for the others: its bar is cut, and says so.
    limit_us = 1.5 * own[min(1, len(own) - 1)]["cpu_us"] if own else 1.0
    for height, row in enumerate(own):
        ours = row["subject"].startswith("interceptor")
        low_us, high_us = row["cpu_us_spread"]
        is_cut = row["cpu_us"] > limit_us
        panel.barh(height, min(row["cpu_us"], limit_us), color="#4292c6" if ours else "#e3e3e3", edgecolor="black",
                   linewidth=0.6, hatch="//" if row["subject"] in ("floor", "tunnel") else None)  # fmt: skip
        panel.plot([low_us, high_us], [height, height], color="black", linewidth=1.4)
        name = f"{'Interceptor, ' if ours else ''}{LOOKS[row['subject']].label}  {row['cpu_us']:.1f}"
        panel.annotate(
            f"{name} ▶" if is_cut else name, (limit_us if is_cut else max(high_us, row["cpu_us"]), height),
            xytext=(-5 if is_cut else 5, 0), textcoords="offset points", va="center", fontsize=8.5,
            ha="right" if is_cut else "left", bbox=_BEHIND_TEXT if is_cut else None,
        )  # fmt: skip
    panel.set(
        yticks=[], xlim=(0, limit_us), xlabel="CPU microseconds a request, of the proxy (lines: least to greatest)"
    )
    panel.set_title("What a request costs: blue records it, grey only forwards it", loc="left", fontsize=11)
    save(figure, directory, "cost")


def draw_memory(rows: Rows, directory: Path) -> None:
    """Resident memory against idle connections. Raises PlotError or OSError."""
    figure, (panel,) = new_figure(1, 8.0, 4.4)
    ends = []
    for row in rows:
        look = LOOKS[row["subject"]]
        mib = [value / 2**20 for value in row["rss_bytes"]]
        draw_line(panel, look, row["connections"], mib)
        ends.append((look, row["connections"][-1], mib[-1]))
    panel.set(xlabel="idle connections, each of which has been served", ylabel="resident memory, MiB")
    panel.set_ylim(bottom=0)
    panel.set_title("Memory against connections", loc="left", fontsize=11)
    _finish(panel, ends)
    save(figure, directory, "memory")
