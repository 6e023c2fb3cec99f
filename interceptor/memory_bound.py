"""The sum of all limits: how much memory the process may take, whatever clients and target do (design rule 7).

Each part is what one limit allows; the constants are what a piece costs beside its bytes, measured on CPython 3.11 and
uvloop 0.22 and rounded up.  Buffers in the kernel, and answers that wait in files, are not the process's memory.
"""

from __future__ import annotations

from interceptor.client import AHEAD_BYTES_MAX, WRITE_BUFFER_BYTES_MAX
from interceptor.limits import Limits

KIB = 1024
# The interpreter, libraries and metrics (58 MiB when idle), and what the allocator can't give back at once.
PROCESS_BYTES = 128 * KIB * KIB
# A connection's own objects.
CONNECTION_BYTES = 16 * KIB
# TLS keeps 256 KiB for what it has read, and OpenSSL its own state.
TLS_BYTES = (256 + 64) * KIB
# What an event or a held request costs beside its bytes.
EXCHANGE_BYTES = 2 * KIB
# What one read from a socket can bring.
READ_BYTES = 256 * KIB


def memory_bound_bytes(limits: Limits, ring_bytes_max: int, *, tls: bool = False) -> int:
    """Return the most resident memory that these limits let the process take."""
    return (
        PROCESS_BYTES
        + limits.connections_max * _connection_bytes(limits, tls=tls)
        + _beside_the_log_bytes(limits)
        + _requests_bytes(limits)
        + limits.answers_memory_bytes_max
        # An answer that is collected, and one read, on each lane; in a replay the same.
        + limits.lanes_max * (2 * READ_BYTES + limits.answer_head_bytes_max + limits.answer_whole_bytes_max)
        + limits.replay_bytes_max
        + ring_bytes_max
    )


def _connection_bytes(limits: Limits, *, tls: bool) -> int:
    """A request's head, and as it is forwarded; what came behind it, and what waits to leave, uncounted elsewhere."""
    each = CONNECTION_BYTES + 2 * limits.head_bytes_max + AHEAD_BYTES_MAX + WRITE_BUFFER_BYTES_MAX
    return each + (TLS_BYTES if tls else 0)


def _beside_the_log_bytes(limits: Limits) -> int:
    """Connections to the target for what is not recorded: what it does not take, and one read more."""
    each = CONNECTION_BYTES + limits.answer_head_bytes_max + WRITE_BUFFER_BYTES_MAX + READ_BYTES
    return min(limits.pool_connections_max + limits.tunnels_max, limits.connections_max) * each


def _requests_bytes(limits: Limits) -> int:
    """Requests that are being read, held, and under way; where a sum is the limit, the last one may go beyond it."""
    most = limits.hold_requests_max + limits.in_flight_events_max
    return (
        limits.intake_bytes_max
        + limits.hold_bytes_max
        # As events, and in the write buffers of lanes and log.
        + 3 * limits.in_flight_bytes_max
        # A content is there in parts, joined, and coded anew.
        + 4 * limits.body_bytes_max
        + most * EXCHANGE_BYTES
    )
