"""The inode of the socket that listens at a host and port: what makes one incarnation differ from the next.

A socket gets its inode when it is created and keeps it for life, whoever accepts on it and however many connections
come and go. A process that starts anew creates a new socket. Anybody in the same network namespace may ask.

Several listeners on one port (SO_REUSEPORT) are one service of several sockets, and the inodes come and go with
its workers or threads. None of them is "the" one, so whoever looks again names the inode he knows, and it is the answer
as long as it still listens: a worker more or less is no death. Without a known one it is whichever the kernel
would choose now.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
from types import TracebackType
from typing import Protocol

from interceptor.target.errors import ListenerUnreadableError
from interceptor.target.local_address import IPAddress, addresses_of
from interceptor.target.proc_net import ProcNetLookup
from interceptor.target.socket_diag import NetlinkLookup


class ListenerLookup(Protocol):
    """One way to ask for the listener at one address and port."""

    def find(self, known: int | None) -> int | None:
        """The inode, `known` if that still listens there, or None. Raises OSError if it cannot be read."""

    def close(self) -> None:
        """Give descriptors back."""


class ListeningSocket:
    """The listening socket behind a host and port, to be looked at often. Close it, or use it in `with`."""

    __slots__ = ("_lookups", "where")

    def __init__(self, host: str, port: int) -> None:
        """Raises ListenerUnreadableError if the host does not resolve or the kernel shows no listeners."""
        self.where = f"{host}:{port}"
        try:
            addresses = addresses_of(host)
        except OSError as error:
            raise ListenerUnreadableError(self.where, f"the name does not resolve ({error})", "Correct it") from error
        way = _way_that_works()
        self._lookups: list[ListenerLookup] = [way(address, port) for address in addresses]

    def inode(self, known: int | None = None) -> int | None:
        """Inode of the socket that listens there now, None if there is none; `known` as long as that one does.

        Costs about 5 µs. Raises ListenerUnreadableError, rather than saying None, if it cannot be known.
        """
        first = None
        for lookup in self._lookups:
            try:
                found = lookup.find(known)
            except OSError as error:
                raise ListenerUnreadableError(
                    self.where, f"the listening socket cannot be looked up ({error})", "Detect deaths by connection"
                ) from error
            if found is not None and found == known:
                return found
            first = first if first is not None else found
        return first

    def close(self) -> None:
        """Give descriptors back. The object is of no use afterwards."""
        for lookup in self._lookups:
            lookup.close()

    def __enter__(self) -> ListeningSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def listening_inode(host: str, port: int, known: int | None = None) -> int | None:
    """One look at ListeningSocket, for those who look once. Same errors."""
    with ListeningSocket(host, port) as listening:
        return listening.inode(known)


@functools.cache
def _way_that_works() -> type[NetlinkLookup] | type[ProcNetLookup]:
    # The kernel answers "not found" as well when its module for this question is missing, and a sandbox may show
    # empty tables. Only finding a socket that is surely there tells.
    for way in (NetlinkLookup, ProcNetLookup):
        if finds_a_listener(way):
            return way
    raise ListenerUnreadableError(
        "NETLINK_SOCK_DIAG and /proc/net/tcp",
        "neither shows a listening socket of this process",
        "Allow one of them in the sandbox, or detect deaths by connection",
    )


def finds_a_listener(way: type[NetlinkLookup] | type[ProcNetLookup]) -> bool:
    """Whether this way of asking finds a listener and a connection that we open for the purpose."""
    loopback: IPAddress = ipaddress.IPv4Address("127.0.0.1")
    try:
        with (
            socket.create_server((str(loopback), 0)) as listener,
            socket.create_connection(listener.getsockname()),
        ):
            lookup = way(loopback, listener.getsockname()[1])
            try:
                return lookup.find(None) == os.fstat(listener.fileno()).st_ino
            finally:
                lookup.close()
    except OSError:
        return False
