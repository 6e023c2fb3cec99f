"""From where a new incarnation is brought into step: the one place that decides it."""

from __future__ import annotations

from typing import Protocol


class StartingPoint(Protocol):
    """Asked once for each new incarnation, when it is ready and before anything is delivered to it."""

    async def prepare(self, asked_version: int | None) -> int:
        """Return the first version to deliver; the incarnation holds the effects of all before it.

        `asked_version` is an operator's word.  Raises TargetLostError, TargetError, LogError or NotPossibleNowError.
        """
        ...

    def expect(self, asked_version: int | None) -> None:
        """The next incarnations are to begin at `asked_version`, an operator's word; None: where they usually do.

        Said before such an incarnation is made, because it may come with a state.
        """
        ...
