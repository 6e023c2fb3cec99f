"""Where checkpoints are stored: a directory (0700) of files or directories, each published as a whole.

A draft is written under a name of its own, flushed, renamed, and the directory flushed: after a crash an artefact is
there with all its bytes or not at all.  What no catalogue knows is removed at the next start.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.errors import ArtefactDamagedError
from interceptor.checkpoint.sealing import FILE_MODE, ArtefactWriter, read_pieces
from interceptor.errors import ConfigurationError
from storage_backends.secrets import Keyring

DIRECTORY_MODE = 0o700
OWNER_NAME = "OWNER"
_DRAFT_SUFFIX = ".draft"
_NAME = re.compile(r"[A-Za-z0-9_]+-([0-9]+)(\.draft)?")
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Draft:
    """A checkpoint that is being taken.  The engine makes `path` a file or a directory, or leaves it."""

    id: str
    version: int
    path: Path


@dataclass(frozen=True, slots=True)
class Stored:
    """What was published.  `digest` names its algorithm."""

    name: str
    size_bytes: int
    digest: str


class Artefacts:
    """The checkpoint directory.  Its methods block on the disk: call them in a thread."""

    def __init__(self, directory: Path, keyring: Keyring | None = None) -> None:
        """keyring: encrypts what goes through `writer`."""
        self.directory = directory.absolute()
        self.encrypts = keyring is not None
        self._keyring = keyring
        self._lock_fd: int | None = None

    def open(self, owner: str | None) -> None:
        """Make the directory ours, and create it where it is missing.

        owner: whose checkpoints these are, where the place does not say it by itself.  Raises ConfigurationError.
        """
        try:
            self.directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            os.chmod(self.directory, DIRECTORY_MODE)
            self._lock_fd = os.open(self.directory / OWNER_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise ConfigurationError(f"the checkpoint directory {self.directory}: {error.strerror}") from error
        try:
            self._claim(self._lock_fd, owner)
        except BaseException:
            self.close()
            raise

    def path(self, checkpoint: Checkpoint) -> Path:
        """Return where the artefact is.  Raises ArtefactDamagedError where there is none."""
        if checkpoint.artefact is None or not _NAME.fullmatch(checkpoint.artefact):
            raise ArtefactDamagedError(f"{checkpoint.id} has no artefact in {self.directory}")
        return self.directory / checkpoint.artefact

    def draft(self, checkpoint_id: str, version: int) -> Draft:
        """Return a place to write to."""
        return Draft(checkpoint_id, version, self.directory / f"{checkpoint_id}{_DRAFT_SUFFIX}")

    def writer(self, draft: Draft) -> ArtefactWriter:
        """Make the draft one file, written piece by piece, and encrypted where the log is.  Raises OSError."""
        return ArtefactWriter(draft.path, draft.id, self._keyring)

    def pieces(self, checkpoint: Checkpoint, *, sealed: bool) -> Iterator[bytes]:
        """Yield what was written through `writer`.  Raises ArtefactDamagedError."""
        return read_pieces(self.path(checkpoint), checkpoint.id, self._keyring, sealed=sealed)

    def scratch(self, checkpoint: Checkpoint) -> Path:
        """Return a place for what is made of an artefact for a while; what is left there goes at the next start."""
        return self.directory / f"{checkpoint.id}{_DRAFT_SUFFIX}"

    def next_number(self) -> int:
        """Return a number that no artefact here has."""
        matches = (_NAME.fullmatch(name) for name in self._names())
        return 1 + max((int(match[1]) for match in matches if match), default=0)

    def publish(self, draft: Draft) -> Stored | None:
        """Make a draft durable under its id; None where the engine has written nothing.  Raises OSError."""
        if not draft.path.exists():
            return None
        _flush(draft.path)
        size_bytes, digest = _measure(draft.path)
        os.rename(draft.path, self.directory / draft.id)
        _flush_one(self.directory, os.O_DIRECTORY)
        return Stored(draft.id, size_bytes, digest)

    def verify(self, checkpoint: Checkpoint) -> None:
        """Read the artefact and compare it with the catalogue.  Raises ArtefactDamagedError."""
        if checkpoint.artefact is None:
            return
        path = self.path(checkpoint)
        try:
            size_bytes, digest = _measure(path)
        except OSError as error:
            raise ArtefactDamagedError(f"{path} can't be read: {error.strerror}") from error
        if (size_bytes, digest) != (checkpoint.size_bytes, checkpoint.digest):
            raise ArtefactDamagedError(
                f"{path} is not what was stored: {size_bytes} bytes, {digest} instead of "
                f"{checkpoint.size_bytes} bytes, {checkpoint.digest}"
            )

    def remove(self, name: str) -> None:
        """Remove an artefact, if it is there.  Raises OSError."""
        path = self.directory / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        else:
            return
        _flush_one(self.directory, os.O_DIRECTORY)

    def remove_draft(self, draft: Draft) -> None:
        """Remove a draft, published or not, that no catalogue knows yet.  Raises OSError."""
        self.remove(draft.path.name)
        self.remove(draft.id)

    def remove_strangers(self, known: Collection[str], *, drafts_only: bool) -> list[str]:
        """Remove drafts, and artefacts that the catalogue does not know; return their names.  Raises OSError."""
        matches = [match for name in self._names() if (match := _NAME.fullmatch(name))]
        strangers = [match[0] for match in matches if match[0] not in known and (match[2] or not drafts_only)]
        for name in strangers:
            self.remove(name)
        return strangers

    def close(self) -> None:
        """Let the directory go."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _names(self) -> list[str]:
        return [entry.name for entry in self.directory.iterdir()] if self.directory.is_dir() else []

    def _claim(self, lock_fd: int, owner: str | None) -> None:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"the checkpoint directory {self.directory} is in use by another interceptor: one directory for each"
            ) from error
        found = os.pread(lock_fd, 4096, 0).decode(errors="replace").strip()
        if owner is None or found == owner:
            return
        if found:
            raise ConfigurationError(
                f"the checkpoint directory {self.directory} belongs to the log {found}: choose another --checkpoint-dir"
            )
        os.write(lock_fd, owner.encode() + b"\n")


def _measure(path: Path) -> tuple[int, str]:
    """Return size and digest of a file, or of a directory's files with their names."""
    digest = xxhash.xxh3_128()
    size_bytes = 0
    for file in _files(path):
        if file != path:
            digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while piece := stream.read(_PIECE_BYTES):
                size_bytes += len(piece)
                digest.update(piece)
    return size_bytes, f"xxh3-128:{digest.hexdigest()}"


def _files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _flush(path: Path) -> None:
    if path.is_dir():
        for each in path.rglob("*"):
            if not each.is_symlink():
                _flush_one(each, 0)
    _flush_one(path, 0)


def _flush_one(path: Path, flags: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
