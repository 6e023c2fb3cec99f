"""The messages of NETLINK_SOCK_DIAG (sock_diag(7), what `ss` uses), for whoever asks the kernel about sockets.

No privilege is needed.  The reply to a request is queued before send() returns, so reading it never waits.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 0x1
_NLM_F_DUMP = 0x300
_NO_COOKIE = b"\xff" * 8
_RECEIVE_BYTES = 65536

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ERROR = struct.Struct("=i")
_INET_QUERY = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_INET_ID = struct.Struct("=2s2s16s16sI8s")  # ports, addresses, interface, cookie
INET_REPLY = struct.Struct("=BBxx2s2s16s16sI8s4II")  # family, state, socket id, timers, queues and uid, inode


def open_netlink() -> socket.socket:
    """Return a socket to ask with.  Raises OSError where the kernel or a sandbox has no such netlink socket."""
    return socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG
    )


def inet_query(family: int, states: int, near: tuple[int, bytes], far: tuple[int, bytes]) -> bytes:
    """Return the question for TCP sockets with these ports and packed addresses, in one of `states` (a bit each)."""
    ports = struct.pack("!H", near[0]), struct.pack("!H", far[0])
    query = _INET_QUERY.pack(family, socket.IPPROTO_TCP, 0, states)
    return query + _INET_ID.pack(*ports, near[1], far[1], 0, _NO_COOKIE)


def ask_for_one(netlink: socket.socket, query: bytes) -> bytes | None:
    """Return the reply about the one socket that the question means, None if there is none.  Raises OSError."""
    netlink.send(_message(query, _NLM_F_REQUEST))
    reply = netlink.recv(_RECEIVE_BYTES)
    if _HEADER.unpack_from(reply)[1] != _NLMSG_ERROR:
        return reply[_HEADER.size :]
    error = _error_at(reply, 0)
    if error.errno == errno.ENOENT:
        return None
    raise error


def ask_for_all(netlink: socket.socket, query: bytes) -> Iterator[bytes]:
    """Yield the reply about each socket that the question means.  Raises OSError."""
    netlink.send(_message(query, _NLM_F_REQUEST | _NLM_F_DUMP))
    while True:
        datagram = netlink.recv(_RECEIVE_BYTES)
        offset = 0
        while offset < len(datagram):
            length, kind, *_ = _HEADER.unpack_from(datagram, offset)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                raise _error_at(datagram, offset)
            yield datagram[offset + _HEADER.size : offset + length]
            offset += length + 3 & ~3


def _message(query: bytes, flags: int) -> bytes:
    return _HEADER.pack(_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + query


def _error_at(datagram: bytes, offset: int) -> OSError:
    code = -_ERROR.unpack_from(datagram, offset + _HEADER.size)[0]
    return OSError(code, os.strerror(code), "NETLINK_SOCK_DIAG")
