"""`python -m bench report`, `sweep`, `recovery`, `users`, `profile` and `check`."""

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from bench.build import BuildError, require_compiled
from bench.checkpoints import CheckpointBenchError
from bench.experiments import document, guard, sections
from bench.experiments.flame import draw_flame
from bench.experiments.style import PlotError
from bench.load import LoadError
from bench.pipeline import PipelineError
from bench.processes import ProcessError
from bench.replay import ReplayError
from bench.users.run import SUBJECTS as USERS_SUBJECTS
from bench.users.run import UsersError, serve_web_page
from bench.work_dir import work_dir_option

_FAILURES = (
    BuildError, CheckpointBenchError, LoadError, PipelineError, ProcessError, ReplayError, UsersError, PlotError,
    guard.GuardError, document.DocumentError, OSError,
)  # fmt: skip
_NAMES = [section.name for section in sections.SECTIONS]

_output_option = click.option(
    "--output",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="docs",
    show_default=True,
    help="The folder with performance.md; data goes to performance/ in it, figures to img/.",
)


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _chosen(names: tuple[str, ...]) -> list[sections.Section]:
    return [section for section in sections.SECTIONS if not names or section.name in names]


@click.command()
@_output_option
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Only these sections; all without it.")
@click.option("--scale", type=click.Choice(list(sections.SCALES)), default="full", show_default=True)
@work_dir_option
def report(output: Path, only: tuple[str, ...], scale: str, work_dir: Path) -> None:
    """Measure everything and write it into docs/performance.md: about a quarter of an hour, on a quiet machine."""
    try:
        _progress(require_compiled())
        document.measure_sections(_chosen(only), sections.SCALES[scale], work_dir, output, _progress)
        document.write_document(_chosen(only), output, _progress)
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error


@click.command("render")
@_output_option
def render(output: Path) -> None:
    """Write tables and figures again, from what was measured before."""
    try:
        document.write_document(sections.SECTIONS, output, _progress)
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--clients", multiple=True, type=click.IntRange(1, 15_000), help="Numbers of clients; 50 to 10,000.")
@click.option("--seconds", type=click.IntRange(1, 60), default=2, show_default=True, help="At least, for each point.")
@_output_option
@work_dir_option
def sweep(clients: tuple[int, ...], seconds: int, output: Path, work_dir: Path) -> None:
    """Throughput against latency, from 50 clients to 10,000, of the application alone, ours and the others."""
    chosen = replace(sections.FULL, clients=clients or sections.FULL.clients, slice_s=seconds)
    _measure_one("sweep", chosen, output, work_dir)


@click.command()
@click.option("--events", multiple=True, type=click.IntRange(100, 10_000_000), help="Lengths; 1,000 to 1,000,000.")
@_output_option
@work_dir_option
def recovery(events: tuple[int, ...], output: Path, work_dir: Path) -> None:
    """Recoveries by the log's length while clients go on: by replay and by each checkpoint engine."""
    _measure_one("recovery", replace(sections.FULL, events=events or sections.FULL.events), output, work_dir)


def _measure_one(name: str, scale: sections.Scale, output: Path, work_dir: Path) -> None:
    try:
        _progress(require_compiled())
        document.measure_sections(_chosen((name,)), scale, work_dir, output, _progress)
        document.write_document(_chosen((name,)), output, _progress)
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--web", is_flag=True, help="locust's web page instead of a run without one; Ctrl-C ends it.")
@click.option("--web-port", type=click.IntRange(1, 65_535), default=8089, show_default=True)
@click.option("--subject", type=click.Choice(USERS_SUBJECTS), default="interceptor-file-strict", show_default=True,
              help="What the web page loads.")  # fmt: skip
@_output_option
@work_dir_option
def users(web: bool, web_port: int, subject: str, output: Path, work_dir: Path) -> None:
    """Users with sessions, carts that grow and time to think, by locust: a sweep at a small scale."""
    if not web:
        _measure_one("users", sections.FULL, output, work_dir)
        return
    try:
        require_compiled()
        with tempfile.TemporaryDirectory(prefix="bench-users-", dir=work_dir) as directory:
            serve_web_page(subject, web_port, Path(directory), _progress)
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--native", "mode", flag_value="native", help="The compiled path as it runs, with frames of C.")
@click.option("--source", "mode", flag_value="source", default="source", help="Each Python function (the default).")
@click.option("--log", type=click.Choice(["memory", "file"]), default="file", show_default=True)
@click.option("--durability", type=click.Choice(["strict", "relaxed"]), default="strict", show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=5, show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default="flame.svg", show_default=True)
@work_dir_option
def profile(mode: str, log: str, durability: str, seconds: int, output: Path, work_dir: Path) -> None:
    """A flame graph of the hot path under load, by py-spy."""
    try:
        with tempfile.TemporaryDirectory(prefix="bench-profile-", dir=work_dir) as directory:
            draw_flame(log, durability, mode, seconds, Path(directory), output)
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{output}: open it in a browser")


@click.command()
@click.option("--update", is_flag=True, help="Make what is measured the baseline.")
@click.option("--seconds", type=click.IntRange(1, 60), default=2, show_default=True, help="Length of each slice.")
@click.option("--rounds", type=click.IntRange(3, 100), default=7, show_default=True, help="Slices of each subject.")
@click.option("--baseline", type=click.Path(dir_okay=False, path_type=Path), default=guard.BASELINE)
@work_dir_option
def check(update: bool, seconds: int, rounds: int, baseline: Path, work_dir: Path) -> None:
    """Fail where a request has become dearer, beside nginx and a bare forwarder, by more than the noise."""
    try:
        _progress(require_compiled())
        before = [] if update else guard.read_baseline(baseline)
        with tempfile.TemporaryDirectory(prefix="bench-check-", dir=work_dir) as directory:
            now = guard.measure_ratios(seconds, rounds, Path(directory), _progress)
        if update:
            guard.write_baseline(baseline, now)
            click.echo(f"{baseline} is written anew")
        verdicts = guard.compare(now if update else before, now)
    except _FAILURES as error:
        raise click.ClickException(str(error)) from error
    click.echo(guard.describe_verdicts(verdicts))
    if any(verdict.is_regression for verdict in verdicts):
        raise click.ClickException("a request costs more than it did, by more than the noise")


COMMANDS = (report, render, sweep, recovery, users, profile, check)
