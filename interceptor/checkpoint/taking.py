"""Taking a checkpoint: quiet, the target's state, requests pass again, and only then everything that may take time.

The order makes a crash harmless at any point: the artefact is durable before the log is known to be, the log before the
catalogue speaks of the checkpoint.  So a checkpoint in the catalogue has its artefact, and its log reaches up to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import time
from typing import TypeVar

from interceptor.checkpoint.artefacts import Artefacts, Draft
from interceptor.checkpoint.blackout import DRAIN, FREEZE, RESUME, Blackout
from interceptor.checkpoint.catalogue import Catalogue
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.engine import CheckpointEngine, Finish
from interceptor.checkpoint.errors import ArtefactDamagedError, CheckpointError
from interceptor.errors import NotPossibleNowError
from interceptor.hold import Hold
from interceptor.journal import Journal
from interceptor.standing import Standing
from interceptor.states import State, StateMachine

logger = logging.getLogger(__name__)

HOLD = "checkpoint"
_GONE = frozenset({State.AWAITING, State.PROJECTING, State.FAILED})

T = TypeVar("T")


class Taker:
    """Takes one checkpoint at a time."""

    def __init__(
        self,
        engine: CheckpointEngine,
        artefacts: Artefacts,
        catalogue: Catalogue,
        machine: StateMachine,
        hold: Hold,
        journal: Journal,
        standing: Standing,
        app_version: str | None,
        timeout_s: float,
        store_timeout_s: float,
        close_connections: Callable[[], Awaitable[None]],
    ) -> None:
        self._engine = engine
        self._artefacts = artefacts
        self._catalogue = catalogue
        self._machine = machine
        self._hold = hold
        self._journal = journal
        self._standing = standing
        self._app_version = app_version
        self._timeout_s = timeout_s
        self._store_timeout_s = store_timeout_s
        self._close_connections = close_connections

    async def take(self) -> Checkpoint:
        """Return the catalogue's new entry.

        Raises NotPossibleNowError, DrainTimeoutError, CheckpointError or LogError; nothing has changed then.
        """
        if self._machine.state not in (State.ACTIVE, State.HELD):
            raise NotPossibleNowError(f"the state is {self._machine.state.value}: there is no target to checkpoint")
        self._refuse_in_doubt()
        number = max(await asyncio.to_thread(self._artefacts.next_number), self._catalogue.next_number)
        draft = self._artefacts.draft(f"{self._engine.name}-{number}", self._journal.last_version)
        try:
            async with self._engine.prepared(draft):
                entry, finish = await self._capture_quietly(draft)
            entry = await self._complete(draft, entry, finish)
        except OSError as error:
            await self._drop(draft)
            raise CheckpointError(f"the target's state can't be stored: {error}") from error
        except BaseException:
            await self._drop(draft)
            raise
        logger.info(
            "checkpoint %s at version %d: %d bytes, requests waited %.3f s", entry.id, entry.version, entry.size_bytes,
            entry.blackout_s,
        )  # fmt: skip
        return entry

    async def _capture_quietly(self, draft: Draft) -> tuple[Checkpoint, Finish]:
        """Hold requests, take the state, let requests pass again."""
        blackout = Blackout()
        blackout.begin(DRAIN)
        await self._hold.take(HOLD)
        try:
            self._refuse_unless_held()
            self._refuse_in_doubt()
            draft = replace(draft, version=self._journal.last_version)
            incarnation, taken_s = self._standing.identity, time()
            finish = await self._capture(draft, blackout)
        finally:
            self._hold.release(HOLD)
            blackout.end()
        entry = Checkpoint(
            draft.id, draft.version, self._engine.name, taken_s, incarnation=incarnation,
            app_version=self._app_version, holds_state=self._engine.holds_state,
            blackout_s=blackout.total_s, phases_s=blackout.phases_s,
        )  # fmt: skip
        return entry, finish

    async def _capture(self, draft: Draft, blackout: Blackout) -> Finish:
        """Take the target's state while nothing is in flight; certain that it was one incarnation's, in step."""
        before = self._standing.incarnations
        if self._engine.needs_connections_closed:
            await self._close_connections()
        blackout.begin(FREEZE)
        finish = await self._unless_the_target_goes(self._engine.checkpoint(draft, blackout))
        blackout.begin(RESUME)
        # A connection that was lost meanwhile is being judged; the same incarnation is as good as before.
        await self._machine.wait_for(lambda state: state is not State.SUSPECT, self._timeout_s)
        self._refuse_unless_held()
        if self._standing.incarnations != before or self._journal.last_version != draft.version:
            raise NotPossibleNowError("the target was replaced while its state was taken: that state is dropped")
        return finish

    async def _complete(self, draft: Draft, entry: Checkpoint, finish: Finish) -> Checkpoint:
        """Publish the artefact, make the log durable, and only then tell the catalogue."""
        try:
            async with asyncio.timeout(self._store_timeout_s):
                captured = await finish()
                stored = await asyncio.to_thread(self._artefacts.publish, draft)
                if stored is not None:
                    entry = replace(entry, artefact=stored.name, size_bytes=stored.size_bytes, digest=stored.digest)
                entry = replace(entry, image=captured.image, detail=captured.detail)
                # Read back what was written: the log is trimmed behind this one day.
                await asyncio.to_thread(self._artefacts.verify, entry)
                entry = replace(entry, verified=True)
                await self._journal.make_durable()
        except TimeoutError:
            raise CheckpointError(
                f"{draft.id} could not be stored within {self._store_timeout_s:g} s (checkpoint_store_timeout_s)"
            ) from None
        except OSError as error:
            raise CheckpointError(f"{draft.id} can't be stored in {self._artefacts.directory}: {error}") from error
        except ArtefactDamagedError as error:
            raise CheckpointError(f"{draft.id} was stored and can't be read back: {error}") from error
        await self._catalogue.put(entry)
        return entry

    async def _unless_the_target_goes(self, work: Awaitable[T]) -> T:
        """Await `work`, cancelled when the target is lost or takes too long.  Raises CheckpointError."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._machine.wait_for(_GONE.__contains__, self._timeout_s))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.exception() is not None:
                raise CheckpointError(
                    f"the engine {self._engine.name} took longer than {self._timeout_s:g} s (checkpoint_timeout_s)"
                )
            raise NotPossibleNowError("the target died while its state was taken: there is nothing to checkpoint")
        except OSError as error:
            raise CheckpointError(f"the target's state can't be stored: {error}") from error
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    def _refuse_in_doubt(self) -> None:
        """A state of which it is unknown what it holds is no checkpoint (design rule 4)."""
        doubt = self._standing.uncertain
        if doubt is not None and self._engine.holds_state:
            raise NotPossibleNowError(
                f"whether the target has applied the events {doubt[0]} to {doubt[1]} is unknown, so its state is no "
                "checkpoint: restart the target, which makes it exact"
            )

    def _refuse_unless_held(self) -> None:
        if self._machine.state is not State.HELD:
            raise NotPossibleNowError("the target died while it was being drained: there is nothing to checkpoint")

    async def _drop(self, draft: Draft) -> None:
        """Remove what was begun, under either name; at the latest the next start does."""
        try:
            await asyncio.to_thread(self._artefacts.remove_draft, draft)
        except OSError as error:
            logger.warning("%s can't be removed: %s", draft.path, error)
