"""Children for which the kernel has no io_uring: CRIU can't keep its rings, and libuv (Node, uvloop) opens them.

Everybody has a way without, which is taken when the system call is answered "not implemented", as on older
kernels.  A seccomp filter (seccomp(2)) of four instructions answers so; CRIU keeps it with the process.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Callable

from interceptor.target.prctl import prctl

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
# The number is the same on all architectures (those since Linux 5.1 are).
_IO_URING_SETUP = 425
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000

_INSTRUCTION = struct.Struct("=HBBI")  # code, jumps if true and if false, operand
_PROGRAM = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (_LOAD_WORD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    )
)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def refuse_io_uring() -> Callable[[], None]:
    """Return what a child calls between fork and exec; it needs CAP_SYS_ADMIN there."""
    code = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    program = _FilterProgram(len(_PROGRAM) // _INSTRUCTION.size, ctypes.addressof(code))

    def between_fork_and_exec() -> None:
        assert len(code) == len(_PROGRAM)  # keeps it alive: the program only has its address
        prctl(_PR_SET_SECCOMP, "PR_SET_SECCOMP", _SECCOMP_MODE_FILTER, ctypes.addressof(program))

    return between_fork_and_exec
