"""What answers that wait for their clients may take together, in memory and in files (design rule 7).

The limit of each answer alone bounds nothing: there may be as many as there are clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.limits import Limits

if TYPE_CHECKING:
    from interceptor.answer_stream import AnswerStream


class AnswerBudget:
    """`memory_bytes` and `spool_bytes` are what waits now; those who make something wait add to them."""

    __slots__ = ("memory_bytes", "memory_bytes_max", "spool_bytes", "spool_bytes_max", "spooling")

    def __init__(self, limits: Limits) -> None:
        self.memory_bytes = 0
        self.memory_bytes_max = limits.answers_memory_bytes_max
        self.spool_bytes = 0
        self.spool_bytes_max = limits.answers_spool_bytes_max
        # The answers that wait in a file.
        self.spooling: set[AnswerStream] = set()

    @property
    def memory_is_full(self) -> bool:
        return self.memory_bytes >= self.memory_bytes_max

    def largest_if_full(self, more_bytes: int) -> AnswerStream | None:
        """Return the answer that has most in its file where `more_bytes` find no room in files, else None."""
        if self.spool_bytes + more_bytes <= self.spool_bytes_max or not self.spooling:
            return None
        return max(self.spooling, key=_spooled_bytes)


def _spooled_bytes(stream: AnswerStream) -> int:
    return stream.spooled_bytes
