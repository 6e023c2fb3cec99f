"""The sockets that we listen on: TCP for each address of a host, or one Unix socket with its file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat

from interceptor.address import Address, UnixAddress
from interceptor.errors import ConfigurationError

BACKLOG = 4_096


class ListeningSockets:
    """Opened by `open`; `address` has the real port.  `close` removes the file of a Unix socket if it is still ours."""

    @classmethod
    async def open(cls, address: Address | UnixAddress, option: str, unix_mode: int) -> ListeningSockets:
        """Bind and listen.  Raises ConfigurationError, which names `option`."""
        try:
            if isinstance(address, UnixAddress):
                return cls(address, [_open_unix(address.path, unix_mode)])
            sockets = await _open_tcp(address)
        except OSError as error:
            reason = f"{error.strerror or error}; choose another {option}"
            raise ConfigurationError(f"can't listen on {address}: {reason}") from error
        return cls(Address(address.host, sockets[0].getsockname()[1]), sockets)

    def __init__(self, address: Address | UnixAddress, sockets: list[socket.socket]) -> None:
        self.address = address
        self.sockets = sockets
        self._file = os.stat(address.path) if isinstance(address, UnixAddress) else None

    def close(self) -> None:
        """Stop listening.  Can be called twice."""
        for each in self.sockets:
            each.close()
        if self._file is not None and isinstance(self.address, UnixAddress):
            # Another process may have put its own socket there meanwhile.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(self.address.path), self._file):
                    os.unlink(self.address.path)
            self._file = None


async def _open_tcp(address: Address) -> list[socket.socket]:
    host = None if address.host in ("", "*") else address.host
    found = await asyncio.get_running_loop().getaddrinfo(
        host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for family, where in dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found):
            opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            sockets.append(opened)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # The port that the system chose for the first address holds for all.
            opened.bind((where[0], port, *where[2:]))
            port = opened.getsockname()[1]
            opened.listen(BACKLOG)
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _open_unix(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        opened.bind(path)
        # Nobody can connect before listen(), so nobody slips in before the mode is right.
        os.chmod(path, mode)
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _remove_stale(path: str) -> None:
    """Remove a socket file on which nobody listens; what is no socket, or is in use, stays.  Raises OSError."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "another process listens there")
