"""How many connections each client address has.

An IPv6 client usually owns a whole /64, so that is what counts as one address.  Loopback and Unix sockets are not
counted: who comes that way is a proxy on this machine, or a neighbour whom no limit of ours could keep in check.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

_V6_PREFIX_BYTES = 8


class AddressCounts:
    """Counts by address as X-Forwarded-For shows it."""

    def __init__(self) -> None:
        self._counts: Counter[bytes] = Counter()

    def enter(self, peer: bytes) -> int:
        """Count a connection; return how many its address has now, 0 where it is not counted."""
        key = _key(peer)
        if key is None:
            return 0
        self._counts[key] += 1
        return self._counts[key]

    def leave(self, peer: bytes) -> None:
        """Take back what `enter` counted."""
        key = _key(peer)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def __len__(self) -> int:
        return len(self._counts)


def _key(peer: bytes) -> bytes | None:
    try:
        address = ipaddress.ip_address(peer.decode().partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None
    return address.packed if address.version == 4 else address.packed[:_V6_PREFIX_BYTES]
