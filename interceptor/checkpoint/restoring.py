"""From where a new incarnation is brought into step: the newest checkpoint that can be used, else version 1.

A checkpoint whose artefact is missing or damaged, that is of another version of the application, or that the target
refuses, is skipped with a message, and the one before it is used.  Nothing is guessed (design rule 8): where the events
that would be needed were trimmed, the recovery stops with the reasons.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic

from interceptor.address import TargetAddress
from interceptor.checkpoint.artefacts import Artefacts
from interceptor.checkpoint.catalogue import Catalogue
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.engine import CheckpointEngine
from interceptor.checkpoint.errors import ArtefactDamagedError, RestoreFailedError, RestoreRefusedError
from interceptor.errors import NotPossibleNowError, TargetLostError
from interceptor.journal import Journal

logger = logging.getLogger(__name__)

ATTEMPTS_MAX = 2
"""An incarnation that is lost during a restore may have died of it: after so many the one before is used."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The last restore into the target: what it gave, and how long it took."""

    checkpoint: Checkpoint
    seconds: float


class Restoring:
    """Implements StartingPoint with checkpoints."""

    def __init__(
        self,
        engine: CheckpointEngine,
        artefacts: Artefacts,
        catalogue: Catalogue,
        journal: Journal,
        target: TargetAddress,
        app_version: str | None,
    ) -> None:
        self.last: Restored | None = None
        self._engine = engine
        self._artefacts = artefacts
        self._catalogue = catalogue
        self._journal = journal
        self._target = target
        self._app_version = app_version
        # How often an incarnation was lost while it was given this checkpoint.
        self._losses: dict[str, int] = {}
        # Where the engine starts the target: what the present incarnation was made from, and why not from others.
        self._bringing = asyncio.Lock()
        self._brought: Checkpoint | None = None
        self._brought_is_ready = False
        self._reasons: list[str] = []
        self._expected_version: int | None = None

    async def prepare(self, asked_version: int | None) -> int:
        """Give the fresh incarnation the state before the version that is returned.

        `asked_version` is an operator's word: exactly from there.  Raises NotPossibleNowError and TargetLostError.
        """
        if self._engine.starts_target:
            # It may be seen to be ready before the engine is done with it.
            async with self._bringing:
                return self._begin_behind_brought(asked_version)
        if await self._restore_newest(asked_version):
            assert self.last is not None
            return self.last.checkpoint.version + 1
        self._refuse_what_is_gone(asked_version, self._reasons)
        return 1

    def expect(self, asked_version: int | None) -> None:
        """See StartingPoint."""
        self._expected_version = asked_version

    async def bring_back(self) -> bool:
        """Make the next incarnation, with an engine that starts the target; false where no checkpoint can be used."""
        if self._brought is not None and not self._brought_is_ready:
            self._losses[self._brought.id] = self._losses.get(self._brought.id, 0) + 1
        self._brought, self._brought_is_ready = None, False
        async with self._bringing:
            if await self._restore_newest(self._expected_version):
                assert self.last is not None
                self._brought = self.last.checkpoint
        return self._brought is not None

    def _begin_behind_brought(self, asked_version: int | None) -> int:
        """Return the version behind what the present incarnation, which is ready now, was made with."""
        brought = self._brought
        if brought is None:
            self._refuse_what_is_gone(asked_version, self._reasons)
            return 1
        self._brought_is_ready = True
        self._losses.pop(brought.id, None)
        return brought.version + 1

    async def _restore_newest(self, asked_version: int | None) -> bool:
        """Restore the newest checkpoint that can be used; false, and the reasons, where there is none."""
        self._reasons = []
        for checkpoint in self._candidates(asked_version):
            reason = await self._reason_against(checkpoint)
            if reason is None:
                reason = await self._restore(checkpoint)
            if reason is None:
                return True
            logger.warning("the checkpoint %s is skipped: %s", checkpoint.id, reason)
            self._reasons.append(f"{checkpoint.id}: {reason}")
        return False

    def check(self, asked_version: int | None) -> None:
        """Raise NotPossibleNowError where `prepare` would certainly refuse; nothing has been touched then."""
        if not self._candidates(asked_version):
            self._refuse_what_is_gone(asked_version, [])

    async def restore_into(self, checkpoint: Checkpoint, target: TargetAddress) -> None:
        """Give a scratch copy a checkpoint's state.

        Raises NotPossibleNowError, TargetLostError.
        """
        if self._engine.starts_target:
            raise NotPossibleNowError(f"the engine {self._engine.name} can't restore into a running copy")
        reason = await self._reason_against(checkpoint)
        if reason is not None:
            raise NotPossibleNowError(f"{checkpoint.id}: {reason}")
        try:
            await self._engine.restore(checkpoint, target)
        except (RestoreRefusedError, RestoreFailedError) as error:
            raise NotPossibleNowError(f"{checkpoint.id}: {error}") from error

    def _candidates(self, asked_version: int | None) -> list[Checkpoint]:
        """Return the checkpoints to try, newest first."""
        first, last = self._journal.backend.first_version, self._journal.last_version
        return [
            entry
            for entry in reversed(self._catalogue.entries)
            if entry.holds_state
            and first <= entry.version + 1 <= last + 1
            and (asked_version is None or entry.version + 1 == asked_version)
        ]

    async def _reason_against(self, checkpoint: Checkpoint) -> str | None:
        """Return why it can't be used, None if it can."""
        if checkpoint.engine != self._engine.name:
            return f"it was taken by the engine {checkpoint.engine}, and this is {self._engine.name}"
        if checkpoint.app_version != self._app_version:
            return (
                f"it holds the state of version {checkpoint.app_version or 'unknown'} of the application, and this is "
                f"{self._app_version or 'unknown'} (--app-version)"
            )
        if self._losses.get(checkpoint.id, 0) >= ATTEMPTS_MAX:
            return "giving it back has failed before, or has cost the target its life twice"
        try:
            await asyncio.to_thread(self._artefacts.verify, checkpoint)
        except ArtefactDamagedError as error:
            return str(error)
        return None

    async def _restore(self, checkpoint: Checkpoint) -> str | None:
        """Return why the target has refused it, None if it holds the state now.

        Raises TargetLostError where this incarnation can't be used any more.
        """
        began_s = monotonic()
        try:
            await self._engine.restore(checkpoint, self._target)
        except RestoreRefusedError as error:
            return str(error)
        except RestoreFailedError as error:
            self._losses[checkpoint.id] = ATTEMPTS_MAX
            raise TargetLostError(str(error)) from error
        except TargetLostError:
            self._losses[checkpoint.id] = self._losses.get(checkpoint.id, 0) + 1
            raise
        if not self._engine.starts_target:
            self._losses.pop(checkpoint.id, None)
        self.last = Restored(checkpoint, monotonic() - began_s)
        logger.info(
            "checkpoint %s (version %d) was restored in %.3f s", checkpoint.id, checkpoint.version, self.last.seconds
        )
        return None

    def _refuse_what_is_gone(self, asked_version: int | None, reasons: list[str]) -> None:
        first = self._journal.backend.first_version
        why = "".join(f"; {reason}" for reason in reasons)
        if asked_version is not None and asked_version > 1:
            raise NotPossibleNowError(
                f"from={asked_version}: that needs a checkpoint of this engine at version {asked_version - 1}, and "
                f"there is none that can be used{why}"
            )
        if first > 1:
            # Whoever restarts the target after this wants every one of them tried again.
            self._losses.clear()
            raise NotPossibleNowError(
                f"the log begins at version {first}, what is before it was trimmed or dropped, and no checkpoint at "
                f"version {first - 1} or behind can be used{why}"
            )
