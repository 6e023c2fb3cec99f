"""Asking the kernel by netlink which socket would accept a connection (NETLINK_SOCK_DIAG, what `ss` uses).

The kernel runs the very lookup that an incoming SYN would meet, so wildcards, v6-only sockets and the preference of
an exact address are decided by it, not guessed here. The answer takes some 5 µs whatever the number of
connections, also when nobody listens. No privilege is needed.

The reply to a request is queued before send() returns, so reading it never waits.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from interceptor.target.local_address import IPAddress, family_of

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 0x1
_NLM_F_DUMP = 0x300
_TCP_LISTEN = 10
_NO_COOKIE = b"\xff" * 8
_RECEIVE_BYTES = 65536

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ERROR = struct.Struct("=i")
_QUERY = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_SOCKET_ID = struct.Struct("=2s2s16s16sI8s")  # ports, addresses, interface, cookie
_REPLY = struct.Struct("=BBxx2s2s16s16sI8s4II")  # family, state, socket id, timers, queues and uid, inode


class NetlinkLookup:
    """Looks up the listener that serves one address and port. Holds one descriptor until close()."""

    __slots__ = ("_lookup", "_port", "_socket")

    def __init__(self, address: IPAddress, port: int) -> None:
        """Raises OSError where the kernel or a sandbox has no such netlink socket."""
        self._port = struct.pack("!H", port)
        self._lookup = self._request(family_of(address), address.packed, _NLM_F_REQUEST)
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG
        )

    def find(self, known: int | None) -> int | None:
        """The listening socket's inode, or None. Prefers `known` while it is one of several (SO_REUSEPORT).

        Raises OSError if the kernel refuses the question.
        """
        self._socket.send(self._lookup)
        reply = self._socket.recv(_RECEIVE_BYTES)
        kind = _HEADER.unpack_from(reply)[1]
        if kind == _NLMSG_ERROR:
            code = -_ERROR.unpack_from(reply, _HEADER.size)[0]
            if code == errno.ENOENT:
                return None
            raise OSError(code, os.strerror(code), "NETLINK_SOCK_DIAG")
        family, _, _, _, address, *_, inode = _REPLY.unpack_from(reply, _HEADER.size)
        if known is not None and inode != known and known in self._sharing(family, address):
            return known
        return int(inode)

    def close(self) -> None:
        """Give the descriptor back. find() must not be called afterwards."""
        self._socket.close()

    def _sharing(self, family: int, address: bytes) -> set[int]:
        """The inodes of all listeners bound to this very address and our port."""
        self._socket.send(self._request(family, b"", _NLM_F_REQUEST | _NLM_F_DUMP))
        inodes: set[int] = set()
        while True:
            datagram = self._socket.recv(_RECEIVE_BYTES)
            offset = 0
            while offset < len(datagram):
                length, kind, *_ = _HEADER.unpack_from(datagram, offset)
                if kind == _NLMSG_DONE:
                    return inodes
                if kind == _NLMSG_ERROR:
                    code = -_ERROR.unpack_from(datagram, offset + _HEADER.size)[0]
                    raise OSError(code, os.strerror(code), "NETLINK_SOCK_DIAG")
                _, _, port, _, bound, *_, inode = _REPLY.unpack_from(datagram, offset + _HEADER.size)
                if port == self._port and bound == address:
                    inodes.add(inode)
                offset += length + 3 & ~3

    def _request(self, family: int, address: bytes, flags: int) -> bytes:
        body = _QUERY.pack(family, socket.IPPROTO_TCP, 0, 1 << _TCP_LISTEN)
        body += _SOCKET_ID.pack(self._port, b"", address, b"", 0, _NO_COOKIE)
        return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body
