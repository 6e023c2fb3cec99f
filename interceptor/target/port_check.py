"""Refusing to start a target whose port somebody else holds: we would record and replay into a stranger."""

from __future__ import annotations

import errno
import os
import socket

from interceptor.target.errors import PortTakenError
from interceptor.target.listener_inode import listening_inode
from interceptor.target.local_address import IPAddress, addresses_of, family_of
from interceptor.target.unix_listener import UnixListeningSocket


def ensure_port_is_free(host: str, port: int) -> None:
    """Check, before the first start, that nobody listens at or is bound to host:port, a local address.

    Raises PortTakenError, with inode and process id where they can be found (the latter only of one's own user's
    processes), and ListenerUnreadableError.
    """
    inode = listening_inode(host, port)
    if inode is not None:
        raise PortTakenError(f"{host}:{port}", inode, pid_that_holds(inode))
    for address in addresses_of(host):
        if _is_bound(address, port):
            raise PortTakenError(f"{host}:{port}", None, None)


def ensure_path_is_free(path: str) -> None:
    """The same for a Unix socket.  Raises PortTakenError and ListenerUnreadableError."""
    listening = UnixListeningSocket(path)
    try:
        inode = listening.inode()
    finally:
        listening.close()
    if inode is not None:
        raise PortTakenError(f"unix:{path}", inode, pid_that_holds(inode))


def pid_that_holds(inode: int, proc: str = "/proc") -> int | None:
    """A process that has the socket with this inode open, or None if none can be seen."""
    wanted = f"socket:[{inode}]"
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            with os.scandir(f"{proc}/{pid}/fd") as descriptors:
                if any(os.readlink(descriptor.path) == wanted for descriptor in descriptors):
                    return int(pid)
        except OSError:
            continue
    return None


def _is_bound(address: IPAddress, port: int) -> bool:
    with socket.socket(family_of(address), socket.SOCK_STREAM) as probe:
        # As servers do: what remains of old connections (TIME_WAIT) does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address), port))
        except OSError as error:
            # Anything else, a privileged port for one, is no sign of somebody else.
            return error.errno == errno.EADDRINUSE
    return False
