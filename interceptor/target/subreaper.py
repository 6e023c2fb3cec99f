"""What a dead target leaves behind becomes our child (PR_SET_CHILD_SUBREAPER), so that we may end and reap it.

An image is restored with the process ids that it was taken with.  Workers that outlive their master, and zombies that
init is slow to reap, would hold them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from interceptor.target.prctl import prctl

_PR_SET_CHILD_SUBREAPER = 36
_GONE_TIMEOUT_S = 1.0
_POLL_S = 0.001


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    group: int
    session: int

    @property
    def numbers(self) -> tuple[int, int, int]:
        return self.pid, self.group, self.session


def become_subreaper() -> None:
    """From now on orphans among our descendants are our children.  Raises OSError."""
    prctl(_PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER", 1)


def end_holders(numbers: Iterable[int]) -> None:
    """Kill and reap every child of ours that keeps one of these numbers from being given to a new process.

    A number is taken as long as any process, be it a zombie, has it as the id of its process, group or session.
    Blocks for milliseconds.
    """
    wanted = frozenset(numbers)
    _end_until_none_is_left(lambda each: not wanted.isdisjoint(each.numbers))


def end_left_children() -> None:
    """Kill and reap every child of ours in another session than we: nothing that we run for ourselves is.

    Blocks for milliseconds.
    """
    our_session = os.getsid(0)
    _end_until_none_is_left(lambda each: each.session != our_session)


def parent_of(pid: int) -> int | None:
    """Return the parent's process id, None where there is no such process."""
    process = _read(pid)
    return process.parent if process is not None else None


def name_of(pid: int) -> str:
    """Return what a process is called; a question mark where that can't be read."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"


def _end_until_none_is_left(is_meant: Callable[[_Process], bool]) -> None:
    """What a killed child leaves behind is our child from then on: look again until there is nothing."""
    give_up_at = time.monotonic() + _GONE_TIMEOUT_S
    while meant := [each.pid for each in _children() if is_meant(each)]:
        for pid in meant:
            # Our own child keeps its number until we reap it, so the signal meets nobody else.
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() >= give_up_at:
            return
        time.sleep(_POLL_S)


def _children() -> list[_Process]:
    us = os.getpid()
    every = (_read(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return [each for each in every if each is not None and each.parent == us]


def _read(pid: int) -> _Process | None:
    """Return what /proc/PID/stat says, None where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    parent, group, session = (int(field) for field in stat[stat.rindex(b")") + 2 :].split()[1:4])
    return _Process(pid, parent, group, session)
