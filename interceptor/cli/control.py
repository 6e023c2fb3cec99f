"""`interceptor state` and `reproject`: the admin endpoints from a shell."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import click

from interceptor.cli.run import read_token
from interceptor.errors import ConfigurationError, InterceptorError

# A drain may take as long as drain_timeout_s, a projection much longer.
CONTROL_TIMEOUT_S = 60.0
REPROJECT_TIMEOUT_S = 24 * 3600.0


class ControlError(InterceptorError):
    """The ambassador could not be reached, or it refused."""


def admin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the options that say where the ambassador is."""
    for option in (
        click.option("--admin-ca-file", type=click.Path(path_type=Path), help="Certificates for https."),
        click.option("--admin-token-file", type=click.Path(path_type=Path), help="File with the bearer token."),
        click.option(
            "--admin",
            default="127.0.0.1:8002",
            show_default=True,
            help="Where the admin listens.",
        ),
    ):
        command = option(command)
    return command


@click.command("state")
@click.argument("state", required=False, type=click.Choice(["Active", "Waiting"], case_sensitive=False))
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@admin_options
def state_command(state: str | None, as_json: bool, **reach: Any) -> None:
    """Show the state, or set it: Waiting holds requests once the lane is drained, Active lets them pass."""
    control = Control(**reach)
    description = control.call("POST", "/state", state=state) if state else control.call("GET", "/state")
    if as_json:
        click.echo(json.dumps(description, indent=2))
        return
    versions, target = description["versions"], description["target"]
    click.echo(f"{description['state']} ({description['reason']})")
    click.echo("versions  " + "  ".join(f"{name} {value}" for name, value in versions.items()))
    click.echo(f"held      {description['held']}   in flight {description['in_flight']}")
    click.echo(f"target    {target['address']}   incarnation {target['incarnations']}   pid {target['pid'] or '-'}")
    shown = {**description, "boot_id_problem": target["boot_id_problem"], "holds": ", ".join(description["holds"])}
    for name in ("holds", "problem", "boot_id_problem", "note", "log_unavailable", "uncertain", "quarantined"):
        if shown[name]:
            click.echo(f"{name:<9} {shown[name]}")
    click.echo(f"if it died now: {description['checkpoints']['recovery_estimate_s']:.1f} s")
    recovery = description["last_recovery"]
    if recovery:
        click.echo(
            f"recovery  {recovery['cause']}: {recovery['events']} events in {recovery['seconds']:.3f} s, "
            f"{recovery['divergences']} diverged, {recovery['total_s']:.3f} s in all"
        )


@click.command("reproject")
@click.option("--from", "from_version", type=click.IntRange(min=1), help="First version; 1 by default.")
@click.option("--to", "to_version", type=click.IntRange(min=1), help="Last version; goes with --target.")
@click.option("--from-checkpoint", metavar="ID", help="Begin at this checkpoint; goes with --target.")
@click.option("--target", help="A scratch copy: http://HOST:PORT. Live traffic goes on meanwhile.")
@admin_options
def reproject_command(
    from_version: int | None,
    to_version: int | None,
    from_checkpoint: str | None,
    target: str | None,
    **reach: Any,
) -> None:
    """Deliver the log again: to the target, if it is a new incarnation, or to a scratch copy."""
    control = Control(**reach)
    query = {"from": from_version, "to": to_version, "target": target, "from_checkpoint": from_checkpoint}
    if target is None:
        result = control.call("POST", "/reproject", timeout_s=REPROJECT_TIMEOUT_S, **query)
    else:
        result = _follow(control.lines("/reproject", **query))
    if result.get("already_in_step"):
        click.echo(result["detail"])
        return
    click.echo(
        f"{result['events']} events ({result['from']} to {result['to']}) in {result['seconds']:.3f} s, "
        f"{result['rate'] or 0:.0f}/s, {result['skipped']} quarantined, {result['divergences']} diverged"
    )
    for divergence in result["first_divergences"]:
        click.echo(f"  event {divergence['version']}: expected {divergence['expected']}, got {divergence['got']}")
        if divergence.get("request"):
            click.echo(f"    {divergence['request']}")


def release_live(version: int, admin: str, admin_token_file: Path | None, admin_ca_file: Path | None) -> None:
    """Ask a running ambassador to take an event out of quarantine.  Raises ControlError and ConfigurationError."""
    Control(admin, admin_token_file, admin_ca_file).call("POST", "/unquarantine", version=version)


def _follow(lines: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Draw progress until the last line, and return that."""
    with click.progressbar(length=0, label="projecting", show_pos=True) as bar:
        for line in lines:
            if "error" in line:
                raise ControlError(line["error"])
            bar.length = line["to"] - line["from"] + 1
            bar.update(line["events"] + line["skipped"] - bar.pos)
            if line["done"]:
                return line
    raise ControlError("the ambassador ended the projection without a result")


class Control:
    """The admin at a place."""

    def __init__(self, admin: str, admin_token_file: Path | None, admin_ca_file: Path | None) -> None:
        """Raises ConfigurationError."""
        token = read_token(admin_token_file)
        self._base = admin if "://" in admin else f"http://{admin}"
        try:
            self._context = ssl.create_default_context(cafile=admin_ca_file)
        except OSError as error:
            reason = error.strerror or "it holds no PEM certificate"
            raise ConfigurationError(f"--admin-ca-file {admin_ca_file}: {reason}") from error
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, timeout_s: float = CONTROL_TIMEOUT_S, **query: object) -> Any:
        """Return the decoded JSON answer.  Raises ControlError."""
        with self._open(method, path, timeout_s, {}, query) as response:
            try:
                return json.load(response)
            except ValueError as error:
                raise self._stranger(error) from error

    def lines(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Yield the lines of an NDJSON answer.  Raises ControlError."""
        headers = {"Accept": "application/x-ndjson"}
        with self._open("POST", path, REPROJECT_TIMEOUT_S, headers, query) as response:
            for line in response:
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise self._stranger(error) from error

    def _stranger(self, error: Exception) -> ControlError:
        what = str(error).strip()
        return ControlError(f"no ambassador answers at {self._base} ({what}); is it running, and is --admin right?")

    def _open(self, method: str, path: str, timeout_s: float, headers: dict[str, str], query: dict[str, object]) -> Any:
        pairs = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
        request = urllib.request.Request(
            f"{self._base}{path}?{pairs}", method=method, headers={**self._headers, **headers}
        )
        try:
            return urllib.request.urlopen(request, timeout=timeout_s, context=self._context)
        except urllib.error.HTTPError as error:
            with error:
                try:
                    detail = json.load(error)["detail"]
                except (ValueError, KeyError, TypeError):
                    detail = error.reason
            raise ControlError(f"{method} {path}: {error.code}: {detail}") from error
        except (OSError, ValueError, HTTPException) as error:
            raise self._stranger(error) from error
