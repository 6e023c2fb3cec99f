"""Nothing is sent to a process before it has accepted the connection.

The accept queue of a prefork server outlives its worker: the master keeps the listening socket.  What was sent on a
connection that nobody had accepted yet is executed by the next worker, whatever we do to the connection, and it would
get the same events again from the log (design rule 1).
"""

from __future__ import annotations

import asyncio
import socket
from time import monotonic

from interceptor.target.connection_owner import Acceptance, accepted_inode

# A server that is idle accepts within a few turns of our loop, which are shorter than its shortest timer.
SPIN_TURNS = 20
PAUSE_S = 0.001


async def wait_until_accepted(connection: socket.socket, timeout_s: float) -> bool:
    """Return true once the application has accepted our TCP connection, or where that can't be seen."""
    deadline_s = monotonic() + timeout_s
    turns = 0
    while accepted_inode(connection) is Acceptance.QUEUED:
        if monotonic() >= deadline_s:
            return False
        turns += 1
        await asyncio.sleep(0 if turns < SPIN_TURNS else PAUSE_S)
    return True
