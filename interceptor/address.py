"""Where the target is, and where we listen: addresses as people type them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from interceptor.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name or IP address, without brackets) and a TCP port; port 0 lets the system choose where we listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(url: str) -> Address:
    """Read `http://HOST[:PORT]`.  Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"--target {url}: {error}") from error
    if parts.scheme != "http" or not parts.hostname or port == 0:
        raise ConfigurationError(f"--target {url}: expected http://HOST:PORT, for example http://127.0.0.1:8000")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ConfigurationError(f"--target {url}: only scheme, host and port, because paths pass through unchanged")
    return Address(parts.hostname, port or 80)


def parse_listen(text: str, option: str) -> Address:
    """Read `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (all interfaces).  Raises ConfigurationError naming `option`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError(f"{option} {text}: an IPv6 address is written in brackets, as in [::1]:8001")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise ConfigurationError(f"{option} {text}: expected HOST:PORT, for example 0.0.0.0:8001")
    return Address(host or "0.0.0.0", int(port))
