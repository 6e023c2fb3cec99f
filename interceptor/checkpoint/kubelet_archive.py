"""The archive that a container runtime leaves on its node: is it one, and whose?"""

from __future__ import annotations

import tarfile
from pathlib import Path

from interceptor.checkpoint.errors import ArtefactDamagedError

# What a runtime needs for a restore: the container's configuration, its specification, and CRIU's own list of images.
_NEEDED = frozenset({"config.dump", "spec.dump", "checkpoint/inventory.img"})


def check_archive(path: Path) -> None:
    """Read it whole.  Raises ArtefactDamagedError for what no runtime could restore, and OSError."""
    missing = set(_NEEDED)
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                missing.discard(member.name.removeprefix("./"))
    except tarfile.TarError as error:
        raise ArtefactDamagedError(f"{path} is no checkpoint archive: {error}") from error
    if missing:
        raise ArtefactDamagedError(f"{path} is no checkpoint archive: there is no {', '.join(sorted(missing))} in it")
