"""The engine `mark`: the durable version alone, a place in the log to come back to by `reproject --to`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from interceptor.address import TargetAddress
from interceptor.checkpoint.artefacts import Draft
from interceptor.checkpoint.blackout import Blackout
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.engine import Captured, EngineContext, Finish
from interceptor.checkpoint.errors import RestoreRefusedError
from storage_backends.backend import Fact


def open_mark_engine(context: EngineContext) -> MarkEngine:
    """Return it."""
    return MarkEngine()


class MarkEngine:
    """Implements CheckpointEngine, and keeps nothing."""

    name = "mark"
    holds_state = False
    starts_target = False
    needs_connections_closed = False

    async def probe(self) -> None:
        """It works everywhere."""

    def prepared(self, draft: Draft) -> AbstractAsyncContextManager[None]:
        """Nothing can be done before."""
        return nullcontext()

    async def checkpoint(self, draft: Draft, blackout: Blackout) -> Finish:
        """Nothing is taken: the catalogue's entry is all."""
        return _nothing_more

    async def restore(self, checkpoint: Checkpoint, target: TargetAddress) -> None:
        """There is nothing to give."""
        raise RestoreRefusedError(f"{checkpoint.id} is a mark and holds no state")

    async def discard(self, checkpoint: Checkpoint) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is held."""

    def describe(self) -> dict[str, Fact]:
        return {}


async def _nothing_more() -> Captured:
    return Captured()
