"""postgresql: — the log in a PostgreSQL database (docs/log-postgres.md)."""

from __future__ import annotations

from storage_backends.options import LogOptions
from storage_backends.postgres.address import parse_url
from storage_backends.postgres.log import PostgresLog

__all__ = ["PostgresLog", "open_postgres_log"]


def open_postgres_log(url: str, options: LogOptions) -> PostgresLog:
    """Return the log that `url` names; `await start()` connects to it.  Raises LogConfigurationError."""
    return PostgresLog(parse_url(url), options)
