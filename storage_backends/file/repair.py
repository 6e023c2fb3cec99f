"""Repairing a damaged file log: what can't stay is moved aside, never discarded.

Everything is done in an order in which a crash leaves a log that a second repair finishes: segments are moved from the
newest to the oldest, a changed segment takes the place of the old one in one step, facts go first because a fact too
few is harmless.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from storage_backends.backend import Fact
from storage_backends.errors import LogConfigurationError, LogDamagedError, LogError, LogLockedError
from storage_backends.file.compressed import ZSTD_MAGIC
from storage_backends.file.directory import (
    FACTS_NAME,
    FILE_MODE,
    LOCK_NAME,
    lock_directory,
    lock_or_find_holder,
    sign_lock,
)
from storage_backends.file.facts import load_facts, store_facts
from storage_backends.file.inspection import SegmentInspection, inspected_segments
from storage_backends.file.repair_plan import KeptSegment, RepairPlan, make_plan
from storage_backends.file.segment import SEGMENT_MAGIC, encode_header, parse_segment_name
from storage_backends.file.segment_file import open_segment_file, stored_path

_COPY_BYTES = 1024 * 1024


class Repair:
    """One repair of the log in a directory: `plan` says what it would do, `apply` does it."""

    def __init__(self, directory: Path, plan: RepairPlan, suffix: str, facts_problem: str | None) -> None:
        self.directory = directory
        self.plan = plan
        self.facts_problem = facts_problem
        self._suffix = suffix

    @property
    def changes(self) -> bool:
        return self.plan.changes or self.facts_problem is not None

    def moved_to(self, path: Path) -> Path:
        """Return where a whole file is kept."""
        return self._free(f"{path.name}.{self._suffix}")

    def tail_kept_in(self, segment: KeptSegment) -> Path:
        """Return where the cut end of a segment is kept."""
        assert segment.cut is not None
        return self._free(f"{segment.path.name}.from-byte-{segment.cut.offset_bytes}.{self._suffix}")

    def apply(self) -> None:
        """Do it, durably. Raises LogError; what was done until then stays done, a second repair goes on."""
        try:
            directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._apply(directory_fd)
            finally:
                os.close(directory_fd)
        except OSError as error:
            raise LogError(
                f"the repair of {self.directory} stopped: {error.strerror} ({error.filename or 'a file in it'}); "
                "nothing is lost, remove the cause and repair again"
            ) from error

    def _apply(self, directory_fd: int) -> None:
        if self.facts_problem is not None:
            facts_path = self.directory / FACTS_NAME
            os.rename(facts_path, self.moved_to(facts_path))
        if self.plan.facts is not None:
            store_facts(self.directory, directory_fd, self.plan.facts)
        for segment in reversed(self.plan.moved):
            stored = stored_path(segment.path)
            os.rename(stored, self.moved_to(stored))
            os.fsync(directory_fd)
        for kept in self.plan.kept:
            if kept.is_rewritten:
                self._rewrite(kept)
            elif kept.cut:
                self._cut(kept, directory_fd)
            os.fsync(directory_fd)

    def _rewrite(self, kept: KeptSegment) -> None:
        """Put a new segment with the good ranges in the place of the old one, which is kept beside."""
        new = self.directory / f"{kept.path.name}.repairing"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        stored = stored_path(kept.path)
        with os.fdopen(fd, "wb") as target:
            target.write(encode_header(kept.first_version, kept.previous_bytes))
            if kept.ranges:
                _copy_ranges(kept, target)
            target.flush()
            os.fsync(fd)
        aside = self.moved_to(stored)
        try:
            os.link(stored, aside)
        except OSError:
            # Some file systems know no hard links.
            os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
            shutil.copyfile(stored, aside)
            _flush(aside)
        os.replace(new, kept.path)
        if stored != kept.path:
            os.unlink(stored)

    def _cut(self, kept: KeptSegment, directory_fd: int) -> None:
        """Copy the end of a segment to a file beside, then cut it."""
        assert kept.cut is not None
        aside = self.tail_kept_in(kept)
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(fd, "wb") as target, kept.path.open("rb") as source:
            source.seek(kept.cut.offset_bytes)
            shutil.copyfileobj(source, target, _COPY_BYTES)
            target.flush()
            os.fsync(fd)
        os.fsync(directory_fd)
        os.truncate(kept.path, kept.cut.offset_bytes)
        _flush(kept.path)

    def _free(self, name: str) -> Path:
        path, number = self.directory / name, 1
        while path.exists():
            number += 1
            path = self.directory / f"{name}-{number}"
        return path


@contextlib.contextmanager
def prepared_repair(directory: Path, time_text: str, *, dry_run: bool) -> Iterator[Repair]:
    """Look at the log in a directory with its lock taken, and keep the lock until the end.

    `time_text` becomes part of the names of what is moved aside.  A dry run writes nothing, not even the lock file.
    Raises LogConfigurationError (no log, foreign, newer format, permissions), LogLockedError (in use).
    """
    inspected_segments(directory, patience_s=0)
    _check_only_ours(directory)
    try:
        lock_fd = _probe_lock(directory) if dry_run else lock_directory(directory)
    except OSError as error:
        raise LogConfigurationError(f"the log in {directory} can't be locked: {error.strerror}") from error
    try:
        if lock_fd is not None and not dry_run:
            sign_lock(lock_fd)
        # Again: only now nobody writes any more.
        segments = inspected_segments(directory, patience_s=0)
        _check_may_read(directory, segments)
        for segment in segments:
            for _ in segment.blocks():
                pass
        if not any(segment.records for segment in segments):
            _check_has_magic(directory, segments)
        facts, facts_problem = _facts(directory)
        yield Repair(directory, make_plan(segments, facts), f"damaged-{time_text}", facts_problem)
    finally:
        if lock_fd is not None:
            os.close(lock_fd)


def _facts(directory: Path) -> tuple[Mapping[str, Fact], str | None]:
    try:
        return load_facts(directory), None
    except LogDamagedError as error:
        return {}, str(error)


def _probe_lock(directory: Path) -> int | None:
    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    holder = lock_or_find_holder(fd)
    if holder is not None:
        os.close(fd)
        raise LogLockedError(
            f"{directory} is being written by process {holder}: a log in use can't be repaired, stop it first"
        )
    return fd


def _check_only_ours(directory: Path) -> None:
    strange = sorted(
        entry.name
        for entry in os.scandir(directory)
        if entry.name.endswith(".log") and not parse_segment_name(entry.name)
    )
    if strange:
        raise LogConfigurationError(
            f"{directory} is not the directory of a log, {strange[0]!r} in it is foreign; nothing was touched"
        )


def _check_may_read(directory: Path, segments: list[SegmentInspection]) -> None:
    """Refuse files that we may not read: to somebody who may, they may be whole."""
    for path in (*(stored_path(segment.path) for segment in segments), directory / FACTS_NAME):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except PermissionError as error:
            raise LogConfigurationError(
                f"{path} can't be read: {error.strerror}. That is no damage: correct its owner or its mode, or "
                "repair as the user that the interceptor runs as; nothing was touched"
            ) from error
        except OSError:
            # Gone, or the disk can't read it: what that means is the plan's.
            continue


def _check_has_magic(directory: Path, segments: list[SegmentInspection]) -> None:
    """Refuse files that only happen to have the names of segments."""
    for segment in segments:
        with stored_path(segment.path).open("rb") as file:
            begin = file.read(len(SEGMENT_MAGIC))
        if not begin.strip(b"\0") or begin.startswith(ZSTD_MAGIC) or SEGMENT_MAGIC.startswith(begin):
            return
        if segment.header_problem is None and not segment.holes:
            return
    raise LogConfigurationError(
        f"nothing in {directory} can be read as a log; is it the directory of another program? Nothing was touched"
    )


def _copy_ranges(kept: KeptSegment, target: BinaryIO) -> None:
    with contextlib.closing(open_segment_file(kept.path)) as source:
        for begin, end in kept.ranges:
            while begin < end and (data := source.pread(min(end - begin, _COPY_BYTES), begin)):
                target.write(data)
                begin += len(data)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
