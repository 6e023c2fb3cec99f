"""From a URL to something that can be read, without becoming the log's writer where its backend can do that."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from interceptor.logview.errors import LogViewError
from storage_backends import open_log
from storage_backends.backend import Fact, LogBackend, LogReader
from storage_backends.errors import LogLockedError
from storage_backends.file.directory import path_of_url
from storage_backends.file.tolerant_view import TolerantFileView
from storage_backends.postgres.address import SCHEMES as POSTGRES_SCHEMES
from storage_backends.postgres.view import open_view
from storage_backends.registry import load_opener
from storage_backends.secrets import load_keyring, unsealer_of


class LogSource(Protocol):
    """A log that is only read."""

    @property
    def first_version(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def find_last_version(self) -> int:
        """Return the last event; may take a moment."""
        ...

    def reader(self, from_version: int) -> LogReader: ...

    def load_facts(self) -> dict[str, Fact]: ...

    def close(self) -> None: ...


def is_file_log(url: str) -> bool:
    """Tell whether the URL names a file log. Raises LogViewError for memory:, LogConfigurationError for the unknown."""
    load_opener(url)
    scheme = url.partition(":")[0].lower()
    if scheme == "memory":
        raise LogViewError(
            f"{url} lives in the memory of the process that writes it, and nobody else can read it: run the "
            "interceptor with --log file:DIR to be able to look into its log"
        )
    return scheme == "file"


def is_postgres_log(url: str) -> bool:
    """Tell whether the URL names a log in PostgreSQL."""
    return url.partition(":")[0].lower() in POSTGRES_SCHEMES


def directory_of(url: str, command: str) -> Path:
    """Return the directory of a file log. Raises LogViewError for any other."""
    if not is_file_log(url):
        raise LogViewError(f"`interceptor log {command}` is for file logs only, and {url.partition(':')[0]}: is none")
    return path_of_url(url)


async def open_source(url: str, key_file: Path | None = None) -> LogSource:
    """Open for reading; sealed events need the key file. Raises LogViewError, LogError."""
    if is_file_log(url):
        return _FileSource(path_of_url(url), unsealer_of(load_keyring(key_file)))
    if is_postgres_log(url):
        return await open_view(url, key_file)
    try:
        return _OtherSource(await started_log(url, key_file))
    except LogLockedError as error:
        raise LogViewError(f"{error} (this kind of log can't be read beside its writer)") from error


async def started_log(url: str, key_file: Path | None = None) -> LogBackend:
    """Become the writer of a log. Raises LogError."""
    log = open_log(url, key_file=key_file)
    try:
        await log.start()
    except BaseException:
        log.close()
        raise
    return log


class _FileSource(TolerantFileView):
    def close(self) -> None:
        """Nothing is held."""


class _OtherSource:
    """A backend of a third party.  The protocol knows its writer only, so a log in use is refused by its own lock."""

    def __init__(self, backend: LogBackend) -> None:
        self._backend = backend
        self.first_version = backend.first_version
        self.size_bytes = backend.size_bytes

    def find_last_version(self) -> int:
        return self._backend.last_version

    def reader(self, from_version: int) -> LogReader:
        return self._backend.reader(from_version)

    def load_facts(self) -> dict[str, Fact]:
        return self._backend.load_facts()

    def close(self) -> None:
        self._backend.close()
