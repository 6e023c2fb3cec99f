"""Secrets that are in files: what stands among the arguments shows in the list of processes."""

from __future__ import annotations

from pathlib import Path

from interceptor.errors import ConfigurationError


def read_secret(path: Path, option: str) -> str:
    """Return what is in a file, without the white space around it.  Raises ConfigurationError."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{option} {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    if not secret:
        raise ConfigurationError(f"{option} {path}: the file is empty")
    return secret
