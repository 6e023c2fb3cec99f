"""The output of a target whose memory is kept in images: through pipes of ours to where our own output goes.

An image refers to what was open by its name.  Our own output may be a terminal, a socket of the system's journal, or a
file that has grown since, none of which can be found again; a pipe of ours can be, also by the next process of ours.
"""

from __future__ import annotations

import contextlib
import os
import threading

_PIECE_BYTES = 65536


class OutputRelay:
    """A pipe whose far end is one of our own descriptors; a thread copies, so a slow reader stops only the target."""

    def __init__(self, into_fd: int) -> None:
        """Raises OSError."""
        self._into_fd = into_fd
        self._read_fd, self.write_fd = os.pipe()
        self.inode = os.fstat(self.write_fd).st_ino
        self._thread = threading.Thread(target=self._copy, name="output-relay", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """What /proc/PID/fd shows for it."""
        return f"pipe:[{self.inode}]"

    def close(self) -> None:
        """To be called when the target has ended: what it has written is passed on, then the pipe is closed."""
        os.close(self.write_fd)
        # A process that has left the target's group may hold the pipe open for ever.
        self._thread.join(1.0)

    def _copy(self) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(self._read_fd, _PIECE_BYTES):
                self._pass_on(piece)
        os.close(self._read_fd)

    def _pass_on(self, piece: bytes) -> None:
        # Where nobody reads our output any more the target goes on, as it must not hang on a full pipe.
        with contextlib.suppress(OSError):
            while piece:
                piece = piece[os.write(self._into_fd, piece) :]
