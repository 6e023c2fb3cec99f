"""The sections of the report: what each measures at a given scale, and how its rows become text and figures."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cost import Plan, measure_cost
from bench.experiments import figures, growth, memory, recovery, sweep, syscalls, tables, thesis
from bench.report import summarise
from bench.users import run as users

Progress = Callable[[str], None]
Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. Numbers of clients, events, connections, users; seconds of a slice; rounds."""

    clients: tuple[int, ...]
    slice_s: int
    cost_rounds: dict[int, int]
    events: tuple[int, ...]
    connections: tuple[int, ...]
    body_bytes: tuple[int, ...]
    log_steps: int
    users: tuple[int, ...]
    users_s: int


FULL = Scale(
    sweep.CLIENTS, 2, {50: 5, 400: 3}, recovery.EVENTS, memory.CONNECTIONS, growth.BODY_BYTES, 4, users.USERS, 4
)  # fmt: skip
QUICK = Scale((50, 400), 1, {50: 1, 400: 1}, (1000, 10_000), (0, 500), (0, 16_384), 1, (20,), 3)
SCALES = {"full": FULL, "quick": QUICK}

COST_SUBJECTS = (*sweep.SUBJECTS, "floor", "tunnel")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report. `measure` gets an empty directory; `text` and `draw` what it returned, read from JSON."""

    name: str
    measure: Callable[[Scale, Path, Progress], Data]
    text: Callable[[Data], str]
    draw: Callable[[Data, Path], None] | None = None


def _sweep(scale: Scale, directory: Path, progress: Progress) -> Data:
    plan = sweep.SweepPlan(sweep.SUBJECTS, scale.clients, scale.slice_s, rounds=1)
    return {"rows": [asdict(point) for point in sweep.measure_sweep(plan, directory, progress)]}


def _cost(connections: int) -> Callable[[Scale, Path, Progress], Data]:
    def measure(scale: Scale, directory: Path, progress: Progress) -> Data:
        plan = Plan(COST_SUBJECTS, connections, scale.slice_s, scale.cost_rounds[connections])
        measurement = measure_cost(plan, directory, progress)
        slices = [asdict(measured) for measured in measurement.slices]
        return {"connections": connections, "rows": [asdict(row) for row in summarise(measurement)], "slices": slices}

    return measure


def _cost_text(data: Data) -> str:
    return f"{data['connections']} connections:\n\n{tables.cost_table(data['rows'])}"


def _recovery(scale: Scale, directory: Path, progress: Progress) -> Data:
    return asdict(recovery.measure_recoveries(scale.events, directory, progress))


def _recovery_text(data: Data) -> str:
    missing = "".join(f"\nNot measured, `{way}`: {reason}.\n" for way, reason in data["missing"].items())
    before = f"\n{thesis.MEASURED_ELSEWHERE.capitalize()}, took about {thesis.DETECTION_S:g} s to detect a failure.\n"
    return tables.recovery_table(data["rows"]) + "\n" + before + missing


def _syscalls(scale: Scale, directory: Path, progress: Progress) -> Data:
    found = syscalls.measure_calls(syscalls.SUBJECTS, scale.slice_s, directory, progress)
    return {"rows": [asdict(calls) for calls in found]}


def _syscalls_text(data: Data) -> str:
    tools = " and ".join(sorted({row["counted_by"] for row in data["rows"]}))
    return f"50 connections, counted by {tools}:\n\n{tables.calls_table(data['rows'])}"


def _memory(scale: Scale, directory: Path, progress: Progress) -> Data:
    return {
        "rows": [asdict(row) for row in memory.measure_memory(memory.SUBJECTS, scale.connections, directory, progress)]
    }


def _bodies(scale: Scale, directory: Path, progress: Progress) -> Data:
    found = growth.measure_bodies(growth.BODY_SUBJECTS, scale.body_bytes, 2, directory, progress)
    return {"rows": [asdict(row) for row in found]}


def _log_length(scale: Scale, directory: Path, progress: Progress) -> Data:
    found = growth.measure_log_length(growth.LOG_SUBJECTS, scale.log_steps, directory, progress)
    return {"rows": [asdict(row) for row in found]}


def _users(scale: Scale, directory: Path, progress: Progress) -> Data:
    found = users.measure_users(users.SUBJECTS, scale.users, scale.users_s, directory, progress)
    return {"rows": [asdict(row) for row in found]}


def _rows(table: Callable[[tables.Rows], str]) -> Callable[[Data], str]:
    return lambda data: table(data["rows"])


def _figure(draw: Callable[[tables.Rows, Path], None]) -> Callable[[Data, Path], None]:
    return lambda data, directory: draw(data["rows"], directory)


# The quiet ones first: what heats the machine or fills its disk comes last.
SECTIONS = (
    Section("cost-50", _cost(50), _cost_text, _figure(figures.draw_cost)),
    Section("cost-400", _cost(400), _cost_text),
    Section("syscalls", _syscalls, _syscalls_text),
    Section("users", _users, _rows(tables.users_table)),
    Section("memory", _memory, _rows(tables.memory_table), _figure(figures.draw_memory)),
    Section("bodies", _bodies, _rows(tables.body_table)),
    Section("log-length", _log_length, _rows(tables.log_table)),
    Section("recovery", _recovery, _recovery_text, _figure(figures.draw_recovery)),
    Section("sweep", _sweep, _rows(tables.sweep_table), _figure(figures.draw_sweep)),
)
