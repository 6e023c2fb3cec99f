"""The system call prctl(2), resolved early: looking up a symbol between fork and exec could meet a lock held by another
thread.
"""

from __future__ import annotations

import ctypes
import os

_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_prctl.restype = ctypes.c_int


def prctl(option: int, name: str, argument: int, second: int = 0) -> None:
    """Call it.  `name` is what the error says.  Raises OSError."""
    if _prctl(option, argument, second, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({name}): {os.strerror(number)}")
