"""The command `interceptor`."""

from __future__ import annotations

import sys

import click

import hotpath
from interceptor.cli.checkpoint import checkpoint_command
from interceptor.cli.control import reproject_command, state_command
from interceptor.cli.demo import demo_command
from interceptor.cli.log import log_group
from interceptor.cli.run import run_command
from interceptor.errors import InterceptorError
from storage_backends.errors import LogError


@click.group(context_settings={"auto_envvar_prefix": "INTERCEPTOR", "help_option_names": ["-h", "--help"]})
@click.version_option(
    package_name="interceptor-ambassador",
    prog_name="interceptor",
    message=f"%(prog)s %(version)s, hot path {hotpath.execution}",
)
def cli() -> None:
    """An ambassador that gives a stateful application back its memory."""


for command in (run_command, state_command, checkpoint_command, reproject_command, log_group, demo_command):
    cli.add_command(command)


def main() -> None:
    """Run the command line; foreseen errors are one line and exit code 1."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (InterceptorError, LogError) as error:
        click.echo(f"interceptor: {error}", err=True)
        sys.exit(1)
