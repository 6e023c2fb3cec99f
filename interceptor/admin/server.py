"""Serving the admin application: on its own port, or on a private socket behind the listener (`--admin same`)."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from pathlib import Path

from aiohttp import web

from interceptor.address import Address, UnixAddress
from interceptor.admin.app import make_app
from interceptor.ambassador import Ambassador
from interceptor.errors import ConfigurationError
from interceptor.server_tls import ServerTls


class AdminServer:
    """Owns the listening socket of the admin application."""

    def __init__(self, ambassador: Ambassador) -> None:
        self._ambassador = ambassador
        self._runner = web.AppRunner(make_app(ambassador), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        self._tls: ServerTls | None = None
        self._directory: Path | None = None
        self.address: Address | None = None

    async def start(self) -> None:
        """Listen.  Raises ConfigurationError."""
        await self._runner.setup()
        wanted = self._ambassador.settings.admin
        try:
            if wanted is None:
                # A directory that only we may enter: whoever can connect needs no further proof but the token.
                self._directory = Path(tempfile.mkdtemp(prefix="interceptor-admin-"))
                path = str(self._directory / "socket")
                await web.UnixSite(self._runner, path).start()
                self._ambassador.passages.admin = UnixAddress(path)
                return
            if isinstance(wanted, UnixAddress):
                raise ConfigurationError(f"--admin {wanted}: expected HOST:PORT or same")
            await web.TCPSite(self._runner, wanted.host, wanted.port, ssl_context=self._make_context()).start()
        except OSError as error:
            raise ConfigurationError(
                f"the admin can't listen on {wanted}: {error.strerror or error}; choose another --admin"
            ) from error
        self.address = Address(wanted.host, self._runner.addresses[0][1])

    def _make_context(self) -> ssl.SSLContext | None:
        files = self._ambassador.settings.admin_tls
        if files is None:
            return None
        self._tls = ServerTls(files, self._ambassador.counters.tls_reloads)
        context = self._tls.context
        self._tls.follow_in(context)
        self._tls.watch()
        return context

    async def stop(self) -> None:
        """Close."""
        if self._tls is not None:
            self._tls.close()
        await self._runner.cleanup()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
