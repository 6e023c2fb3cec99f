"""The inode of the socket that listens at a Unix path, asked for by netlink (NETLINK_SOCK_DIAG with AF_UNIX).

The name in the kernel's table is what was given to bind(), and it stays there when the file is replaced.  So the socket
is recognised by the file: UNIX_DIAG_VFS tells which file a socket is bound to, and that has to be the one at the path
now.  Where a file system numbers its files otherwise towards programs (overlays do), the name has to do.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator

from interceptor.target.errors import ListenerUnreadableError
from interceptor.target.netlink_diag import ask_for_all, open_netlink

_LISTENING = 1 << 10
_SHOW_NAME_AND_FILE = 0x1 | 0x2
_ATTRIBUTE_NAME = 0
_ATTRIBUTE_FILE = 1

_QUERY = struct.Struct("=BBxxIIIII")  # family, protocol, states, inode, what to show, cookie
_REPLY = struct.Struct("=BBBxIII")  # family, type, state, inode, cookie
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_FILE = struct.Struct("=II")  # inode and device of the file, the inode cut to 32 bits


class UnixListeningSocket:
    """The listening socket behind a path, to be looked at often."""

    __slots__ = ("_path", "_socket", "where")

    def __init__(self, path: str) -> None:
        """Raises ListenerUnreadableError where there is no such netlink socket."""
        self.where = f"unix:{path}"
        self._path = path
        try:
            self._socket = open_netlink()
        except OSError as error:
            raise self._unreadable(str(error)) from error

    def inode(self, known: int | None = None) -> int | None:
        """Inode of the socket that listens there now, None if there is none; `known` as long as that one does.

        Raises ListenerUnreadableError where somebody accepts there whose socket the kernel does not show us.
        """
        try:
            found = self._find()
        except OSError as error:
            raise self._unreadable(str(error)) from error
        if known is not None and known in found:
            return known
        if not found and self._accepts():
            raise self._unreadable("somebody accepts there, but from another network namespace")
        return found[0] if found else None

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()

    def _find(self) -> list[int]:
        try:
            file = os.stat(self._path)
        except FileNotFoundError:
            return []
        if not stat.S_ISSOCK(file.st_mode):
            return []
        by_file, by_name = [], []
        for inode, name, file_inode in self._listening():
            if file_inode == file.st_ino & 0xFFFFFFFF and os.path.basename(name) == os.path.basename(self._path):
                by_file.append(inode)
            elif name == self._path:
                by_name.append(inode)
        return by_file or by_name

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(self._path)
            except BlockingIOError:
                # The backlog is full, so somebody listens.
                return True
            except OSError:
                return False
        # It may have begun to listen between the two questions.
        return not self._find()

    def _listening(self) -> Iterator[tuple[int, str, int | None]]:
        """Yield (socket inode, name, inode of the file) of each listening Unix socket."""
        query = _QUERY.pack(socket.AF_UNIX, 0, _LISTENING, 0, _SHOW_NAME_AND_FILE, 0, 0)
        for reply in ask_for_all(self._socket, query):
            yield _read_reply(reply)

    def _unreadable(self, what: str) -> ListenerUnreadableError:
        return ListenerUnreadableError(
            self.where, f"the listening socket can't be looked up ({what})", "Detect deaths by connection"
        )


def _read_reply(reply: bytes) -> tuple[int, str, int | None]:
    inode = _REPLY.unpack_from(reply)[3]
    name, file_inode = "", None
    offset = _REPLY.size
    while offset + _ATTRIBUTE.size <= len(reply):
        length, kind = _ATTRIBUTE.unpack_from(reply, offset)
        value = reply[offset + _ATTRIBUTE.size : offset + length]
        if kind == _ATTRIBUTE_NAME:
            name = os.fsdecode(value.rstrip(b"\0"))
        elif kind == _ATTRIBUTE_FILE:
            file_inode = _FILE.unpack(value)[0]
        offset += max(length, _ATTRIBUTE.size) + 3 & ~3
    return inode, name, file_inode
