"""Which processes of a group are still alive: those could hold the target's port.

Zombies count as dead, because they hold nothing; how soon they are reaped is up to the init process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_STATE, _GROUP, _THREADS = 0, 2, 17  # in /proc/PID/stat, behind the name


def group_exists(group: int) -> bool:
    """Whether anything of the group is left, be it a zombie. One system call."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def live_members(group: int, among: Iterable[int] | None = None) -> list[int]:
    """Process ids of the group that are not dead yet, looked for `among` these or, if None, in all of /proc."""
    candidates = among if among is not None else [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in candidates if _lives_in(group, pid)]


def _lives_in(group: int, pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    fields = stat[stat.rindex(b")") + 2 :].split()
    # The leader of a process is shown as a zombie while other threads of it still run.
    dead = fields[_STATE] in (b"Z", b"X") and int(fields[_THREADS]) <= 1
    return int(fields[_GROUP]) == group and not dead
