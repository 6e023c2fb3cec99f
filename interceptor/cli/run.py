"""`interceptor run`: options, environment and configuration file become Settings."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import yaml

from interceptor.address import parse_listen, parse_target
from interceptor.cli.checkpoint_options import checkpoint_options, read_checkpoint_options
from interceptor.divergence import OnDivergence
from interceptor.divergence_report import SECRET_FIELDS
from interceptor.errors import ConfigurationError
from interceptor.incident import OnUnclean
from interceptor.journal import Durability
from interceptor.limits import Limits
from interceptor.log_damage import with_remedy
from interceptor.logs import configure_logging
from interceptor.logview.redaction import Redaction
from interceptor.order import LANES_DEFAULT, Order
from interceptor.pipelining import Pipelining
from interceptor.retention import Retention
from interceptor.runner import run as run_ambassador
from interceptor.secret_files import read_secret
from interceptor.server_tls import TlsFiles
from interceptor.settings import Settings, parse_detection
from interceptor.shown_url import shown_url
from interceptor.target_tls import TargetTls
from storage_backends.errors import LogDamagedError
from storage_backends.options import COMPRESSIONS, limit_fields

logger = logging.getLogger(__name__)

DEFAULT_LOG = "file:interceptor-log"


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command one option for each limit of the proxy and of the log."""
    for item in reversed(limit_fields()):
        command = click.option(
            f"--{item.name.replace('_', '-')}", type=click.IntRange(min=1), default=item.default, show_default=True,
            help=item.metadata["meaning"],
        )(command)  # fmt: skip
    for limit in reversed(fields(Limits)):
        bounds = click.FloatRange if isinstance(limit.default, float) else click.IntRange
        kind: click.ParamType[Any] = bounds(min=limit.metadata["least"])
        command = click.option(
            f"--{limit.name.replace('_', '-')}", type=kind, default=limit.default, show_default=True,
            help=limit.metadata["meaning"],
        )(command)  # fmt: skip
    return command


def load_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Take defaults from a YAML file whose keys are option names; options and environment win over it."""
    if path is None:
        return
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise click.BadParameter(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise click.BadParameter(f"{path}: expected keys and values, such as 'target: http://127.0.0.1:8000'")
    known = {
        name.lstrip("-").replace("-", "_"): parameter
        for parameter in context.command.params
        for name in parameter.opts
        if parameter.name != "config"
    }
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        parameter = known.get(str(key).replace("-", "_"))
        if parameter is None or parameter.name is None:
            raise click.BadParameter(f"{path}: unknown key {key!r}; keys are the names of the options of `run`")
        defaults[parameter.name] = [value] if parameter.multiple and isinstance(value, str) else value
    context.default_map = {**(context.default_map or {}), **defaults}


def parse_order(_context: click.Context, _parameter: click.Parameter, text: str) -> Order:
    """Read `--order`."""
    try:
        return Order.parse(text)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error


# The prefix again: click would put the command's name behind the group's (INTERCEPTOR_RUN_TARGET).
@click.command(
    "run",
    context_settings={"show_default": True, "auto_envvar_prefix": "INTERCEPTOR", "help_option_names": ["-h", "--help"]},
)
@click.option("--config", type=click.Path(path_type=Path), callback=load_config, is_eager=True, expose_value=False,
              help="YAML file with the options below as keys.")  # fmt: skip
@click.option(
    "--target", required=True, help="The application to protect: http://HOST:PORT, https://HOST:PORT or unix:/PATH."
)
@click.option("--target-ca-file", type=click.Path(path_type=Path), metavar="FILE",
              help="Certificates (PEM) that an https target is verified with, instead of the system's.")  # fmt: skip
@click.option("--target-server-name", metavar="NAME",
              help="Name that an https target is asked for and verified with, instead of its host.")  # fmt: skip
@click.option("--listen", default="0.0.0.0:8001", help="Where clients connect: HOST:PORT or unix:/PATH.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE",
              help="Serve TLS with this certificate and its chain (PEM); loaded again when it changes.")  # fmt: skip
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="The key of --tls-cert.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), metavar="FILE",
              help="Clients have to show a certificate that one of these (PEM) has signed.")  # fmt: skip
@click.option("--proxy-protocol", is_flag=True,
              help="Every connection begins with a PROXY header, version 1 or 2; only behind a balancer.")  # fmt: skip
@click.option("--listen-unix-mode", default="660", help="Permissions of the listener's Unix socket, octal.")
@click.option("--admin", default="127.0.0.1:8002", help="Where control connects; `same` for the listener's port.")
@click.option("--admin-tls-cert", type=click.Path(path_type=Path), metavar="FILE",
              help="Serve control through TLS with this certificate (PEM); loaded again when it changes.")  # fmt: skip
@click.option("--admin-tls-key", type=click.Path(path_type=Path), metavar="FILE", help="The key of --admin-tls-cert.")
@click.option("--compat", is_flag=True,
              help="With --admin same: the prototype's controllers may drive us, without a token unless one is given; "
              "whoever reaches the port can. GET /reproject does as POST does.")  # fmt: skip
@click.option("--admin-token-file", type=click.Path(path_type=Path), help="File with the bearer token for control.")
@click.option(
    "--log",
    "log_url",
    envvar=["INTERCEPTOR_LOG", "INTERCEPTOR_LOG_URL"],
    default=DEFAULT_LOG,
    help="file:///DIR, postgresql://USER@HOST/DATABASE?log_name=NAME or memory://.",
)
@click.option("--log-url-file", type=click.Path(path_type=Path), metavar="FILE",
              help="File with the URL for --log: what is in a file shows in no list of processes.")  # fmt: skip
@click.option("--log-key-file", type=click.Path(path_type=Path), metavar="FILE",
              help="Encrypt what is recorded with the first key in this file; see docs/security.md.")  # fmt: skip
@click.option("--log-compression", type=click.Choice(COMPRESSIONS), default="none",
              help="zstd: finished segments of a file log are compressed in the background.")  # fmt: skip
@click.option("--log-lock-wait-s", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS",
              help="At the start: how long to wait for another writer of the log to end.")  # fmt: skip
@click.option(
    "--durability",
    type=click.Choice([each.value for each in Durability]),
    default="strict",
    help="strict: no answer leaves before its event is on disk; relaxed: at most relaxed_window_ms early.",
)
@click.option(
    "--retain",
    default="all",
    help="What the log keeps: all, checkpoints:K, or time:DURATION (time:7d); never less than a recovery needs.",
)
@click.option(
    "--record",
    type=click.Choice(["all", "unsafe"]),
    default="all",
    help="unsafe: safe methods (RFC 9110 §9.2.1) are neither recorded nor ordered.",
)
@click.option(
    "--order",
    default="total",
    callback=parse_order,
    metavar="total|arrival|key:header:NAME|key:cookie:NAME|key:path:TEMPLATE",
    help="total: every request in one order; key: in order within each key, e.g. key:path:/rooms/{key}/*; "
    "arrival: as they come, exact only where requests commute.",
)
@click.option(
    "--lanes",
    type=click.IntRange(min=1),
    help=f"Ordered connections to the target. Default: 1 with --order total, otherwise {LANES_DEFAULT}.",
)
@click.option(
    "--pipelining",
    type=click.Choice([each.value for each in Pipelining]),
    default="auto",
    help="Send events before the one in front of them is answered. auto: to servers that are known to take them in "
    "turn, by the program of their process or the name in their answers.",
)
@click.option(
    "--bypass",
    multiple=True,
    metavar="METHOD:GLOB",
    help="Routes for streams and long polls: not recorded, a connection of their own. May be repeated.",
)
@click.option(
    "--detect",
    metavar="process|listener|connection|http:PATH",
    help="How a death is told from a closed connection. http:PATH: by a boot id that the target answers to GET PATH. "
    "Default: process where the target is local, else connection.",
)
@click.option(
    "--on-divergence",
    type=click.Choice([each.value for each in OnDivergence]),
    default="report",
    help="After a replay that was answered otherwise than the first time; stop: wait for an operator's word.",
)
@click.option(
    "--divergence-ignore",
    multiple=True,
    metavar="METHOD:GLOB",
    help="Routes whose answers differ for good reasons: they are not compared in a replay. May be repeated.",
)
@click.option(
    "--redact-header",
    multiple=True,
    metavar="NAME",
    default=SECRET_FIELDS,
    help="Header field whose value is *** in the command line of a divergent request. May be repeated; replaces the "
    "defaults.",
)
@click.option(
    "--hold-dry-run",
    is_flag=True,
    help="Hold nothing while the target is away: answer 503, and count what it would be.",
)
@click.option(
    "--tag-requests",
    is_flag=True,
    help="Tell the application each request's version and time, and that it is a replay, by fields Interceptor-….",
)
@click.option(
    "--ready-path",
    metavar="PATH",
    help="The target is ready once GET PATH is answered 2xx. Default: once it accepts a connection.",
)
@click.option(
    "--on-unclean",
    type=click.Choice([each.value for each in OnUnclean]),
    default="assume-applied",
    help="After our own crash, with the target alive and its last events in doubt.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="Of our own log lines.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Of our own log lines.")
@checkpoint_options
@limit_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run_command(**options: Any) -> None:
    """Stand in front of the target: record every request, and give the target its memory back when it dies.

    With `-- COMMAND …` the target is started and supervised as well. Each option is also an environment variable
    (INTERCEPTOR_HOLD_REQUESTS_MAX) and a key of the file that --config names; options win over the environment, that
    over the file.
    """
    configure_logging(options["log_level"], as_json=options["log_format"] == "json")
    settings = _settings(options)
    try:
        run_ambassador(settings)
    except LogDamagedError as error:
        raise ConfigurationError(with_remedy(error, settings.log_url)) from error


def _settings(options: dict[str, Any]) -> Settings:
    Redaction(options["redact_header"])  # refuses what can't be a name
    limits = Limits(**{item.name: options[item.name] for item in fields(Limits)})
    target_tls = TargetTls(options["target_ca_file"], options["target_server_name"])
    detection, boot_id_path = parse_detection(options["detect"]) if options["detect"] else (None, None)
    admin = None if options["admin"] == "same" else parse_listen(options["admin"], "--admin")
    return Settings(
        target=parse_target(options["target"], target_tls),
        target_tls=target_tls,
        listen_tls=TlsFiles.from_options("--tls", options["tls_cert"], options["tls_key"], options["tls_client_ca"]),
        listen_unix_mode=_mode(options["listen_unix_mode"]),
        proxy_protocol=options["proxy_protocol"],
        listen=parse_listen(options["listen"], "--listen"),
        admin=admin,
        compat=options["compat"],
        log_url=_log_url(options["log_url"], options["log_url_file"]),
        admin_tls=TlsFiles.from_options("--admin-tls", options["admin_tls_cert"], options["admin_tls_key"]),
        admin_token=read_token(options["admin_token_file"]),
        durability=Durability(options["durability"]),
        record_all=options["record"] == "all",
        order=options["order"],
        lanes=options["lanes"],
        pipelining=Pipelining(options["pipelining"]),
        bypass=options["bypass"],
        detection=detection,
        boot_id_path=boot_id_path,
        on_unclean=OnUnclean(options["on_unclean"]),
        ready_path=options["ready_path"],
        tag_requests=options["tag_requests"],
        hold_dry_run=options["hold_dry_run"],
        on_divergence=OnDivergence(options["on_divergence"]),
        divergence_ignore=options["divergence_ignore"],
        redact_headers=options["redact_header"],
        command=options["command"],
        retention=Retention.parse(options["retain"]),
        checkpoint=read_checkpoint_options(options),
        limits=limits,
        log_compression=options["log_compression"],
        log_lock_wait_s=options["log_lock_wait_s"],
        log_key_file=options["log_key_file"],
        log_options={item.name: options[item.name] for item in limit_fields()},
    )


def _log_url(url: str, file: Path | None) -> str:
    """Return where the log is; a secret among the process's arguments is for everybody to read, so that is said."""
    if file is not None:
        return read_secret(file, "--log-url-file")
    if shown_url(url) != url and any(shown_url(argument) != argument for argument in sys.argv):
        logger.warning("the process list shows the password of --log to everybody; use --log-url-file or PGPASSWORD")
    return url


def _mode(text: str) -> int:
    if not re.fullmatch("0?[0-7]{3}", text):
        raise ConfigurationError(f"--listen-unix-mode {text}: expected three octal digits, for example 660")
    return int(text, 8)


def read_token(path: Path | None) -> str | None:
    """Return the token in a file, None without a file.  Raises ConfigurationError."""
    return None if path is None else read_secret(path, "--admin-token-file")
