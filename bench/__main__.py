"""`python -m bench`: the measurements, from the command line."""

import asyncio
import json
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from bench.attack_command import attack
from bench.build import BuildError, require_compiled
from bench.chaos.command import chaos
from bench.chaos.proxy import ProxyError
from bench.checkpoints import (
    CheckpointBenchError,
    compare,
    describe_comparison,
    describe_load,
    recover_under_load,
)
from bench.cost import Plan, measure_cost
from bench.engines import ENGINES, EngineMissingError
from bench.experiments.commands import COMMANDS
from bench.lanes import Plan as LanesPlan
from bench.lanes import measure_lanes
from bench.lanes import table as lanes_table
from bench.load import LoadError
from bench.opening import OpeningError, measure_opening
from bench.opening import describe as describe_opening
from bench.outage import measure_outages
from bench.pipeline import PipelineError
from bench.processes import ProcessError
from bench.replay import ReplayError, describe, measure_recovery, measure_target
from bench.report import summarise, table, to_json
from bench.subjects import SUBJECTS, USUAL_SUBJECTS
from bench.work_dir import work_dir_option

_FAILURES = (
    BuildError,
    ProcessError,
    LoadError,
    PipelineError,
    ReplayError,
    OpeningError,
    CheckpointBenchError,
    EngineMissingError,
    OSError,
)

_json_option = click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything measured here."
)


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _subjects(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in SUBJECTS]
    if unknown or not names or len(set(names)) < len(names):
        raise click.BadParameter(f"choose some of {', '.join(SUBJECTS)}, each once")
    return names


@click.group()
def main() -> None:
    """Measure what a proxy costs and how fast it recovers. Everything runs on this machine, for a bounded time."""
    signal.signal(signal.SIGTERM, _exit_on_signal)


def _exit_on_signal(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@main.command()
@click.option("--connections", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=3, show_default=True, help="Length of each slice.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="Slices of each subject.")
@click.option(
    "--subjects",
    callback=_subjects,
    default=",".join(USUAL_SUBJECTS),
    show_default=True,
    help=f"Comma-separated, of: {', '.join(SUBJECTS)}.",
)
@work_dir_option
@_json_option
def cost(
    connections: int, seconds: int, rounds: int, subjects: list[str], work_dir: Path, json_file: Path | None
) -> None:
    """CPU time per request of each proxy's process, side by side."""
    try:
        _progress(require_compiled())
        with tempfile.TemporaryDirectory(prefix="bench-cost-", dir=work_dir) as directory:
            plan = Plan(subjects, connections, seconds, rounds)
            measurement = measure_cost(plan, Path(directory), _progress)
        if json_file is not None:
            json_file.write_text(to_json(measurement) + "\n")
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error
    rows = summarise(measurement)
    click.echo(table(rows))
    if any(row.errors for row in rows):
        raise click.ClickException("there were errors: the figures of the subjects that had them are no measurement")


@main.command()
@click.option("--events", type=click.IntRange(1, 1_000_000), default=20_000, show_default=True)
@click.option("--window", type=click.IntRange(2, 1024), default=512, show_default=True, help="Unanswered requests.")
@click.option("--durability", type=click.Choice(["strict", "relaxed"]), default="strict", show_default=True)
@click.option("--target-only", is_flag=True, help="Only the target's own speed, without an interceptor.")
@work_dir_option
@_json_option
def replay(
    events: int, window: int, durability: str, target_only: bool, work_dir: Path, json_file: Path | None
) -> None:
    """The speed of a recovery beside the target's own speed."""
    try:
        _progress(require_compiled())
        with tempfile.TemporaryDirectory(prefix="bench-replay-", dir=work_dir) as directory:
            target = measure_target(events, window, Path(directory))
            recovery = None if target_only else measure_recovery(events, window, durability, Path(directory))
        if json_file is not None:
            measured = {"target": asdict(target), "recovery": None if recovery is None else asdict(recovery)}
            json_file.write_text(json.dumps({"events": events, **measured}, indent=2) + "\n")
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error
    click.echo(describe(events, target, recovery))


@main.command("open")
@click.option("--events", type=click.IntRange(1000, 100_000_000), default=5_000_000, show_default=True)
@work_dir_option
@_json_option
def open_command(events: int, work_dir: Path, json_file: Path | None) -> None:
    """Opening a long file log: time, memory, and the speed of reading it through."""
    try:
        with tempfile.TemporaryDirectory(prefix="bench-open-", dir=work_dir) as directory:
            opening = measure_opening(events, Path(directory) / "log", _progress)
        if json_file is not None:
            json_file.write_text(json.dumps(asdict(opening), indent=2) + "\n")
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error
    click.echo(describe_opening(opening))


@main.command()
@click.option("--keys", type=click.IntRange(1, 1000), default=64, show_default=True, help="One client for each.")
@click.option("--handler-ms", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Of the target.")
@click.option("--seconds", type=click.IntRange(1, 60), default=3, show_default=True, help="For each row.")
@work_dir_option
def lanes(keys: int, handler_ms: float, seconds: int, work_dir: Path) -> None:
    """Throughput and replay of a target with slow handlers, by order and lanes."""
    keyed = "key:path:/rooms/{key}/*"
    subjects = [("total", 1), (keyed, 4), (keyed, 16), (keyed, 64), ("arrival", 16), ("arrival", 64)]
    try:
        _progress(require_compiled())
        with tempfile.TemporaryDirectory(prefix="bench-lanes-", dir=work_dir) as directory:
            rows = measure_lanes(LanesPlan(keys, handler_ms, seconds), subjects, Path(directory))
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error
    click.echo(lanes_table(rows))


@main.command()
@click.option("--kills", type=click.IntRange(2, 1000), default=50, show_default=True)
@click.option("--start-ms", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Of the target.")
@work_dir_option
def outage(kills: int, start_ms: int, work_dir: Path) -> None:
    """From SIGKILL to the first answer to a held request."""
    try:
        with tempfile.TemporaryDirectory(prefix="bench-outage-", dir=work_dir) as directory:
            outages = asyncio.run(measure_outages(kills, start_ms / 1000, Path(directory)))
    except (*_FAILURES, ProxyError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(outages.describe())


main.add_command(attack)
main.add_command(chaos)
for command in COMMANDS:
    main.add_command(command)


@main.command()
@click.option("--events", type=click.IntRange(1000, 1_000_000), default=100_000, show_default=True)
@click.option("--memory-mb", type=click.IntRange(0, 900), default=200, show_default=True, help="State of the target.")
@work_dir_option
@click.option("--engine", "engines", type=click.Choice(ENGINES), multiple=True, default=ENGINES, show_default=True)
def restore(events: int, memory_mb: int, work_dir: Path, engines: Sequence[str]) -> None:
    """A recovery through a checkpoint of each engine beside a replay from version 1."""
    found = []
    try:
        _progress(require_compiled())
        for engine in engines:
            _progress(f"{engine} …")
            with tempfile.TemporaryDirectory(prefix="bench-restore-", dir=work_dir) as directory:
                found.append(compare(engine, events, memory_mb, Path(directory)))
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error
    click.echo(describe_comparison(events, memory_mb, found))


@main.command()
@click.option("--rate", type=click.IntRange(1, 100_000), default=2000, show_default=True, help="Requests a second.")
@click.option("--seconds", type=click.IntRange(5, 600), default=60, show_default=True)
@click.option("--kills", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--objective", type=click.FloatRange(min=0.1), help="Recovery time objective in seconds.")
@click.option("--interval", type=click.FloatRange(min=0.1), help="Or: seconds between checkpoints.")
@click.option("--engine", type=click.Choice(ENGINES), default="http", show_default=True)
@work_dir_option
def checkpoints(
    rate: int, seconds: int, kills: int, objective: float | None, interval: float | None, engine: str, work_dir: Path
) -> None:
    """Recoveries and blackouts under a steady load with kills at random moments."""
    options = ["--recovery-time-objective", str(objective)] if objective else []
    options += ["--checkpoint-interval", str(interval or 1.0)] if interval or not objective else []
    try:
        _progress(require_compiled())
        with tempfile.TemporaryDirectory(prefix="bench-checkpoints-", dir=work_dir) as directory:
            found = recover_under_load(engine, rate, seconds, kills, options, Path(directory))
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error
    click.echo(describe_load(found))
    if found.failed or (objective and max(found.recoveries_s) > objective):
        raise click.ClickException("a request failed, or a recovery took longer than the objective")


if __name__ == "__main__":
    main(prog_name="python -m bench")
