"""TLS towards the target: whom we trust.  Verification can be narrowed to a CA of one's own, never skipped."""

from __future__ import annotations

import ssl
from pathlib import Path

from interceptor.errors import ConfigurationError


class TargetTls:
    """`ca_file` replaces the system's CAs; `server_name` is asked for and verified in place of the host."""

    __slots__ = ("context", "server_name")

    def __init__(self, ca_file: Path | None = None, server_name: str | None = None) -> None:
        """Raises ConfigurationError."""
        self.server_name = server_name
        try:
            self.context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "it holds no PEM certificate"
            raise ConfigurationError(f"--target-ca-file {ca_file}: {reason}") from error
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The lane speaks HTTP/1.1, whatever else the server could do (RFC 7301).
        self.context.set_alpn_protocols(["http/1.1"])
