"""Where every incarnation of the target comes out of one checkpoint's image: what is behind that is replayed.

The container runtime restores the image at each start of the container, so the state is there before the first event
and is always the same.  Replaying from anywhere else would apply events twice, or leave some out (design rule 8).
"""

from __future__ import annotations

from dataclasses import replace

from interceptor.checkpoint.catalogue import Catalogue
from interceptor.checkpoint.errors import NoSuchCheckpointError
from interceptor.errors import ConfigurationError, NotPossibleNowError
from interceptor.journal import Journal


class ImageStart:
    """Implements StartingPoint.  `named` is the id of a checkpoint in the catalogue, or a version."""

    def __init__(self, named: str, catalogue: Catalogue, journal: Journal) -> None:
        """Raises ConfigurationError."""
        self._named = named
        self._catalogue = catalogue
        self.version = self._version()
        first, last = journal.backend.first_version, journal.last_version
        if not first <= self.version + 1 <= last + 1:
            raise ConfigurationError(
                f"--restored-checkpoint {named}: it holds the events up to {self.version}, and the log has those from "
                f"{first} to {last}: what the image lacks can't be replayed"
            )

    async def prepare(self, asked_version: int | None) -> int:
        """Return the version behind the checkpoint.  Raises NotPossibleNowError."""
        self.check(asked_version)
        return self.version + 1

    def expect(self, asked_version: int | None) -> None:
        """See StartingPoint: an incarnation comes with the same state, whatever is asked for."""

    def check(self, asked_version: int | None) -> None:
        """Raise NotPossibleNowError where another version is asked for."""
        if asked_version not in (None, self.version + 1):
            raise NotPossibleNowError(
                f"from={asked_version}: each incarnation of this target holds the events 1 to {self.version} already "
                f"(--restored-checkpoint {self._named})"
            )

    async def pin(self) -> None:
        """Keep the checkpoint in the catalogue as long as containers are made from its image."""
        if not self._named.isdecimal():
            entry = self._catalogue.get(self._named)
            if not entry.pinned:
                await self._catalogue.put(replace(entry, pinned=True))

    def _version(self) -> int:
        if self._named.isdecimal():
            return int(self._named)
        try:
            return self._catalogue.get(self._named).version
        except NoSuchCheckpointError as error:
            raise ConfigurationError(f"--restored-checkpoint {self._named}: {error}") from error
