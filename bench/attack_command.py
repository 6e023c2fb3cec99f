"""`python -m bench attack`, from the command line."""

import asyncio
import tempfile
from pathlib import Path

import click

from bench.attack import Plan, describe, measure_attacks
from bench.attackers import KINDS
from bench.pipeline import PipelineError
from bench.processes import ProcessError
from bench.work_dir import work_dir_option

RATIO_MAX = 2.0


@click.command()
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, default=KINDS, show_default=True)
@click.option("--clients", type=click.IntRange(1, 1000), default=50, show_default=True, help="Honest ones.")
@click.option("--rate", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="Their requests/s.")
@click.option("--hostile", type=click.IntRange(1, 8_000), default=1_000, show_default=True, help="Slow connections.")
@click.option("--flood-rate", type=click.IntRange(1, 10_000), default=1_000, show_default=True, help="Connections/s.")
@click.option("--seconds", type=click.IntRange(1, 60), default=3, show_default=True, help="Length of each slice.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="Pairs of slices a kind.")
@work_dir_option
def attack(
    kinds: tuple[str, ...], clients: int, rate: int, hostile: int, flood_rate: int, seconds: int, rounds: int,
    work_dir: Path,
) -> None:  # fmt: skip
    """The latency of honest clients under slow heads, slow contents, slow readers and floods, beside quiet slices."""
    plan = Plan(kinds, clients, rate, hostile, flood_rate, seconds, rounds)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-attack-", dir=work_dir) as directory:
            rows = asyncio.run(measure_attacks(plan, Path(directory), lambda text: click.echo(text, err=True)))
    except (ProcessError, PipelineError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for row in rows:
        click.echo(describe(row))
    if any(row.failed or row.p99_ratio > RATIO_MAX for row in rows):
        raise click.ClickException(f"an honest request failed, or its p99 was beyond {RATIO_MAX:g} times the quiet one")
