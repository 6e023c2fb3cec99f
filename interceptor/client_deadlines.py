"""What a client takes too long for: silence, and trickling.

Nothing is measured while requests pass.  A sweep looks at each connection about once a second: what it is at, since
when, and how many bytes have moved.  A phase that lasts too long, and one that has moved fewer bytes than the minimum
rate asks for within `rate_grace_s`, ends the connection.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from interceptor.limits import Limits

# tcpi_bytes_acked of struct tcp_info (linux/tcp.h): what the peer's kernel has taken since the connection began.
_BYTES_ACKED = struct.Struct("=120xQ")


class Phase(NamedTuple):
    """What a connection is at.  It is the same phase as long as `kind` and `token` are; `moved_bytes` grows in it."""

    kind: str
    token: object
    moved_bytes: int = 0


_LIMIT_OF_KIND = {
    "closing": "client_write_timeout_s",
    "blocked": "client_write_timeout_s",
    "stuck": "client_write_timeout_s",
    "ended": "client_idle_timeout_s",
    "head": "head_timeout_s",
    "body": "body_timeout_s",
    "idle": "client_idle_timeout_s",
}
_RATE_OF_KIND = {
    "head": "head_bytes_per_s_min",
    "body": "body_bytes_per_s_min",
    "upload": "body_bytes_per_s_min",
    "closing": "answer_bytes_per_s_min",
    "blocked": "answer_bytes_per_s_min",
}


class Deadlines:
    """Watches one connection."""

    __slots__ = ("_phase", "_since_s", "_window_bytes", "_window_since_s")

    def __init__(self) -> None:
        self._phase = Phase("", None)
        self._since_s = 0.0
        self._window_bytes = 0
        self._window_since_s = 0.0

    def exceeded(self, phase: Phase, now_s: float, limits: Limits) -> str | None:
        """Return the name of the limit that the connection has gone past, if any."""
        if phase[:2] != self._phase[:2]:
            self._since_s = self._window_since_s = now_s
            self._window_bytes = phase.moved_bytes
            self._phase = phase
            return None
        moved = phase.moved_bytes != self._phase.moved_bytes
        self._phase = phase
        if phase.kind in ("blocked", "closing") and moved:
            # The write timeout is for a client that takes nothing at all; the rate is for one that takes little.
            self._since_s = now_s
        name = _LIMIT_OF_KIND.get(phase.kind)
        if name is not None and now_s - self._since_s >= getattr(limits, name):
            return name
        return self._too_slow(phase, now_s, limits)

    def _too_slow(self, phase: Phase, now_s: float, limits: Limits) -> str | None:
        name = _RATE_OF_KIND.get(phase.kind)
        window_s = now_s - self._window_since_s
        if name is None or window_s < limits.rate_grace_s:
            return None
        moved_bytes = phase.moved_bytes - self._window_bytes
        self._window_since_s, self._window_bytes = now_s, phase.moved_bytes
        return name if moved_bytes < getattr(limits, name) * window_s else None


def acknowledged_bytes(connection: socket.socket | None) -> int | None:
    """Return how many bytes the peer has taken from a TCP connection so far; None where the system doesn't say."""
    if connection is None or connection.family == socket.AF_UNIX:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    except OSError:
        return None
    return int(_BYTES_ACKED.unpack(info)[0]) if len(info) == _BYTES_ACKED.size else None
