"""Foreign errors become ours: what passes by itself and is tried again, what is final, and what to tell a person."""

from __future__ import annotations

import asyncio
import socket
import ssl

from storage_backends.errors import LogConfigurationError, LogDamagedError, LogError, LogUnavailableError
from storage_backends.postgres.address import Address
from storage_backends.postgres.driver import (
    BadAddressError,
    DriverError,
    InternalDriverError,
    NotPrimaryError,
    PostgresError,
)

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 2.0
PATIENCE_MAX = 16
"""How often a time limit is doubled until the server is within it; so a slow server is not taken for a dead one."""

# Wrong data, a broken constraint, a missing table, a limit or a missing feature: trying again can't help.
_FINAL_CLASSES = ("0A", "22", "23", "42", "54")
_FINAL_STATES = ("XX001", "XX002")
NO_RIGHTS = "42501"

_POOLED_STATES = ("26000", "42P05")


class RowsDamagedError(LogDamagedError):
    """Rows of the log are missing or contradict each other."""

    def __init__(self, message: str) -> None:
        LogError.__init__(self, message)


class Patience:
    """How long to wait for one answer of the server, and between two attempts."""

    def __init__(self, limit_s: float) -> None:
        self._limit_first_s = limit_s
        self.reset()

    def reset(self) -> None:
        """The server is well."""
        self.limit_s = self._limit_first_s
        self._pause_s = BACKOFF_MIN_S

    async def after(self, error: BaseException) -> None:
        """Wait before the next attempt, longer each time."""
        if isinstance(error, TimeoutError):
            self.limit_s = min(2 * self.limit_s, PATIENCE_MAX * self._limit_first_s)
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, BACKOFF_MAX_S)
        await asyncio.sleep(pause_s)


def passes(error: BaseException) -> bool:
    """Tell whether the same thing may succeed later: the database is away, restarts, is full, or has new secrets."""
    if isinstance(error, PostgresError):
        state = sqlstate(error)
        if state == NO_RIGHTS:
            return True
        return state[:2] not in _FINAL_CLASSES and state not in _FINAL_STATES
    # The driver refuses values that it can't encode by an error that is a ValueError too.
    if isinstance(error, ValueError) and not isinstance(error, BadAddressError):
        return False
    return isinstance(error, (OSError, EOFError, DriverError, InternalDriverError, LogUnavailableError))


def is_of_pooler(error: BaseException) -> bool:
    """Tell whether a prepared statement went lost, which happens where sessions share connections."""
    return isinstance(error, PostgresError) and sqlstate(error) in _POOLED_STATES


def sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def described(error: BaseException) -> str:
    """Return what happened, in one line."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    first_line = str(error).strip().partition("\n")[0]
    return first_line or type(error).__name__


def opening_error(error: BaseException, address: Address) -> LogError:
    """Return what `start` raises for a foreign error: what is wrong, where, and what to do."""
    where = address.place
    what = described(error)
    if isinstance(error, LogError):
        return error
    if isinstance(error, BadAddressError):
        return LogConfigurationError(f"{where}: a parameter of the URL is wrong: {what}")
    if isinstance(error, NotPrimaryError):
        return LogUnavailableError(
            f"{where}: the server is a standby and takes no writes; name the primary in the URL, or promote it"
        )
    if isinstance(error, PostgresError):
        return _refused_error(where, sqlstate(error), what)
    return _unreachable_error(error, where, what)


def _refused_error(where: str, state: str, what: str) -> LogError:
    advice = {
        "28P01": "the password is wrong; give it in the URL, in PGPASSWORD or in ~/.pgpass",
        "28000": "the server does not let this user in; look at the user's name, at sslmode and at pg_hba.conf",
        "3D000": "the database does not exist; create it (CREATE DATABASE …) or correct the URL",
        NO_RIGHTS: (
            "the user lacks a right; let it create schemas (GRANT CREATE ON DATABASE …) or make it the owner of the"
            " schema and its tables"
        ),
        "42704": "the server does not know a parameter; the URL must name parameters of libpq or of the server",
    }.get(state)
    if advice:
        return LogConfigurationError(f"{where}: {advice} ({what})")
    if state[:2] in ("53", "57"):
        return LogUnavailableError(f"{where}: the server takes no session now, try again later ({what})")
    return LogUnavailableError(f"{where}: the server refused, look at its log ({what})")


def _unreachable_error(error: BaseException, where: str, what: str) -> LogError:
    if isinstance(error, socket.gaierror):
        return LogConfigurationError(
            f"{where}: the host's name is unknown; correct the URL or the name service ({what})"
        )
    if isinstance(error, ssl.SSLError):
        return LogConfigurationError(f"{where}: TLS failed; look at sslmode, sslrootcert and the certificates ({what})")
    if isinstance(error, FileNotFoundError):
        return LogUnavailableError(f"{where}: no server has its socket, or a file is, where the URL says ({what})")
    if isinstance(error, ConnectionRefusedError):
        return LogUnavailableError(
            f"{where}: nothing listens there; start the server or correct host and port ({what})"
        )
    if isinstance(error, TimeoutError):
        return LogUnavailableError(f"{where}: no answer in time; is the server alive, does a firewall drop packets?")
    return LogUnavailableError(f"{where}: the server can't be reached ({what})")
