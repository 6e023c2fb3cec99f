"""Room for connections: how many there may be, in all and from one client address.

A connection takes its place when it is accepted, before it has a handshake or a request: who is one too many is closed
then, for the price of two system calls.
"""

from __future__ import annotations

from interceptor.address_counts import AddressCounts
from interceptor.counters import Counters
from interceptor.limits import Limits

# A peer on a Unix socket has no address; "unknown" is the word for that (RFC 7239 §6.2).
UNKNOWN_PEER = b"unknown"


class Place:
    """One connection's place; `peer` is the client's address as X-Forwarded-For shows it."""

    __slots__ = ("_room", "_taken", "peer")

    def __init__(self, room: ConnectionRoom, peer: bytes) -> None:
        self._room = room
        self._taken = True
        self.peer = peer

    def rename(self, peer: bytes) -> bool:
        """A PROXY header says who the client is; return whether that address may have one more connection."""
        self._room.leave_address(self.peer)
        self.peer = peer
        return self._room.enter_address(peer)

    def give_back(self) -> None:
        """The connection has ended; may be told more than once."""
        if self._taken:
            self._taken = False
            self._room.taken -= 1
            self._room.leave_address(self.peer)


class ConnectionRoom:
    """`taken` places, those included whose handshake is not finished."""

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self._limits = limits
        self._counters = counters
        self._addresses = AddressCounts()
        self.taken = 0

    def take(self, peer: bytes) -> Place | None:
        """Return a place, None where there is none left in all or for this address."""
        if self.taken >= self._limits.connections_max:
            self._counters.limits_reached["connections_max"] += 1
            return None
        if not self.enter_address(peer):
            self.leave_address(peer)
            return None
        self.taken += 1
        return Place(self, peer)

    def enter_address(self, peer: bytes) -> bool:
        """Count a connection of this address; return whether it may have it."""
        welcome = self._addresses.enter(peer) <= self._limits.connections_per_address_max
        if not welcome:
            self._counters.limits_reached["connections_per_address_max"] += 1
        return welcome

    def leave_address(self, peer: bytes) -> None:
        """Count one connection of this address less."""
        self._addresses.leave(peer)
