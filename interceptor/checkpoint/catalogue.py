"""The catalogue of checkpoints: one of the facts about the log, so it survives what the log survives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.errors import NoSuchCheckpointError
from interceptor.errors import ConfigurationError
from interceptor.journal import Journal

logger = logging.getLogger(__name__)

_FACT = "checkpoints"
_NUMBER_FACT = "checkpoint_number"
DURABLE_TIMEOUT_S = 30.0


class Catalogue:
    """Which checkpoints there are, oldest first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        facts = journal.facts.get(_FACT)
        found = [Checkpoint.from_fact(fact) for fact in facts] if isinstance(facts, list) else []
        self._entries = [entry for entry in found if entry is not None]
        # Without it, or in parts, what it does not name may be the only copy of a state.
        self.is_whole = isinstance(facts, list) and len(self._entries) == len(found)
        if len(self._entries) < len(found):
            logger.warning("%d entries of the catalogue can't be read and are left out", found.count(None))

    @property
    def entries(self) -> list[Checkpoint]:
        return list(self._entries)

    @property
    def newest(self) -> Checkpoint | None:
        return self._entries[-1] if self._entries else None

    @property
    def next_number(self) -> int:
        """A number that no checkpoint had yet, removed ones neither: images bear it, and failures are counted by it."""
        highest = self._journal.facts.get(_NUMBER_FACT)
        numbers = [entry.number for entry in self._entries]
        return 1 + max([highest if isinstance(highest, int) else 0, *numbers])

    def check_against_log(self) -> None:
        """Raise ConfigurationError where the log is shorter than a checkpoint, or than at a clean stop (rule 8)."""
        last = self._journal.last_version
        stopped_at = self._journal.lost_events_until
        if stopped_at is not None:
            raise ConfigurationError(
                f"{self._journal.backend.url} ends at version {last}, but held the events up to {stopped_at} when it "
                "was closed: the log has lost its end. Restore it from a copy, or let `interceptor log repair` say "
                "what was lost and go on without"
            )
        beyond = [entry for entry in self._entries if entry.version > last]
        if beyond:
            raise ConfigurationError(
                f"{self._journal.backend.url} ends at version {last}, but the checkpoint {beyond[-1].id} holds the "
                f"events up to {beyond[-1].version}: the log has lost events. Restore it from a copy, or let "
                "`interceptor log repair` say what was lost"
            )

    def get(self, checkpoint_id: str) -> Checkpoint:
        """Return one.  Raises NoSuchCheckpointError."""
        for entry in self._entries:
            if entry.id == checkpoint_id:
                return entry
        raise NoSuchCheckpointError(f"there is no checkpoint {checkpoint_id}: see `interceptor checkpoint --list`")

    async def put(self, entry: Checkpoint) -> bool:
        """Add an entry, or replace the one of its id; return whether that is durable.  Raises LogError."""
        ids = [each.id for each in self._entries]
        if entry.id in ids:
            self._entries[ids.index(entry.id)] = entry
        else:
            self._journal.facts[_NUMBER_FACT] = max(entry.number, self.next_number - 1)
            self._entries.append(entry)
            self._journal.append_mark("checkpoint", entry.version, id=entry.id)
        self._store()
        return await self._durable()

    async def remove(self, entries: Iterable[Checkpoint]) -> bool:
        """Forget entries; return whether that is durable: only then may their artefacts go.  Raises LogError."""
        gone = {entry.id for entry in entries}
        self._entries = [entry for entry in self._entries if entry.id not in gone]
        self._store()
        return await self._durable()

    def _store(self) -> None:
        self._journal.store_fact(_FACT, [entry.as_fact() for entry in self._entries])

    async def _durable(self) -> bool:
        try:
            async with asyncio.timeout(DURABLE_TIMEOUT_S):
                return await self._journal.make_facts_durable()
        except TimeoutError:
            logger.warning("the catalogue is not durable yet: the log's database is away")
            return False
