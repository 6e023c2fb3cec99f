"""How many connections to a local port somebody still holds at the target's end, the not yet accepted ones included.

Read from /proc/net/tcp and tcp6, where everybody in the network namespace may look.
"""

from __future__ import annotations

from interceptor.address import TargetAddress, UnixAddress
from interceptor.target.proc_net import sockets
from interceptor.target.whereabouts import is_local

# As in the kernel's include/net/tcp_states.h: established, being opened, closed by the peer.  A socket in any other
# state is nobody's once it has lost its inode; these three wait in the accept queue without one.
_WAITING = frozenset({b"01", b"03", b"08", b"0C"})
_LISTEN = b"0A"


class OpenConnections:
    """Counts the connections of one port."""

    def __init__(self, port: int, proc: str = "/proc") -> None:
        self._suffix = f":{port:04X}".encode()
        self._tables = (f"{proc}/net/tcp", f"{proc}/net/tcp6")

    def count(self) -> int:
        """Takes some milliseconds on a large machine.  Raises OSError."""
        return sum(
            endpoint.endswith(self._suffix) and state != _LISTEN and (state in _WAITING or inode != 0)
            for table in self._tables
            for endpoint, state, inode in sockets(table)
        )


def open_connections_to(target: TargetAddress) -> OpenConnections | None:
    """Return what counts them, None where the target is not on this machine or behind a Unix socket."""
    if isinstance(target, UnixAddress) or not is_local(target):
        return None
    return OpenConnections(target.port)
