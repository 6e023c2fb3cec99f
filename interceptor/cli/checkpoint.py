"""`interceptor checkpoint`: take one, and what can be done with those that there are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from interceptor.cli.build_image import build_image_command
from interceptor.cli.control import Control, admin_options

# Draining, taking the state and storing it have limits of their own.
TAKE_TIMEOUT_S = 300.0


@click.group("checkpoint", invoke_without_command=True)
@click.option("--list", "show_list", is_flag=True, help="Show the catalogue; take none.")
@admin_options
@click.pass_context
def checkpoint_command(context: click.Context, /, show_list: bool, **reach: Any) -> None:
    """Take a checkpoint: hold requests, take the target's state, let them pass.  Or see the commands below."""
    if context.invoked_subcommand is not None:
        return
    control = Control(**reach)
    if not show_list:
        click.echo(_line(control.call("POST", "/checkpoint", timeout_s=TAKE_TIMEOUT_S)))
        return
    entries = control.call("GET", "/checkpoint")
    for entry in entries:
        click.echo(_line(entry))
    if not entries:
        click.echo("no checkpoints")


checkpoint_command.add_command(build_image_command)


@checkpoint_command.command("show")
@click.argument("checkpoint_id", metavar="ID")
@admin_options
def show_command(checkpoint_id: str, **reach: Any) -> None:
    """Show everything about one, as JSON."""
    entry = Control(**reach).call("GET", "/checkpoint", id=checkpoint_id)
    click.echo(json.dumps(entry, indent=2))


@checkpoint_command.command("verify")
@click.argument("checkpoint_id", metavar="ID")
@admin_options
def verify_command(checkpoint_id: str, **reach: Any) -> None:
    """Read what is stored, and compare it with the catalogue."""
    control = Control(**reach)
    click.echo(_line(control.call("POST", "/checkpoint", timeout_s=TAKE_TIMEOUT_S, id=checkpoint_id, do="verify")))


@checkpoint_command.command("rm")
@click.argument("checkpoint_id", metavar="ID")
@admin_options
def remove_command(checkpoint_id: str, **reach: Any) -> None:
    """Remove one that is not pinned."""
    entry = Control(**reach).call("DELETE", "/checkpoint", id=checkpoint_id)
    click.echo(f"{entry['id']} is removed")


@checkpoint_command.command("pin")
@click.argument("checkpoint_id", metavar="ID")
@click.option("--off", is_flag=True, help="Pinned no longer.")
@admin_options
def pin_command(checkpoint_id: str, off: bool, **reach: Any) -> None:
    """Keep one, and the events behind it, whatever --retain says."""
    control = Control(**reach)
    click.echo(_line(control.call("POST", "/checkpoint", id=checkpoint_id, do="unpin" if off else "pin")))


def _line(entry: dict[str, Any]) -> str:
    taken = datetime.fromtimestamp(entry["time"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = [name for name in ("verified", "pinned") if entry.get(name)]
    phases = ", ".join(f"{name} {seconds:.3f}" for name, seconds in entry.get("phases_s", {}).items())
    return (
        f"{entry['id']:<10} version {entry['version']}  {taken}  {entry['size_bytes']} bytes  "
        f"blackout {entry['blackout_s']:.3f} s{f' ({phases})' if phases else ''}  {' '.join(words)}"
    ).rstrip()
