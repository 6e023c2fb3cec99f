"""A process with a chosen process id, as another program might have got it by chance.

`python pid_taker.py PID`: makes a `sleep` with this id (clone3 with set_tid, Linux 5.5, CAP_SYS_ADMIN), and ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_CLONE3 = 435


class CloneArguments(ctypes.Structure):
    """`struct clone_args` of linux/sched.h."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack")),
        *((name, ctypes.c_uint64) for name in ("stack_size", "tls", "set_tid", "set_tid_size", "cgroup")),
    )


def take(pid: int) -> None:
    """Raises OSError where the id is not free."""
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = (ctypes.c_int32 * 1)(pid)
    arguments = CloneArguments(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(wanted), set_tid_size=1)
    made = libc.syscall(_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if made == 0:
        os.execv("/bin/sleep", ["sleep", "300"])
    if made < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    take(int(sys.argv[1]))
