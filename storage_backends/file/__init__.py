"""file: — append-only segments in a directory (docs/log-format.md)."""

from __future__ import annotations

from pathlib import Path

from storage_backends.file.directory import path_of_url
from storage_backends.file.log import FileLog
from storage_backends.file.view import FileLogView
from storage_backends.options import LogOptions
from storage_backends.secrets import load_keyring, unsealer_of

__all__ = ["FileLog", "FileLogView", "open_file_log", "open_file_log_readonly"]


def open_file_log(url: str, options: LogOptions) -> FileLog:
    """Open or create the log at `file:///dir`, `file:dir` or `file://./dir` as its only writer. Raises LogError."""
    return FileLog(url, path_of_url(url), options)


def open_file_log_readonly(path: str | Path, key_file: Path | None = None) -> FileLogView:
    """Open the log in a directory for reading, beside its writer or without one. Raises LogError."""
    return FileLogView(Path(path), unsealer_of(load_keyring(key_file)))
