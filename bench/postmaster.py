"""The processes of a PostgreSQL server, stopped and continued together, as on a machine that hangs."""

import os
import signal
from pathlib import Path


def postmaster_pid(directory: Path) -> int:
    """Return the process id of the server whose data is in `directory`.  Raises OSError where none runs."""
    return int((directory / "postmaster.pid").read_text().split()[0])


def server_pids(postmaster: int) -> list[int]:
    """Return the server's process ids, the postmaster's last.  It is stopped, so it has no more children meanwhile."""
    os.kill(postmaster, signal.SIGSTOP)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [*map(int, children), postmaster]


def freeze(postmaster: int) -> None:
    """Stop every process."""
    for pid in server_pids(postmaster):
        os.kill(pid, signal.SIGSTOP)


def thaw(postmaster: int) -> None:
    """Let every process go on."""
    for pid in server_pids(postmaster):
        os.kill(pid, signal.SIGCONT)
