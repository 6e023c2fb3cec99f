"""Archives such as a container runtime leaves, without what is in them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

NEEDED = ("config.dump", "spec.dump", "checkpoint/inventory.img")


def write_archive(path: Path, names: tuple[str, ...] = NEEDED) -> None:
    """Write a tar with files of these names."""
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"state"))
