"""What operators and the controller ask for: hold, recover, take a checkpoint, forgive an event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from interceptor.address import TargetAddress
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.errors import NotPossibleNowError
from interceptor.message import Tagger, plain
from interceptor.projector import Progress
from interceptor.recovery import already_in_step
from interceptor.scratch import project_into_scratch
from interceptor.states import State

if TYPE_CHECKING:
    from interceptor.ambassador import Ambassador


class Control:
    """Acts on one ambassador.  Once it has failed all but a projection into a copy raises NotPossibleNowError."""

    def __init__(self, ambassador: Ambassador) -> None:
        self._boot_id = ambassador.boot_id
        self._checkpoints = ambassador.checkpoints
        self._detector = ambassador.detector
        self._hold = ambassador.hold
        self._journal = ambassador.journal
        self._machine = ambassador.machine
        self._projector = ambassador.projector
        self._recovery = ambassador.recovery
        self._settings = ambassador.settings
        self._supervisor = ambassador.supervisor

    async def set_waiting(self, by: str = "operator") -> None:
        """Hold everything; returns when nothing is in flight.  Raises DrainTimeoutError: then nothing is held."""
        self._refuse_if_failed()
        await self._hold.take(by)

    def end_hold(self, by: str) -> None:
        """Take back the hold of somebody who knows nothing of the target's standing."""
        self._refuse_if_failed()
        self._hold.release(by)

    async def set_active(self) -> None:
        """Take an operator's hold back; where the target's standing is unknown, take it as in step."""
        self._refuse_if_failed()
        self._wake()
        self._hold.release("operator")
        if self._recovery.standing.problem is not None:
            self._recovery.assume_in_step()
            try:
                await self._machine.wait_for(lambda state: state is State.ACTIVE, self._settings.limits.drain_timeout_s)
            except TimeoutError:
                raise NotPossibleNowError(f"no target answers at {self._settings.target}: start it first") from None

    async def checkpoint(self) -> Checkpoint:
        """Take a checkpoint; returns the catalogue's new entry.  Raises what `Checkpoints.take` raises."""
        self._refuse_if_failed()
        return await self._checkpoints.take()

    async def reproject(self, from_version: int | None) -> dict[str, object]:
        """Project the log into the target as a new incarnation: restarted if we supervise it, else as the caller says.

        Raises NotPossibleNowError where the target is known to hold every event already.
        """
        self._refuse_if_failed()
        if not await self._detector.ask():
            raise NotPossibleNowError(f"{self._boot_id.problem if self._boot_id else 'nobody tells who is there'}")
        if self._recovery.target_is_known_in_step and self._supervisor is None:
            if from_version is None:
                return already_in_step(self._journal.last_version)
            raise NotPossibleNowError(
                f"this incarnation already holds the events 1 to {self._journal.last_version}, projecting again would "
                "apply them twice: restart the target, or name a scratch copy with target="
            )
        self._check_versions(from_version, None)
        self._checkpoints.starting_point.check(from_version)
        self._wake()
        incarnations = self._recovery.standing.incarnations
        await self._hold.take("reproject")
        try:
            return await self._recovery.reproject(from_version, incarnations)
        finally:
            self._hold.release("reproject")

    async def reproject_into(
        self, target: TargetAddress, from_version: int | None, to_version: int | None, from_checkpoint: str | None
    ) -> AsyncIterator[Progress]:
        """Project into a scratch copy while live traffic goes on; yields progress, the last time when it is done.

        Raises NotPossibleNowError, NoSuchCheckpointError, and TargetLostError from restoring the checkpoint.
        """
        if target == self._settings.target:
            raise NotPossibleNowError(f"{target} is the live target: leave target= out to project into it")
        if from_checkpoint is not None:
            checkpoint = self._checkpoints.catalogue.get(from_checkpoint)
            from_version = checkpoint.version + 1
            self._check_versions(from_version, None if to_version == checkpoint.version else to_version)
            await self._checkpoints.restoring.restore_into(checkpoint, target)
        else:
            self._check_versions(from_version, to_version)
        settings = self._settings
        return project_into_scratch(
            self._journal, target, settings.limits, self._recovery.quarantined.versions, from_version or 1,
            to_version or self._journal.last_version, settings.order, settings.lane_count(),
            Tagger().tagged if settings.tag_requests else plain, self._projector.ignores, settings.redact_headers,
            settings.pipelining,
        )  # fmt: skip

    def unquarantine(self, version: int) -> dict[str, object]:
        """Let the next incarnation get a quarantined event again.  Raises NotPossibleNowError."""
        self._refuse_if_failed()
        self._recovery.quarantined.release(version)
        return {
            "version": version,
            "quarantined": sorted(self._recovery.quarantined.versions),
            "detail": "the next incarnation gets it, in its place; the present one has lived without it",
        }

    def _wake(self) -> None:
        """An operator wants the target, should it rest."""
        if self._checkpoints.idle is not None:
            self._checkpoints.idle.wake()

    def _check_versions(self, from_version: int | None, to_version: int | None) -> None:
        first, last = self._journal.backend.first_version, self._journal.last_version
        if (from_version or 1) < first:
            raise NotPossibleNowError(
                f"from={from_version or 1}: the log begins at version {first}, what is before it is gone; "
                "begin at a checkpoint (from_checkpoint=)"
            )
        if from_version is not None and not 1 <= from_version <= last + 1:
            raise NotPossibleNowError(f"from={from_version}: the log holds the events {first} to {last}")
        if to_version is not None and not (from_version or 1) <= to_version <= last:
            raise NotPossibleNowError(f"to={to_version}: the log holds the events {first} to {last}")

    def _refuse_if_failed(self) -> None:
        if self._machine.state is State.FAILED:
            raise NotPossibleNowError(
                f"restart the ambassador: {self._journal.failure or self._recovery.standing.problem}"
            )
