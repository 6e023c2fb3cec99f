"""Options that several `interceptor log` commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from interceptor.logview.filters import Filters
from interceptor.logview.redaction import DEFAULT_FIELDS, Redaction
from interceptor.secret_files import read_secret

Command = Callable[..., Any]

# In the context's meta: the URL from the file.
_URL_FROM_FILE = "interceptor.log_url"


def _read_url_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.meta[_URL_FROM_FILE] = read_secret(path, "--log-url-file")


def _prefer_url_file(context: click.Context, _parameter: click.Parameter, url: str) -> str:
    return str(context.meta.get(_URL_FROM_FILE, url))


_log_option = click.option(
    "--log", "log_url", default="file:interceptor-log", show_default=True, metavar="URL", callback=_prefer_url_file,
    envvar=["INTERCEPTOR_LOG", "INTERCEPTOR_LOG_URL"], show_envvar=True, help="The log, as given to `interceptor run`.",
)  # fmt: skip
_url_file_option = click.option(
    "--log-url-file", type=click.Path(path_type=Path), metavar="FILE", is_eager=True, expose_value=False,
    callback=_read_url_file, envvar="INTERCEPTOR_LOG_URL_FILE", show_envvar=True, help="File with the URL for --log.",
)  # fmt: skip
_key_file_option = click.option(
    "--log-key-file", "key_file", type=click.Path(path_type=Path), metavar="FILE",
    envvar="INTERCEPTOR_LOG_KEY_FILE", show_envvar=True, help="The keys of an encrypted log; see docs/security.md.",
)  # fmt: skip


def log_option(command: Command) -> Command:
    """Which log, and its keys: the parameters `log_url` and `key_file`."""
    return _log_option(_url_file_option(_key_file_option(command)))


def filter_options(command: Command) -> Command:
    """Which events; `filters_from` makes Filters of them."""
    for option in (
        click.option("--status", "statuses", multiple=True, metavar="STATUS",
                     help="Answered with this status: 404, or a class: 5xx, or `none`. May be repeated."),
        click.option("--path", metavar="GLOB",
                     help="Path, without the query: '/cart/*'. * is any text, ? one character, [ab] a choice."),
        click.option("--method", "methods", multiple=True, metavar="METHOD", help="May be repeated."),
        click.option("--to", "to_version", type=click.IntRange(min=1), metavar="N", help="Last version."),
        click.option("--from", "from_version", type=click.IntRange(min=1), metavar="N",
                     help="First version.  Default: the log's first."),
    ):  # fmt: skip
        command = option(command)
    return command


def redaction_options(command: Command) -> Command:
    """Which field lines are hidden; `redaction_from` makes a Redaction of them."""
    for option in (
        click.option("--show-secrets", is_flag=True, help="Hide nothing."),
        click.option("--redact-header", "redact_headers", multiple=True, metavar="NAME", default=DEFAULT_FIELDS,
                     show_default=True, help="Header field whose value becomes ***. May be repeated; replaces the "
                     "defaults. Bodies and query strings are never hidden."),
    ):  # fmt: skip
        command = option(command)
    return command


def filters_from(options: dict[str, Any]) -> Filters:
    """Take the filters out of a command's options. Raises LogViewError."""
    names = ("from_version", "to_version", "methods", "path", "statuses")
    return Filters(**{name: options.pop(name) for name in names})


def redaction_from(options: dict[str, Any]) -> tuple[Redaction, bool]:
    """Take the redaction out of a command's options, and whether it hides anything. Raises LogViewError."""
    names = () if options.pop("show_secrets") else options.get("redact_headers", ())
    options.pop("redact_headers")
    return Redaction(names), bool(names)
