"""Whether the target is on this machine, and the socket that it listens on."""

from __future__ import annotations

from typing import Protocol

from interceptor.address import TargetAddress, UnixAddress
from interceptor.target.listener_inode import ListeningSocket
from interceptor.target.local_address import is_local_address
from interceptor.target.port_check import ensure_path_is_free, ensure_port_is_free
from interceptor.target.unix_listener import UnixListeningSocket


class Listening(Protocol):
    """A listening socket, to be looked at often."""

    def inode(self, known: int | None = None) -> int | None:
        """Inode of the socket that listens there now, None if there is none; `known` as long as that one does.

        Raises ListenerUnreadableError, rather than saying None, if it cannot be known.
        """

    def close(self) -> None:
        """Give descriptors back."""


def is_local(target: TargetAddress) -> bool:
    """Whether the target listens on this machine (more exactly: network namespace)."""
    return isinstance(target, UnixAddress) or is_local_address(target.host)


def listening_at(target: TargetAddress) -> Listening:
    """Return the listening socket of a local target.  Raises ListenerUnreadableError."""
    if isinstance(target, UnixAddress):
        return UnixListeningSocket(target.path)
    return ListeningSocket(target.host, target.port)


def ensure_nobody_listens(target: TargetAddress) -> None:
    """Refuse to start a target where another one listens.  Raises PortTakenError and ListenerUnreadableError."""
    if isinstance(target, UnixAddress):
        ensure_path_is_free(target.path)
    elif is_local_address(target.host):
        ensure_port_is_free(target.host, target.port)
