"""Reading who listens from /proc/net/tcp and tcp6: the way that is left where netlink is not allowed.

Linux lists listening sockets before all others, so reading ends at the first line in another state and
10,000 connections cost nothing. The price lies elsewhere: when there are few connections, the kernel walks its whole,
mostly empty hash table to find the next line (2 ms on a machine with 262,144 buckets). Hence only the second choice.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from interceptor.target.local_address import IPAddress

_LISTEN = b"0A"
_BLOCK_BYTES = 4096
_MAPPED_PREFIX = b"\0" * 10 + b"\xff\xff"


class ProcNetLookup:
    """Looks up the listener that serves one address and port. Same interface as NetlinkLookup."""

    __slots__ = ("_candidates", "_listeners_first", "_proc")

    def __init__(self, address: IPAddress, port: int, proc: str = "/proc") -> None:
        """Raises OSError if the table cannot be read."""
        self._proc = proc
        self._candidates = _candidates(address, port)
        self._listeners_first = all(listeners_come_first(self._path(table)) for table in ("tcp", "tcp6"))

    def find(self, known: int | None) -> int | None:
        """The listening socket's inode, or None. Prefers `known` while it is one of several (SO_REUSEPORT).

        Raises OSError if the table cannot be read.
        """
        # A table is read in blocks and can move between two of them, so an absence counts only when seen twice.
        return self._find_once(known) or self._find_once(known)

    def close(self) -> None:
        """Nothing is held between two looks."""

    def _find_once(self, known: int | None) -> int | None:
        tables: dict[str, list[tuple[bytes, int]]] = {}
        for table, endpoint in self._candidates:
            if table not in tables:
                tables[table] = listening_sockets(self._path(table), self._listeners_first)
            inodes = [inode for bound, inode in tables[table] if bound == endpoint]
            if inodes:
                return known if known in inodes else min(inodes)
        return None

    def _path(self, table: str) -> str:
        return f"{self._proc}/net/{table}"


def listening_sockets(path: str, listeners_first: bool = True) -> list[tuple[bytes, int]]:
    """Local endpoint, as the kernel writes it, and inode of each listening socket in one table.

    listeners_first: stop at the first socket in another state. A missing tcp6 means that the kernel has no IPv6.
    Raises OSError if the table cannot be read.
    """
    found: list[tuple[bytes, int]] = []
    for endpoint, state, inode in sockets(path):
        if state == _LISTEN:
            found.append((endpoint, inode))
        elif listeners_first:
            break
    return found


def listeners_come_first(path: str) -> bool:
    """Whether the kernel at hand keeps the order that stopping early rests on. Reads the whole table once."""
    states = [state == _LISTEN for _, state, _ in sockets(path)]
    return states == sorted(states, reverse=True)


def sockets(path: str) -> Iterator[tuple[bytes, bytes, int]]:
    """Local endpoint, state and inode, line by line; no further block is read than the caller asks for.

    A missing tcp6 means that the kernel has no IPv6.  Raises OSError if the table cannot be read.
    """
    try:
        table = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.endswith("tcp6"):
            return
        raise
    try:
        rest = b""
        while block := os.read(table, _BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                fields = line.split()
                if fields[0] != b"sl":
                    yield fields[1], fields[3], int(fields[9])
    finally:
        os.close(table)


def _candidates(address: IPAddress, port: int) -> list[tuple[str, bytes]]:
    """Table and endpoint of each socket that could serve the address, the best first."""
    if address.version == 6:
        return [("tcp6", _endpoint(address.packed, port)), ("tcp6", _endpoint(bytes(16), port))]
    return [
        ("tcp", _endpoint(address.packed, port)),
        ("tcp", _endpoint(bytes(4), port)),
        ("tcp6", _endpoint(_MAPPED_PREFIX + address.packed, port)),
        ("tcp6", _endpoint(_MAPPED_PREFIX + bytes(4), port)),
        ("tcp6", _endpoint(bytes(16), port)),
    ]


def _endpoint(packed: bytes, port: int) -> bytes:
    words = struct.unpack(f"={len(packed) // 4}I", packed)  # printed as 32-bit words of this machine's byte order
    return ("".join(f"{word:08X}" for word in words) + f":{port:04X}").encode()
