"""The options of `interceptor run` about checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from interceptor.checkpoint.options import CheckpointOptions
from interceptor.cli.kubelet_options import kubelet_options, read_kubelet_options


def checkpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command these options."""
    positive = click.FloatRange(min=0, min_open=True)
    for option in reversed((
        click.option("--checkpoint-engine", default="mark", metavar="NAME",
                     help="What keeps the target's state: mark (nothing), http, criu, kubelet, or an installed one."),
        click.option("--checkpoint-path", metavar="PATH",
                     help="With http: where the target hands its state out (GET) and takes it back (PUT)."),
        click.option("--criu-binary", default="criu", metavar="FILE",
                     help="With criu: the program, version 4 or newer."),
        click.option("--checkpoint-compression", type=click.Choice(["none", "zstd"]), default="none",
                     help="With criu: how images are kept; compressed after the dump, while requests pass."),
        click.option("--checkpoint-dir", type=click.Path(path_type=Path), metavar="DIR",
                     help="Where checkpoints are stored. Default: `checkpoints` in the directory of a file log."),
        click.option("--app-version", metavar="TEXT",
                     help="Version of the application; a checkpoint of another one is not restored."),
        click.option("--checkpoint-interval", type=positive, metavar="SECONDS",
                     help="Take a checkpoint so often, if there were events."),
        click.option("--checkpoint-every-events", type=click.IntRange(min=1), metavar="N",
                     help="Take a checkpoint after so many events."),
        click.option("--recovery-time-objective", type=positive, metavar="SECONDS",
                     help="Take a checkpoint just when a recovery would take longer than that."),
        click.option("--idle-checkpoint-after", type=positive, metavar="SECONDS",
                     help="With criu: after so long without a request, checkpoint and stop the target until the next."),
        click.option("--checkpoint-on-stop", is_flag=True, default=False,
                     help="Take a checkpoint before an orderly shutdown, so that the next start replays nothing."),
        click.option("--restored-checkpoint", metavar="ID|VERSION",
                     help="Each incarnation of the target comes from the image of this checkpoint: replay from there."),
    )):  # fmt: skip
        command = option(command)
    return kubelet_options(command)


def read_checkpoint_options(options: dict[str, Any]) -> CheckpointOptions:
    """Return what was given."""
    return CheckpointOptions(
        engine=options["checkpoint_engine"],
        path=options["checkpoint_path"],
        directory=options["checkpoint_dir"],
        app_version=options["app_version"],
        interval_s=options["checkpoint_interval"],
        every_events=options["checkpoint_every_events"],
        recovery_time_objective_s=options["recovery_time_objective"],
        on_stop=options["checkpoint_on_stop"],
        criu_binary=options["criu_binary"],
        compression=options["checkpoint_compression"],
        idle_after_s=options["idle_checkpoint_after"],
        kubelet=read_kubelet_options(options),
        restored=options["restored_checkpoint"],
    )
