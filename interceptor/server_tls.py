"""TLS as a server: certificate and key from files, loaded again when the files change.

A pair that can't be used, half of a renewal for instance, changes nothing: the present one stays, and that is said.
Connections that are open keep what they began with.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from interceptor.errors import ConfigurationError

logger = logging.getLogger(__name__)

# How often the files are looked at.
CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files.  With `client_ca`, clients have to show a certificate that it has signed.

    `option` is what the options that name the files begin with.
    """

    option: str
    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def from_options(
        cls, option: str, certificate: Path | None, key: Path | None, client_ca: Path | None = None
    ) -> TlsFiles | None:
        """Return the files, None where none are named.  Raises ConfigurationError for half a pair."""
        if certificate is None and key is None and client_ca is None:
            return None
        if certificate is None or key is None:
            raise ConfigurationError(f"{option}-cert and {option}-key go together: give both")
        return cls(option, certificate, key, client_ca)

    def load(self) -> ssl.SSLContext:
        """Return a context for new connections.  Raises ConfigurationError."""
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            # A key with a passphrase must not make OpenSSL ask for it on a terminal.
            context.load_cert_chain(self.certificate, self.key, password=_refuse_to_ask)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            reason = str(error)
            raise ConfigurationError(
                f"{self.option}-cert {self.certificate} with {self.option}-key {self.key}: {reason}"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A handshake costs the server more than the client, who could ask for one after the other (RFC 9325 §3.5).
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        return context

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what changes when one of the files does."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)


class ServerTls:
    """`context` is the present one: take it anew for each connection."""

    def __init__(self, files: TlsFiles, reloads: Counter[str]) -> None:
        """`reloads` counts by result.  Raises ConfigurationError."""
        self._files = files
        self._reloads = reloads
        self._stamp = files.stamp()
        self._timer: asyncio.TimerHandle | None = None
        self.context = files.load()

    def watch(self) -> None:
        """Look at the files from time to time, until `close`."""
        self._timer = asyncio.get_running_loop().call_later(CHECK_S, self._check_and_watch)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def reload_if_changed(self) -> None:
        """Load the files again if they are others than before; what can't be used is logged and counted."""
        stamp = self._files.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.context = self._files.load()
        except ConfigurationError as error:
            self._reloads["failed"] += 1
            logger.error("the changed certificate is not used, the earlier one stays: %s", error)
        else:
            self._reloads["loaded"] += 1
            logger.info("%s-cert %s has changed: new connections get it", self._files.option, self._files.certificate)

    def follow_in(self, context: ssl.SSLContext) -> None:
        """Let connections that are accepted with `context`, the first one, have the present certificate."""

        def present(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self.context

        context.sni_callback = present

    def _check_and_watch(self) -> None:
        self.reload_if_changed()
        self.watch()


def _refuse_to_ask() -> str:
    raise ValueError("the key has a passphrase; only a key without one can be used")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
