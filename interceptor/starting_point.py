"""From where a new incarnation is brought into step: the one place that decides it."""

from __future__ import annotations


class StartingPoint:
    """Asked once for each new incarnation, when it is ready and before anything is delivered to it."""

    async def prepare(self, asked_version: int | None) -> int:
        """Return the first version to deliver; the incarnation holds the effects of all before it.

        `asked_version` is an operator's word.  Raises TargetError, LogError or NotPossibleNowError.
        """
        return asked_version or 1
