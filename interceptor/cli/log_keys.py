"""`interceptor log new-key`: a line for the file that `--log-key-file` names."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import click

from storage_backends.secrets import new_key_line


@click.command("new-key")
@click.argument("key_id", required=False)
def new_key_command(key_id: str | None) -> None:
    """Print a fresh key, a line for the file given as --log-key-file.

    The first line of that file is the key that encrypts, all of them decrypt. So a new key is put on top, the
    interceptor started again, and the old line kept as long as the log holds events of its time. KEY_ID is a name for
    the key, which stands in the log in clear; by default the day and a random end.

    \b
    Example: (umask 077; interceptor log new-key > keys)
    Later:   (umask 077; interceptor log new-key | cat - keys > keys.new && mv keys.new keys)
    """
    click.echo(new_key_line(key_id or f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(3)}"))
