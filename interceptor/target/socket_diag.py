"""Asking the kernel by netlink which socket would accept a connection (NETLINK_SOCK_DIAG, what `ss` uses).

The kernel runs the very lookup that an incoming SYN would meet, so wildcards, v6-only sockets and the preference of
an exact address are decided by it, not guessed here. The answer takes some 5 µs whatever the number of
connections, also when nobody listens.
"""

from __future__ import annotations

from interceptor.target.local_address import IPAddress, family_of
from interceptor.target.netlink_diag import INET_REPLY, ask_for_all, ask_for_one, inet_query, open_netlink

_LISTENING = 1 << 10
_ANY = (0, b"")


class NetlinkLookup:
    """Looks up the listener that serves one address and port. Holds one descriptor until close()."""

    __slots__ = ("_lookup", "_port", "_socket")

    def __init__(self, address: IPAddress, port: int) -> None:
        """Raises OSError where the kernel or a sandbox has no such netlink socket."""
        self._port = port
        self._lookup = inet_query(family_of(address), _LISTENING, (port, address.packed), _ANY)
        self._socket = open_netlink()

    def find(self, known: int | None) -> int | None:
        """The listening socket's inode, or None. Prefers `known` while it is one of several (SO_REUSEPORT).

        Raises OSError if the kernel refuses the question.
        """
        reply = ask_for_one(self._socket, self._lookup)
        if reply is None:
            return None
        family, _, _, _, address, *_, inode = INET_REPLY.unpack_from(reply)
        if known is not None and inode != known and known in self._sharing(family, address):
            return known
        return int(inode)

    def close(self) -> None:
        """Give the descriptor back. find() must not be called afterwards."""
        self._socket.close()

    def _sharing(self, family: int, address: bytes) -> set[int]:
        """The inodes of all listeners bound to this very address and our port."""
        port = self._port.to_bytes(2)
        found = set()
        for reply in ask_for_all(self._socket, inet_query(family, _LISTENING, (self._port, b""), _ANY)):
            _, _, its_port, _, bound, *_, inode = INET_REPLY.unpack_from(reply)
            if its_port == port and bound == address:
                found.add(int(inode))
        return found
