"""`python -m bench chaos`."""

from __future__ import annotations

import asyncio
import shlex
import time
from pathlib import Path

import click

from bench.chaos.campaign import Orders, run_campaign
from bench.chaos.disk import DiskUnavailableError
from bench.chaos.plan import VARIANTS, make_plan
from bench.chaos.proxy import INTERCEPTOR
from bench.chaos.report import ALL_FAULTS, expectations, table
from bench.chaos.target.kinds import KINDS
from bench.work_dir import work_dir_option


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Of the first run; the next one has the next.")
@click.option("--failures", type=click.IntRange(min=1), default=100, show_default=True, help="Altogether.")
@click.option("--failures-per-run", type=click.IntRange(min=1), default=25, show_default=True,
              help="Then everything is checked and a new log begins.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=1), help="Begin no run after so many seconds.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(sorted(KINDS)), help="Of the target; all without it.")
@click.option("--fault", "faults", multiple=True, type=click.Choice(ALL_FAULTS), help="Only these; all without it.")
@click.option("--variant", "variants", multiple=True, type=click.Choice(VARIANTS),
              help="For every run; without it the seed chooses.")  # fmt: skip
@click.option("--launcher", help="The command in front of `run …`, for a changed interceptor.")
@click.option("--histories", type=click.Path(file_okay=False, path_type=Path), default="chaos-violations",
              show_default=True, help="Where the history of a run with a violation goes.")  # fmt: skip
@work_dir_option
@click.option("--stop-at-violation", is_flag=True)
@click.option("--explain", is_flag=True, help="Only say what the seed's run would be, and what is legal in it.")
def chaos(
    seed: int, failures: int, failures_per_run: int, seconds: float | None, kinds: tuple[str, ...],
    faults: tuple[str, ...], launcher: str | None, histories: Path, work_dir: Path, stop_at_violation: bool,
    explain: bool, variants: tuple[str, ...],
) -> None:  # fmt: skip
    """Hurt the target, the interceptor, the log and the clock under load, and check that the rules held."""
    if explain:
        plan = make_plan(seed, min(failures, failures_per_run), kinds, faults, variants)
        click.echo(f"{plan.describe()}\n{plan.kind.note}\n{expectations(plan)}")
        return
    orders = Orders(
        seed, failures, failures_per_run, seconds, kinds, faults,
        tuple(shlex.split(launcher)) if launcher else INTERCEPTOR, work_dir, histories, stop_at_violation,
        variants,
    )  # fmt: skip
    try:
        findings = asyncio.run(run_campaign(orders, _progress))
    except DiskUnavailableError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(findings))
    if findings.violations:
        raise click.ClickException("rules were violated")


def _progress(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)
