"""The faulty disks of the chaos harness; a test is skipped where this machine can't have one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.chaos import disk
from bench.chaos.disk import FaultyDisk, SmallDisk

__all__ = ["FaultyDisk", "SmallDisk", "compiled_library", "mounted_disk"]


def compiled_library(directory: Path) -> Path:
    """Return the library; skips the test where it can't be made."""
    try:
        return disk.compiled_library(directory)
    except disk.DiskUnavailableError as error:
        pytest.skip(str(error))


@contextlib.contextmanager
def mounted_disk(directory: Path) -> Iterator[SmallDisk]:
    """A small disk; skips the test where nothing can be mounted."""
    with contextlib.ExitStack() as stack:
        try:
            mounted = stack.enter_context(disk.mounted_disk(directory))
        except disk.DiskUnavailableError as error:
            pytest.skip(str(error))
        yield mounted
