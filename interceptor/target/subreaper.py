"""What a dead target leaves behind becomes our child (PR_SET_CHILD_SUBREAPER), so that we may end and reap it.

An image is restored with the process ids that it was taken with.  Workers that outlive their master, and zombies that
init is slow to reap, would hold them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from interceptor.target.prctl import prctl

_PR_SET_CHILD_SUBREAPER = 36
_GONE_TIMEOUT_S = 1.0
_POLL_S = 0.001


def become_subreaper() -> None:
    """From now on orphans among our descendants are our children.  Raises OSError."""
    prctl(_PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER", 1)


def end_children(pids: Iterable[int]) -> None:
    """Kill and reap those of these processes that are our children.  Blocks for milliseconds."""
    waiting = {pid for pid in pids if parent_of(pid) == os.getpid()}
    for pid in waiting:
        # Our own child keeps its number until we reap it, so the signal meets nobody else.
        os.kill(pid, signal.SIGKILL)
    give_up_at = time.monotonic() + _GONE_TIMEOUT_S
    while waiting and time.monotonic() < give_up_at:
        for pid in list(waiting):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            waiting.discard(pid)
        if waiting:
            time.sleep(_POLL_S)


def left_children() -> list[int]:
    """Return what has become our child and is in another session than we: nothing that we run for ourselves is."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and parent_of(int(name)) == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(name)) != os.getsid(0):
                    found.append(int(name))
    return found


def parent_of(pid: int) -> int | None:
    """Return the parent's process id, None where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


def name_of(pid: int) -> str:
    """Return what a process is called; a question mark where that can't be read."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"
