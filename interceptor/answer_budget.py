"""What answers that wait for their clients may take together, in memory and in files (design rule 7).

The limit of each answer alone bounds nothing: there may be as many as there are clients.
"""

from __future__ import annotations

from interceptor.limits import Limits


class AnswerBudget:
    """`memory_bytes` and `spool_bytes` are what waits now; those who make something wait add to them."""

    __slots__ = ("memory_bytes", "memory_bytes_max", "spool_bytes", "spool_bytes_max")

    def __init__(self, limits: Limits) -> None:
        self.memory_bytes = 0
        self.memory_bytes_max = limits.answers_memory_bytes_max
        self.spool_bytes = 0
        self.spool_bytes_max = limits.answers_spool_bytes_max

    @property
    def memory_is_full(self) -> bool:
        return self.memory_bytes >= self.memory_bytes_max
