"""`interceptor log …`: what is in a log, whether it is whole, and what to do if it is not."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import click

from interceptor.cli.control import release_live
from interceptor.cli.log_keys import new_key_command
from interceptor.logview.filters import Filters
from interceptor.logview.importing import import_file
from interceptor.logview.lines import HEADING
from interceptor.logview.listing import database_table, list_database, list_directory, table
from interceptor.logview.options import (
    filter_options,
    filters_from,
    log_option,
    redaction_from,
    redaction_options,
)
from interceptor.logview.releasing import release_event
from interceptor.logview.repair_text import describe
from interceptor.logview.running import OutputGroup, progress_bar, run
from interceptor.logview.selection import followed, opened_source, selected
from interceptor.logview.source import directory_of, is_file_log, is_postgres_log
from interceptor.logview.statistics import Statistics
from interceptor.logview.verification import Verification, verify_directory, verify_url
from interceptor.logview.writing import chosen_format, json_format, opened_output, write_all, write_har, write_out
from interceptor.shown_url import shown_url
from storage_backends.file.directory import path_of_url
from storage_backends.file.repair import prepared_repair


@click.group("log", cls=OutputGroup)
def log_group() -> None:
    """Look into a log: list, show, follow, check, count, export, import, repair.

    \b
    What only reads (all but `import`, `repair` and `unquarantine`) takes no lock, and works while the log is written
    to (files and PostgreSQL).
      interceptor log show --last 20                       the newest events
      interceptor log show --from 17 --to 17 --body        everything about event 17
      interceptor log tail -f                              what comes in, as it comes
      interceptor log verify                               is the log whole?
    """


log_group.add_command(new_key_command)


@log_group.command("ls")
@log_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array; times in nanoseconds, sizes in bytes.")
def ls_command(log_url: str, key_file: Path | None, as_json: bool) -> None:
    """List the segments of a file log, or the logs in a database.

    Files: every record is read, so a log of many gigabytes takes a while. The state is `open` (the last one), `sealed`,
    or `damaged`; `interceptor log verify` says what the damage is. PostgreSQL: one row for each log in the schema,
    `open` while an interceptor writes to it; this is quick.

    \b
    Examples:
      interceptor log ls --log file:///var/lib/interceptor
      interceptor log ls --log postgresql://ann@db.example/shop
    """
    if is_postgres_log(log_url):
        rows = run(list_database(log_url), log_url)
        click.echo(json.dumps(rows, indent=2) if as_json else database_table(rows))
        return
    with progress_bar("reading") as progress:
        rows = list_directory(directory_of(log_url, "ls"), progress)
    click.echo(json.dumps(rows, indent=2) if as_json else table(rows))


@log_group.command("show")
@log_option
@filter_options
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N of them.")
@click.option("--body", "with_body", is_flag=True, help="Head and body too: dechunked, unpacked, as text or hexdump.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines; with --body `head` and `body` are the exact bytes.")
@redaction_options
def show_command(
    log_url: str, key_file: Path | None, last: int | None, with_body: bool, as_json: bool, **options: Any
) -> None:
    """Show events and how they were answered.

    One line each: version, time, method, target, then status, length and digest (XXH3-64) of the answer; `-` where no
    answer is recorded. All filters must match.

    \b
    Examples:
      interceptor log show --last 20
      interceptor log show --method POST --path '/cart/*' --status 5xx
      interceptor log show --from 17 --to 17 --body
      interceptor log show --json --body --status none | jq .target
    """
    filters, redaction = filters_from(options), redaction_from(options)[0]
    format_event = chosen_format(redaction, as_json=as_json, with_body=with_body)

    async def show() -> int:
        async with opened_source(log_url, key_file) as source:
            if not as_json:
                click.echo(HEADING)
            async with aclosing(selected(source, filters, last)) as batches:
                return await write_all(batches, format_event, write_out)

    if not run(show(), log_url):
        click.echo("no event matches", err=True)


@log_group.command("tail")
@log_option
@click.option("-n", "count", type=click.IntRange(min=0), default=10, show_default=True, help="Events to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--body", "with_body", is_flag=True, help="Head and body too.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@redaction_options
def tail_command(
    log_url: str, key_file: Path | None, count: int, follow: bool, with_body: bool, as_json: bool, **options: Any
) -> None:
    """Show the newest events, and follow the log.

    With -f an event is shown as soon as its answer is in the log, or a second later without it. The writer notices
    nothing.

    \b
    Examples:
      interceptor log tail
      interceptor log tail -n 0 -f --json | jq 'select(.outcome.status >= 500)'
    """
    redaction = redaction_from(options)[0]
    format_event = chosen_format(redaction, as_json=as_json, with_body=with_body)

    async def tail() -> None:
        async with opened_source(log_url, key_file) as source:
            if not as_json:
                click.echo(HEADING)
            batches = followed(source, count) if follow else selected(source, Filters(), count)
            async with aclosing(batches):
                await write_all(batches, format_event, write_out)

    try:
        run(tail(), log_url)
    except KeyboardInterrupt:
        click.echo("", err=True)


@log_group.command("verify")
@log_option
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def verify_command(log_url: str, key_file: Path | None, as_json: bool) -> None:
    """Check a log: every checksum (files), the order of versions and segments, and which events have no answer.

    The exit code is 0 if the log is good and 1 if it is damaged; each damage is named with its file, its byte, and
    what is lost by it. Events without an answer are no damage: they are under way, or the target died with them.

    \b
    Example: interceptor log verify --log file:///var/lib/interceptor && echo good
    """
    began_s = monotonic()
    if is_file_log(log_url):
        with progress_bar("verifying") as progress:
            result = verify_directory(path_of_url(log_url), progress, key_file)
    else:
        result = run(verify_url(log_url, key_file), log_url)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        click.echo("\n".join([f"log          {shown_url(log_url)}", *result.as_lines()]))
        if not result.damages:
            checked = "checksums, versions and segments" if is_file_log(log_url) else "records and versions"
            click.echo(f"good         {checked} ({monotonic() - began_s:.1f} s)")
    for damage in result.damages if not as_json else ():
        click.echo(f"DAMAGED      {damage}")
    if result.damages:
        help_text = f"interceptor log repair --log {log_url} --dry-run   shows what could be kept; or restore a copy"
        click.echo(help_text if is_file_log(log_url) else "restore the log from a copy", err=True)
        sys.exit(1)


@log_group.command("stats")
@log_option
@filter_options
@click.option("--json", "as_json", is_flag=True, help="The numbers as JSON.")
def stats_command(log_url: str, key_file: Path | None, as_json: bool, **options: Any) -> None:
    """Count events by method, status, path, size and time.

    \b
    Examples:
      interceptor log stats
      interceptor log stats --path '/cart/*' --status 5xx
    """
    filters, statistics = filters_from(options), Statistics()

    async def count() -> None:
        async with opened_source(log_url, key_file) as source, aclosing(selected(source, filters, None)) as batches:
            async for batch in batches:
                statistics.take(batch)

    run(count(), log_url)
    click.echo(json.dumps(statistics.as_json(), indent=2) if as_json else statistics.as_text())


@log_group.command("export")
@log_option
@filter_options
@click.option("--format", "kind", type=click.Choice(["jsonl", "har"]), default="jsonl", show_default=True,
              help="jsonl: exact, can be imported; har: HTTP Archive, for other tools.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="A new file. Default: standard output.")
@redaction_options
def export_command(log_url: str, key_file: Path | None, kind: str, output: Path | None, **options: Any) -> None:
    """Write events to a file.

    Secrets are hidden unless --show-secrets is given; an event in which something was hidden is marked `redacted`, and
    `import` refuses it. Bytes that are not UTF-8 stand as base64.

    \b
    Examples:
      interceptor log export --show-secrets --output log.jsonl     a copy that `import` makes a log of again
      interceptor log export --format har --path '/cart/*' > cart.har
    """
    filters = filters_from(options)
    redaction, is_redacting = redaction_from(options)

    async def export() -> int:
        with opened_output(output) as file:
            async with opened_source(log_url, key_file) as source, aclosing(selected(source, filters, None)) as batches:
                if kind == "har":
                    return await write_har(batches, redaction, is_redacting, file)
                return await write_all(
                    batches, json_format(redaction, with_message=True, with_content=False), file.write
                )

    count = run(export(), log_url)
    click.echo(f"{count} events exported", err=True)


@log_group.command("import")
@log_option
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--allow-redacted", is_flag=True, help="Take events in which something was hidden, as they are.")
def import_command(log_url: str, key_file: Path | None, file: Path, allow_redacted: bool) -> None:
    """Make a log of FILE, which `export --format jsonl` wrote (- for standard input).

    The log must be empty or new. Events come back byte for byte, with their times, answers and quarantines. The file is
    checked as a whole first: if a line is bad, nothing is written.

    \b
    Example: interceptor log import --log file:///tmp/copy log.jsonl
    """
    path = None if str(file) == "-" else file
    count = run(import_file(path, log_url, allow_redacted=allow_redacted, key_file=key_file), log_url)
    click.echo(f"{count} events imported into {shown_url(log_url)}")


@log_group.command("unquarantine")
@log_option
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--admin", metavar="HOST:PORT", help="Ask a running interceptor at its admin, instead of opening the log."
)
@click.option("--admin-token-file", type=click.Path(path_type=Path), help="File with the bearer token.")
@click.option("--admin-ca-file", type=click.Path(path_type=Path), help="Certificates for https.")
def unquarantine_command(
    log_url: str, key_file: Path | None, version: int, admin: str | None, admin_token_file: Path | None,
    admin_ca_file: Path | None,
) -> None:  # fmt: skip
    """Let the target get event VERSION again, which was quarantined because the target died of it.

    It takes effect with the next incarnation, which gets the event in its place. Repair the application first. A log in
    use is refused: name the running interceptor's --admin then.

    \b
    Example: interceptor log unquarantine 17 --admin 127.0.0.1:8002
    """
    if admin is not None:
        release_live(version, admin, admin_token_file, admin_ca_file)
    else:
        run(release_event(log_url, key_file, version), log_url)
    click.echo(f"event {version} is taken out of quarantine; the next incarnation of the target gets it")


@log_group.command("repair")
@log_option
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def repair_command(log_url: str, key_file: Path | None, dry_run: bool, yes: bool) -> None:
    """Make a damaged file log usable again, without throwing anything away.

    The events from the first one on are kept as far as there is no gap. What can't be kept is moved to files beside the
    log, NAME.damaged-TIME, and named. Stop the interceptor first: a log in use is refused. What was noted about
    versions that are gone (checkpoints, the incarnation in step) is dropped, so that a living target is not taken as in
    step.

    \b
    Examples:
      interceptor log repair --dry-run
      interceptor log repair --log file:///var/lib/interceptor --yes
    """
    directory = directory_of(log_url, "repair")
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with prepared_repair(directory, now, dry_run=dry_run) as repair:
        if not repair.changes:
            _report_unchanged(verify_directory(directory, lambda _more, _total: None), log_url)
            return
        click.echo("\n".join(describe(repair)))
        if dry_run:
            click.echo("nothing was changed (--dry-run)")
            return
        if not yes and not click.confirm("Repair it in this way?"):
            click.echo("nothing was changed")
            sys.exit(1)
        repair.apply()
        result = verify_directory(directory, lambda _more, _total: None)
    _report_repaired(result, log_url, directory)


def _report_unchanged(result: Verification, log_url: str) -> None:
    if result.damages:
        click.echo("\n".join(f"NOT REPAIRABLE  {damage}" for damage in result.damages), err=True)
        sys.exit(1)
    click.echo(f"{log_url} is whole, there is nothing to repair")


def _report_repaired(result: Verification, log_url: str, directory: Path) -> None:
    if result.damages:
        click.echo("\n".join(f"STILL DAMAGED  {damage}" for damage in result.damages), err=True)
        sys.exit(1)
    some = result.last_version >= result.first_version
    held = f"events {result.first_version} to {result.last_version}" if some else "no event"
    click.echo(f"repaired: {log_url} holds {held} and is whole")
    click.echo(f"Look at what was set aside in {directory} before you delete it.")
