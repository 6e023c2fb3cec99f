"""From a URL to what a connection needs; the password stays out of everything that is shown.

The URL is libpq's.  `log_name`, `schema` and `commit_timeout_s` are the log's own parameters; the driver knows the
most usual ones of libpq, and what it does not know it would send to the server as a setting, so those are sorted out.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from storage_backends.errors import LogConfigurationError
from storage_backends.url import split_url

SCHEMES = ("postgresql", "postgres")
CONNECT_TIMEOUT_S = 5.0
COMMIT_TIMEOUT_S = 10.0
NAME_BYTES_MAX = 63
"""PostgreSQL's limit for identifiers; it would cut longer ones off silently."""

LOG_NAME_CHARACTERS_MAX = 200

_SECRET = ("password", "sslpassword")

# A dead connection is noticed by commit_timeout_s here, and by keepalives that the session sets on the server's side.
_NOT_NEEDED = (
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "gssencmode",
    "client_encoding",
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a log is: the database, the schema in it and the log's name.  `shown` has no password.

    `dsns` are one for each host of the URL, in its order: the driver's time limit is for all hosts of one DSN, and a
    machine that swallows packets would use it up before the next one is asked.
    """

    dsns: tuple[str, ...]
    shown: str
    server: str
    schema: str
    log_name: str
    connect_timeout_s: float
    commit_timeout_s: float

    @property
    def place(self) -> str:
        """How messages name the log."""
        return f"the log {self.log_name!r} in schema {self.schema!r} of {self.server}"

    @property
    def lock_key(self) -> int:
        """The advisory lock of the log's writer."""
        return lock_key(self.schema, self.log_name)

    @property
    def migration_key(self) -> int:
        """The advisory lock of whoever migrates the schema."""
        return _key(f"schema\0{self.schema}")

    def table(self, name: str) -> str:
        """Return a table's name as SQL needs it."""
        return f"{quoted(self.schema)}.{quoted(name)}"

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def quoted(name: str) -> str:
    """Return an identifier as SQL needs it."""
    return '"' + name.replace('"', '""') + '"'


def lock_key(schema: str, log_name: str) -> int:
    """Return the advisory lock of a log's writer."""
    return _key(f"log\0{schema}\0{log_name}")


def parse_url(url: str) -> Address:
    """Check a URL; nothing is connected.  Raises LogConfigurationError, which never shows the password."""
    parts = split_url(url)
    try:
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise LogConfigurationError(
            "the URL of the database can't be read: what is behind ? is NAME=VALUE&NAME=VALUE"
        ) from None
    if parts.scheme.lower() not in SCHEMES or parts.fragment:
        raise LogConfigurationError(
            "the URL of a database is postgresql://USER@HOST:PORT/DATABASE?log_name=NAME (a '#' in it is written %23)"
        )
    own = {name: given.pop(name, default) for name, default in (("log_name", "default"), ("schema", "interceptor"))}
    _check_names(own["log_name"], own["schema"])
    commit_timeout_s = _seconds("commit_timeout_s", given.pop("commit_timeout_s", None), COMMIT_TIMEOUT_S)
    connect_timeout_s = _seconds("connect_timeout", given.pop("connect_timeout", None), CONNECT_TIMEOUT_S)
    if given.pop("channel_binding", "prefer") == "require":
        raise LogConfigurationError(
            "channel_binding=require is not supported by the driver; use sslmode=verify-full, which also makes sure"
            " who the server is"
        )
    _check_files(given)
    for name in _NOT_NEEDED:
        given.pop(name, None)
    fallback_name = given.pop("fallback_application_name", f"interceptor log {own['log_name']}")
    given.setdefault("application_name", fallback_name)
    given.setdefault("target_session_attrs", "read-write")
    user, at, host = parts.authority.rpartition("@")
    public = {name: value for name, value in {**given, **own}.items() if name not in _SECRET}
    path = parts.path or "/"
    server = f"postgresql://{user.partition(':')[0]}{at}{host}{path}"
    return Address(
        dsns=tuple(
            f"postgresql://{netloc}{path}?{urlencode({**given, **place}, quote_via=quote)}"
            for netloc, place in _one_by_one(parts.authority, given)
        ),
        shown=f"{server}?{urlencode(public, safe='/', quote_via=quote)}",
        server=server + (f"?host={given['host']}" if "host" in given else ""),
        schema=own["schema"],
        log_name=own["log_name"],
        connect_timeout_s=connect_timeout_s,
        commit_timeout_s=commit_timeout_s,
    )


def _one_by_one(netloc: str, given: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return the part before the path and the parameters for each host, as libpq pairs hosts and ports."""
    if given["target_session_attrs"] == "prefer-standby":
        # The driver must see all of them to prefer one.
        return [(netloc, {})]
    user, at, hosts = netloc.rpartition("@")
    if hosts:
        return [(f"{user}{at}{host}", {}) for host in hosts.split(",")]
    if "," not in given.get("host", ""):
        return [(netloc, {})]
    names, ports = given["host"].split(","), given.get("port", "").split(",")
    if len(ports) not in (1, len(names)):
        raise LogConfigurationError(f"port= names {len(ports)} ports for the {len(names)} hosts of host=")
    ports = ports if len(ports) == len(names) else ports * len(names)
    return [
        (netloc, {"host": name} | ({"port": port} if port else {})) for name, port in zip(names, ports, strict=True)
    ]


def _check_files(given: dict[str, str]) -> None:
    # The driver would say that a file is missing, and not which.
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        if name in given and given[name] != "system" and not os.path.isfile(given[name]):
            raise LogConfigurationError(f"{name}={given[name]}: there is no such file; correct it in the URL")


def _check_names(log_name: str, schema: str) -> None:
    if not 0 < len(log_name) <= LOG_NAME_CHARACTERS_MAX or not log_name.isprintable():
        raise LogConfigurationError(f"log_name must be 1 to {LOG_NAME_CHARACTERS_MAX} printable characters")
    if not 0 < len(schema.encode()) <= NAME_BYTES_MAX or not schema.isprintable() or schema.startswith("pg_"):
        raise LogConfigurationError(
            f"schema must be the name of a schema, 1 to {NAME_BYTES_MAX} printable bytes and not beginning with pg_"
        )


def _seconds(name: str, text: str | None, default_s: float) -> float:
    try:
        seconds = default_s if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise LogConfigurationError(f"{name} must be a number of seconds above 0 and up to 3600, not {text!r}")
    return seconds


def _key(text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"interceptor {text}".encode()).digest()[:8], "big", signed=True)
