"""Where the target is, and where we listen: addresses as people type them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from interceptor.errors import ConfigurationError
from interceptor.target_tls import TargetTls

# sockaddr_un.sun_path with its final NUL (unix(7))
UNIX_PATH_BYTES_MAX = 107

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)
Connected = tuple[asyncio.BaseTransport, ProtocolT]


class Target(Protocol):
    """A place that connections can be made to.  Equal places compare equal; str() is what people read."""

    @property
    def authority(self) -> str:
        """What Host says where a request names none."""

    async def connect(self, factory: Callable[[], ProtocolT]) -> Connected[ProtocolT]:
        """Open a connection.  Raises OSError (ssl.SSLError is one)."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name or IP address, without brackets) and a TCP port; port 0 lets the system choose where we listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        return str(self)

    async def connect(self, factory: Callable[[], ProtocolT]) -> Connected[ProtocolT]:
        """See Target."""
        return await asyncio.get_running_loop().create_connection(factory, self.host, self.port)


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The absolute path of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def authority(self) -> str:
        # As curl and nginx have it: a path is no host.
        return "localhost"

    async def connect(self, factory: Callable[[], ProtocolT]) -> Connected[ProtocolT]:
        """See Target."""
        return await asyncio.get_running_loop().create_unix_connection(factory, self.path)


@dataclass(frozen=True, slots=True)
class HttpsAddress:
    """A host and port where TLS is spoken; `tls` says whom we trust there."""

    host: str
    port: int
    tls: TargetTls = field(compare=False)

    def __str__(self) -> str:
        return f"https://{self.authority}"

    @property
    def authority(self) -> str:
        return str(Address(self.host, self.port))

    async def connect(self, factory: Callable[[], ProtocolT]) -> Connected[ProtocolT]:
        """See Target.  A certificate that is not the server's is an ssl.SSLCertVerificationError."""
        return await asyncio.get_running_loop().create_connection(
            factory, self.host, self.port, ssl=self.tls.context, server_hostname=self.tls.server_name or self.host
        )


TargetAddress = Address | UnixAddress | HttpsAddress


def parse_target(url: str, tls: TargetTls | None = None) -> TargetAddress:
    """Read `http://HOST[:PORT]`, `https://HOST[:PORT]` (by default the system's CAs are trusted) or `unix:/PATH`.

    Raises ConfigurationError.
    """
    if url.startswith("unix:"):
        return _parse_unix(url, "--target")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        # What can't be read may hold a password.
        raise ConfigurationError(f"--target {url.rpartition('@')[2]}: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("--target: only scheme, host and port, no user and password")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigurationError(
            f"--target {url}: expected http://HOST:PORT, https://HOST:PORT or unix:/PATH, "
            "for example http://127.0.0.1:8000"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError(f"--target {url}: only scheme, host and port, because paths pass through unchanged")
    if parts.scheme == "https":
        return HttpsAddress(parts.hostname, port or 443, tls or TargetTls())
    return Address(parts.hostname, port or 80)


def parse_listen(text: str, option: str) -> Address | UnixAddress:
    """Read `HOST:PORT`, `[IPv6]:PORT`, `:PORT` (all interfaces) or `unix:/PATH`.

    Raises ConfigurationError naming `option`.
    """
    if text.startswith("unix:"):
        return _parse_unix(text, option)
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError(f"{option} {text}: an IPv6 address is written in brackets, as in [::1]:8001")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise ConfigurationError(f"{option} {text}: expected HOST:PORT, for example 0.0.0.0:8001")
    return Address(host or "0.0.0.0", int(port))


def _parse_unix(text: str, option: str) -> UnixAddress:
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigurationError(f"{option} {text}: expected an absolute path, for example unix:/run/app.sock")
    if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
        raise ConfigurationError(f"{option} {text}: a socket's path has at most {UNIX_PATH_BYTES_MAX} bytes")
    return UnixAddress(os.path.normpath(path))
