"""From a URL to the backend that keeps the log there.

Backends register an opener under their URL scheme in the entry-point group `interceptor.storage_backends`.  The
built-in ones also work from a plain checkout, where no entry points exist.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, cast

from storage_backends.backend import LogBackend
from storage_backends.errors import LogConfigurationError
from storage_backends.options import LogOptions, limit_fields

ENTRY_POINT_GROUP = "interceptor.storage_backends"

BUILT_IN_OPENERS = {
    "file": "storage_backends.file:open_file_log",
    "memory": "storage_backends.memory:open_memory_log",
    "postgres": "storage_backends.postgres:open_postgres_log",
    "postgresql": "storage_backends.postgres:open_postgres_log",
}


class LogOpener(Protocol):
    """What an entry point names."""

    def __call__(self, url: str, options: LogOptions) -> LogBackend: ...


def open_log(url: str, *, key_file: Path | None = None, compression: str = "none", **options: int) -> LogBackend:
    """Open the log at `url` for writing and reading; `options` are the fields of LogOptions.

    With a key file events are kept encrypted where they are kept at all (memory: does not).  Raises
    LogConfigurationError (unknown scheme or option, unusable place), LogLockedError, LogDamagedError, LogKeyError.
    """
    opener = load_opener(url)
    scheme = url.partition(":")[0].lower()
    if key_file is not None and _opener_path(scheme) not in BUILT_IN_OPENERS.values():
        raise LogConfigurationError(f"the log backend for {scheme}: can't encrypt, so it takes no key file")
    if compression != "none" and scheme != "file":
        raise LogConfigurationError(f"--log-compression is for file logs, and {scheme}: is none")
    try:
        log_options = LogOptions(key_file=key_file, compression=compression, **options)
    except TypeError as error:
        known = ", ".join(field.name for field in limit_fields())
        raise LogConfigurationError(f"unknown log option among {sorted(options)}; known are {known}") from error
    return opener(url, log_options)


def load_opener(url: str) -> LogOpener:
    """Return the opener that is registered for the URL's scheme. Raises LogConfigurationError."""
    scheme, colon, _ = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in known_schemes():
        known = ", ".join(f"{name}:" for name in known_schemes())
        # Not all of it: there may be a password in it, and who doesn't know the scheme doesn't know where.
        raise LogConfigurationError(f"no log backend for {f'{scheme}:' if colon else url!r}; known schemes are {known}")
    try:
        return cast(LogOpener, EntryPoint(scheme, _opener_path(scheme), ENTRY_POINT_GROUP).load())
    except (ImportError, AttributeError) as error:
        raise LogConfigurationError(f"the log backend for {scheme}: can't be loaded: {error}") from error


def known_schemes() -> list[str]:
    """Return the URL schemes that can be opened, in alphabetical order."""
    return sorted({*BUILT_IN_OPENERS, *(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))})


def _opener_path(scheme: str) -> str:
    registered = {entry.value for entry in entry_points(group=ENTRY_POINT_GROUP, name=scheme)}
    if len(registered) > 1:
        raise LogConfigurationError(f"several packages claim the scheme {scheme}: {', '.join(sorted(registered))}")
    return registered.pop() if registered else BUILT_IN_OPENERS[scheme]
