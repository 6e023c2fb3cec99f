"""Everything about checkpoints behind one object: what the admin, the recovery and the shutdown ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from time import time

from interceptor.checkpoint.artefacts import Artefacts
from interceptor.checkpoint.catalogue import Catalogue
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.engine import EngineContext
from interceptor.checkpoint.errors import CheckpointError
from interceptor.checkpoint.idle import IdleRest
from interceptor.checkpoint.image_start import ImageStart
from interceptor.checkpoint.options import CheckpointOptions
from interceptor.checkpoint.policy import CheckpointPolicy
from interceptor.checkpoint.registry import open_engine
from interceptor.checkpoint.restoring import Restoring
from interceptor.checkpoint.taking import Taker
from interceptor.counters import Counters
from interceptor.errors import ConfigurationError, InterceptorError, NotPossibleNowError
from interceptor.hold import Hold
from interceptor.journal import Journal
from interceptor.settings import Settings
from interceptor.standing import Standing
from interceptor.states import State, StateMachine
from interceptor.target.supervisor import Supervisor
from interceptor.tasks import TaskGroup
from storage_backends.errors import LogError
from storage_backends.file.directory import path_of_url
from storage_backends.secrets import load_keyring

logger = logging.getLogger(__name__)

DIRECTORY_NAME = "checkpoints"
_STOPPING = "the interceptor is stopping: no checkpoint is taken any more"


class Checkpoints:
    """The engine, its artefacts, the catalogue, and what may be forgotten."""

    def __init__(self, settings: Settings, journal: Journal, counters: Counters, supervisor: Supervisor | None) -> None:
        """Raises ConfigurationError."""
        self._options = settings.checkpoint
        self._journal = journal
        self._limits = settings.limits
        self._counters = counters
        self._retention = settings.retention
        self._lock = asyncio.Lock()
        self._stopping = False
        self._tasks = TaskGroup("checkpoints")
        self.taker: Taker
        self.policy: CheckpointPolicy
        self.idle: IdleRest | None = None
        self.catalogue = Catalogue(journal)
        self.catalogue.check_against_log()
        self.artefacts = Artefacts(_directory_for(self._options, settings.log_url), load_keyring(settings.log_key_file))
        self.engine = open_engine(
            EngineContext(settings.target, self._options, settings.limits, self.artefacts, counters, supervisor)
        )
        settings.retention.check_possible(holds_state=self.engine.holds_state)
        self._options.check_triggers(holds_state=self.engine.holds_state, starts_target=self.engine.starts_target)
        self.restoring = Restoring(
            self.engine, self.artefacts, self.catalogue, journal, settings.target, self._options.app_version
        )
        if self.engine.starts_target and supervisor is not None:
            supervisor.bring_back = self.restoring.bring_back
        if self._options.restored is not None and supervisor is not None:
            raise ConfigurationError(
                "--restored-checkpoint goes without a COMMAND: what we start does not come from an image"
            )
        self._image_start = (
            ImageStart(self._options.restored, self.catalogue, journal) if self._options.restored is not None else None
        )
        self.starting_point = self._image_start or self.restoring
        self._owner = journal.backend.url if self._options.directory is not None else None

    def attach(
        self, machine: StateMachine, hold: Hold, standing: Standing, close_connections: Callable[[], Awaitable[None]]
    ) -> None:
        """Take the parts of the data plane that a checkpoint holds up."""
        self.policy = CheckpointPolicy(
            self._options, self.catalogue, self._journal, standing, lambda: self.restoring.last,
            lambda: machine.state is State.ACTIVE and not self._stopping, self.take,
        )  # fmt: skip
        self.taker = Taker(
            self.engine, self.artefacts, self.catalogue, machine, hold, self._journal, standing,
            self._options.app_version, self._limits.checkpoint_timeout_s,
            self._limits.checkpoint_store_timeout_s, close_connections,
        )  # fmt: skip

    async def open(self) -> None:
        """Check that the engine can work here, and tidy its directory up.  Raises ConfigurationError."""
        await self.engine.probe()
        if self._image_start is not None:
            await self._image_start.pin()
        if self.engine.name != "mark" or self.artefacts.directory.exists():
            self.artefacts.open(self._owner)
            known = {entry.artefact for entry in self.catalogue.entries if entry.artefact is not None}
            # Where the facts were lost, the operator may find them again: until there is a catalogue, artefacts stay.
            drafts_only = not self.catalogue.is_whole
            for name in await asyncio.to_thread(self.artefacts.remove_strangers, known, drafts_only=drafts_only):
                logger.warning("%s in %s belongs to no checkpoint and is removed", name, self.artefacts.directory)

    def start(self) -> None:
        """Take checkpoints when the policy asks for them."""
        self._tasks.start(self.policy.run())
        if self.idle is not None:
            self._tasks.start(self.idle.run())

    def request(self) -> None:
        """Take one without waiting for it (a signal asks so); a failure is logged."""
        self._tasks.start(self._take_logged(self.take, "a signal asked for it"))

    async def stop(self) -> None:
        """The last checkpoint, where one is asked for; to be called when nothing is in flight any more."""
        self._stopping = True
        newest = self.catalogue.newest
        up_to_date = newest is not None and newest.version == self._journal.last_version
        if self._options.on_stop and not up_to_date:
            await self._take_logged(self._take, "--checkpoint-on-stop")
        await self._tasks.cancel_all()

    def describe(self) -> dict[str, object]:
        """Return what `GET /state` shows."""
        restored = self.restoring.last
        return {
            "engine": self.engine.name,
            **self.engine.describe(),
            "kept": len(self.catalogue.entries),
            "recovery_estimate_s": round(self.policy.estimate_s, 3),
            "recovery_time_objective_s": self._options.recovery_time_objective_s,
            "idle": self.idle.describe() if self.idle is not None else None,
            "last_restore": {"id": restored.checkpoint.id, "seconds": round(restored.seconds, 6)} if restored else None,
        }

    async def _take_logged(self, take: Callable[[], Awaitable[Checkpoint]], reason: str) -> None:
        try:
            await take()
        except (InterceptorError, LogError) as error:
            logger.error("no checkpoint was taken (%s): %s", reason, error)

    async def close(self) -> None:
        """Let the engine and the directory go."""
        await self.engine.close()
        self.artefacts.close()

    async def take(self) -> Checkpoint:
        """Take a checkpoint, then forget what the policy allows.  Raises what `Taker.take` raises."""
        if self._stopping:
            raise NotPossibleNowError(_STOPPING)
        try:
            return await self._take()
        except LogError as error:
            # It is closed under a checkpoint that was begun before.
            if self._stopping:
                raise NotPossibleNowError(_STOPPING) from error
            raise

    async def _take(self) -> Checkpoint:
        async with self._lock:
            entry = await self.taker.take()
            self._counters.checkpoints += 1
            self._counters.checkpoint_blackout.observe(entry.blackout_s)
            await self._forget()
        return entry

    async def verify(self, checkpoint_id: str) -> Checkpoint:
        """Read the artefact again and note the result.

        Raises NoSuchCheckpointError, ArtefactDamagedError: it then counts no more for trimming.
        """
        async with self._lock:
            entry = self.catalogue.get(checkpoint_id)
            try:
                await asyncio.to_thread(self.artefacts.verify, entry)
            except BaseException:
                await self.catalogue.put(replace(entry, verified=False))
                raise
            entry = replace(entry, verified=True)
            await self.catalogue.put(entry)
        return entry

    async def pin(self, checkpoint_id: str, *, pinned: bool) -> Checkpoint:
        """Keep a checkpoint, and the log behind it, whatever the policy says; or no longer.

        Raises NoSuchCheckpointError.
        """
        async with self._lock:
            entry = replace(self.catalogue.get(checkpoint_id), pinned=pinned)
            await self.catalogue.put(entry)
        return entry

    async def remove(self, checkpoint_id: str) -> Checkpoint:
        """Forget a checkpoint and discard what it keeps.

        Raises NoSuchCheckpointError, and CheckpointError for one that is pinned or that a recovery can't do without.
        """
        async with self._lock:
            entry = self.catalogue.get(checkpoint_id)
            if entry.pinned:
                raise CheckpointError(f"{checkpoint_id} is pinned: unpin it first")
            first_version = self._journal.backend.first_version
            others = [each for each in self.catalogue.entries if each.id != entry.id]
            if _reaches(entry, first_version) and not any(_reaches(each, first_version) for each in others):
                raise CheckpointError(
                    f"the log begins at version {first_version}, and {checkpoint_id} is the only checkpoint left that "
                    "a recovery can begin at: take another one first"
                )
            await self._discard([entry])
        return entry

    async def _forget(self) -> None:
        """Drop checkpoints and trim the log as the policy allows; the catalogue first, the artefacts last."""
        now_s = time()
        superfluous = self._retention.superfluous(self.catalogue.entries, now_s, self._limits.checkpoints_max)
        if superfluous and not await self._discard(superfluous):
            return
        backend = self._journal.backend
        first_kept = self._retention.first_kept_version(self.catalogue.entries, now_s)
        first_kept = min(first_kept, backend.durable_version + 1)
        if self._image_start is not None:
            first_kept = min(first_kept, self._image_start.version + 1)
        if first_kept > backend.first_version and self._journal.facts_are_stored:
            logger.info("the log may forget the events below %d (--retain %s)", first_kept, self._retention.text)
            backend.trim(first_kept)

    async def _discard(self, entries: list[Checkpoint]) -> bool:
        """Forget checkpoints; return whether that is durable.  Only then what they keep goes."""
        if not await self.catalogue.remove(entries):
            return False
        for entry in entries:
            try:
                if entry.engine == self.engine.name:
                    await self.engine.discard(entry)
                if entry.artefact is not None:
                    await asyncio.to_thread(self.artefacts.remove, entry.artefact)
            except (CheckpointError, OSError) as error:
                logger.warning("%s is out of the catalogue, but what it kept is not removed: %s", entry.id, error)
        return True


def _reaches(entry: Checkpoint, first_version: int) -> bool:
    """Whether a recovery can begin at it: without it, and with the log trimmed, none could."""
    return first_version > 1 and entry.holds_state and entry.verified and entry.version + 1 >= first_version


def _directory_for(options: CheckpointOptions, log_url: str) -> Path:
    if options.directory is not None:
        return options.directory
    if log_url.partition(":")[0].lower() == "file":
        return path_of_url(log_url) / DIRECTORY_NAME
    if options.engine != "mark":
        raise ConfigurationError(
            f"--checkpoint-engine {options.engine}: this log is not in files, so say by --checkpoint-dir where the "
            "checkpoints go"
        )
    return Path(DIRECTORY_NAME)
