"""The option that says where a measurement's files go."""

from pathlib import Path

import click

# /var/tmp and not /tmp: the latter is often memory, where an fsync costs nothing.
work_dir_option = click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    default="/var/tmp",
    show_default=True,
    help="Where logs and configurations go for the run; its disk is the one measured.",
)
