"""From JSON lines into an empty log.

The whole file is checked before the first event is written, so a bad one leaves the log empty.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from interceptor.logview.errors import LogViewError
from interceptor.logview.jsonl import ImportedEvent, parse_line
from interceptor.logview.source import is_file_log, started_log
from interceptor.shown_url import shown_url
from storage_backends import LogBackend
from storage_backends.errors import LogError
from storage_backends.records import Outcome, Quarantine, Record

BATCH_EVENTS_MAX = 512
BATCH_BYTES_MAX = 4 * 1024 * 1024


async def import_file(path: Path | None, url: str, *, allow_redacted: bool, key_file: Path | None = None) -> int:
    """Append the events of a file (None: standard input's) to the empty log; return how many.

    Raises LogViewError (a bad file, a log that is not empty), LogError.
    """
    is_file_log(url)
    with _opened(path) as file:
        name = str(path) if path is not None else "standard input"
        count = 0
        for imported in _lines(file, name):
            count += 1
            _check(imported, count, name, allow_redacted=allow_redacted)
        file.seek(0)
        log = await started_log(url, key_file)
        try:
            if log.last_version or log.first_version != 1:
                raise LogViewError(
                    f"{shown_url(url)} is not empty, it holds events up to {log.last_version}: import into a new log"
                )
            await _append_all(log, _lines(file, name))
        finally:
            log.close()
    return count


def _opened(path: Path | None) -> IO[bytes]:
    try:
        if path is not None:
            return path.open("rb")
        # It is read twice.
        spooled = tempfile.TemporaryFile()  # noqa: SIM115
        with open(0, "rb", closefd=False) as source:
            shutil.copyfileobj(source, spooled)
        spooled.seek(0)
        return spooled
    except OSError as error:
        raise LogViewError(f"{path or 'standard input'} can't be read: {error.strerror}") from error


def _lines(file: IO[bytes], name: str) -> Iterator[ImportedEvent]:
    try:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield parse_line(line.decode("utf-8", "surrogateescape"), f"{name}, line {number}")
    except OSError as error:
        raise LogViewError(f"{name} can't be read: {error.strerror}") from error


def _check(imported: ImportedEvent, expected: int, name: str, *, allow_redacted: bool) -> None:
    version = imported.event.version
    if version != expected:
        raise LogViewError(
            f"{name}: event {version} stands where event {expected} belongs. A log has the versions 1, 2, 3, … without "
            "a gap, so only an export without filters, of a log that was not trimmed, can be imported"
        )
    if imported.redacted and not allow_redacted:
        raise LogViewError(
            f"{name}: event {version} is redacted, so a target would not get what it got then. Export again with "
            "--show-secrets, or import it as it is with --allow-redacted"
        )


async def _append_all(log: LogBackend, lines: Iterator[ImportedEvent]) -> None:
    batch: list[Record] = []
    behind: list[Record] = []
    quarantined: list[int] = []
    size_bytes = 0
    for event, outcome, quarantine, _ in lines:
        batch.append(event)
        size_bytes += event.size_bytes
        if outcome is not None:
            behind.append(Outcome(*outcome))
        if quarantine is not None:
            behind.append(Quarantine(event.version, event.time_ns, quarantine))
            quarantined.append(event.version)
        if len(batch) >= BATCH_EVENTS_MAX or size_bytes >= BATCH_BYTES_MAX:
            await _append(log, batch + behind)
            batch, behind, size_bytes = [], [], 0
    await _append(log, batch + behind)
    if quarantined:
        log.store_facts({**log.load_facts(), "quarantined": [*quarantined]})


async def _append(log: LogBackend, records: list[Record]) -> None:
    if not records:
        return
    log.append(records)
    synced: asyncio.Future[LogError | None] = asyncio.get_running_loop().create_future()
    log.sync(synced.set_result)
    error = await synced
    if error is not None:
        raise error
