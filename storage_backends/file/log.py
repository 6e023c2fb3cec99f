"""The file log: puts what was opened, the writer, the readers and the sync thread together."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from storage_backends.backend import Fact, RingState
from storage_backends.codec import encode_batch
from storage_backends.errors import LogError, LogFailedError, LogUnavailableError
from storage_backends.file.compression import Compression
from storage_backends.file.facts import load_facts, store_facts
from storage_backends.file.filesystem import FileSystem, OsFileSystem
from storage_backends.file.flush_thread import FlushThread
from storage_backends.file.opening import open_directory
from storage_backends.file.reader import FileReader, check_from_version
from storage_backends.file.recent import RecentBatches
from storage_backends.file.segment_file import stored_path
from storage_backends.file.sync import SyncThread
from storage_backends.file.writer import SegmentWriter, Unsynced
from storage_backends.options import LogOptions
from storage_backends.records import Record
from storage_backends.secrets import load_keyring, unsealer_of

logger = logging.getLogger("storage_backends.file")

CLOSE_TIMEOUT_S = 10.0
"""For the last flush. A disk that hangs may do so for ever, and whoever closes the log has to end."""

GIVEN_UP_TIMEOUT_S = 1.0
"""For a sync whose caller has given it up."""


class FileLog:
    """The backend for `file:`. Implements LogBackend. `recovered` tells what was cut on open, if anything was."""

    def __init__(self, url: str, directory: Path, options: LogOptions, filesystem: FileSystem | None = None) -> None:
        """Open or create the log in `directory`; everything found there is durable afterwards.

        Raises LogConfigurationError, LogLockedError, LogDamagedError, LogKeyError, LogUnavailableError (no space to
        create it), LogFailedError (the disk can't flush).
        """
        self.url = url
        self._filesystem = filesystem or OsFileSystem()
        self._directory = directory.absolute()
        self._keyring = load_keyring(options.key_file)
        self._unseal = unsealer_of(self._keyring)
        opened = open_directory(self._directory, self._filesystem, self._unseal)
        self.recovered = opened.recovered
        self._lock_fd = opened.lock_fd
        self._directory_fd = opened.directory_fd
        self._catalogue = opened.catalogue
        self._writer = SegmentWriter(self._filesystem, opened, options.segment_bytes_max)
        self._last_version = opened.last_version
        self._durable_version = opened.last_version
        self._durable_bytes = 0
        self._options = options
        self._recent = RecentBatches(options.ring_events_max, options.ring_bytes_max)
        self._failed: LogFailedError | None = None
        self._sync_under_way = False
        self._flush_error: OSError | None = None
        self._closed = False
        self._compression = self._new_compression(options)
        self._thread = SyncThread(f"log-sync {directory}")
        self._flush_thread = _new_flush_thread(self._filesystem)

    def _new_compression(self, options: LogOptions) -> Compression | None:
        if options.compression == "none":
            return None
        return Compression(self._catalogue, self._directory_fd, self._filesystem, str(self._directory))

    async def start(self) -> None:
        """Nothing is left to do: the log is open."""

    @property
    def keeps_what_it_takes(self) -> bool:
        return True

    @property
    def first_version(self) -> int:
        return self._catalogue.first_version

    @property
    def last_version(self) -> int:
        return self._last_version

    @property
    def durable_version(self) -> int:
        return self._durable_version

    @property
    def size_bytes(self) -> int:
        return self._catalogue.size_bytes

    @property
    def ring(self) -> RingState:
        recent = self._recent
        return RingState(
            recent.events,
            recent.size_bytes,
            recent.events_max,
            recent.bytes_max,
            self._writer.written_bytes - self._durable_bytes,
        )

    def append(self, records: Sequence[Record]) -> None:
        self._check_usable()
        if not records:
            return
        self._check_room()
        clear = records
        if self._keyring is not None:
            records = self._keyring.seal_events(records)
        pieces, last_version = encode_batch(records, self._last_version)
        try:
            begin_bytes = self._writer.append(pieces, self._last_version + 1)
        except LogFailedError as error:
            self._failed = error
            raise
        self._recent.add(self._catalogue.last, begin_bytes, self._last_version + 1, last_version + 1, clear)
        self._last_version = last_version

    def sync(self, done: Callable[[LogError | None], None]) -> None:
        self._check_usable()
        if self._sync_under_way:
            raise RuntimeError("a sync of this log is already under way")
        if not self._writer.changed:
            asyncio.get_running_loop().call_soon(done, None)
            return
        unsynced = self._writer.take_unsynced(self._last_version)
        self._sync_under_way = True
        flushed = partial(self._flushed, unsynced, done)
        if self._flush_thread is None or unsynced.finished_fds or unsynced.with_directory:
            self._thread.submit(partial(self._flush, unsynced), flushed)
        else:
            self._flush_thread.submit(unsynced.current_fd, flushed)

    def reader(self, from_version: int) -> FileReader:
        check_from_version(from_version, self.first_version, self._last_version, self.url)
        return FileReader(self._catalogue, from_version, self._unseal, self._recent)

    def trim(self, below_version: int) -> None:
        self._check_usable()
        if self._compression is not None and self._compression.busy_with is not None:
            # What is being compressed stays until the next time.
            below_version = min(below_version, self._compression.busy_with.first_version)
        removed = self._catalogue.remove_below(below_version)
        if removed:
            paths = [str(segment.path) for segment in removed]
            self._thread.submit(partial(self._remove, paths), self._removed)

    def load_facts(self) -> dict[str, Fact]:
        return load_facts(self._directory)

    def store_facts(self, facts: Mapping[str, Fact]) -> None:
        store_facts(self._directory, self._directory_fd, facts)

    def close(self) -> None:
        """Flush what was appended (this blocks), release the lock.

        Raises LogFailedError if the flush fails, or takes longer than CLOSE_TIMEOUT_S (GIVEN_UP_TIMEOUT_S where a sync
        is still under way).  The lock then stays until the disk answers or the process ends: what was handed to the
        disk may yet be written.
        """
        if self._closed:
            return
        self._closed = True
        if self._compression is not None:
            self._compression.stop()
        timeout_s = GIVEN_UP_TIMEOUT_S if self._sync_under_way else CLOSE_TIMEOUT_S
        if self._flush_thread is not None:
            self._flush_thread.leave_loop()
        try:
            self._thread.finish(self._release, timeout_s)
        except TimeoutError as error:
            raise LogFailedError(
                f"{self.url}: the disk does not answer, so the log is left as it is: nothing after version"
                f" {self._durable_version} was acknowledged as durable; check the disk"
            ) from error
        except OSError as error:
            raise self._fail(error) from error

    def _release(self) -> None:
        """Runs in the sync thread, which may hang where the event loop's must not."""
        try:
            if self._compression is not None:
                self._compression.wait_until_stopped()
            if self._flush_thread is not None and self._flush_thread.under_way:
                self._flush_error = self._flush_thread.wait()
            if self._failed:
                return
            if self._flush_error is not None:
                raise self._flush_error
            self._writer.drop_room()
            if self._writer.changed:
                self._flush(self._writer.take_unsynced(self._last_version))
                self._durable_version = self._last_version
        finally:
            self._writer.close()
            if self._flush_thread is not None:
                self._flush_thread.close()
            os.close(self._directory_fd)
            os.close(self._lock_fd)

    def _check_room(self) -> None:
        """Raise LogUnavailableError if the disk is that much behind that what waits for it fills the ring."""
        options, waiting_events = self._options, self._last_version - self._durable_version
        waiting_bytes = self._writer.written_bytes - self._durable_bytes
        if waiting_events < options.ring_events_max and waiting_bytes < options.ring_bytes_max:
            return
        limit = "ring_events_max" if waiting_events >= options.ring_events_max else "ring_bytes_max"
        raise LogUnavailableError(
            f"{self.url}: {waiting_events} events ({waiting_bytes} bytes) wait for the disk's flush, which is all that"
            f" {limit} allows: the disk hangs or is slower than they come",
            limit=limit,
        )

    def _flush(self, unsynced: Unsynced) -> None:
        """Runs in the sync thread."""
        try:
            for fd in unsynced.finished_fds:
                self._filesystem.fdatasync(fd)
            self._filesystem.fdatasync(unsynced.current_fd)
            if unsynced.with_directory:
                self._filesystem.fsync(self._directory_fd)
        except OSError as error:
            # Whoever closes the log may not hear of it in time, and must not flush once more and believe it (rule 9).
            self._flush_error = error
            raise

    def _flushed(self, unsynced: Unsynced, done: Callable[[LogError | None], None], error: Exception | None) -> None:
        self._sync_under_way = False
        if error:
            done(self._fail(error))
            return
        if not self._closed:
            self._writer.synced(unsynced)
        if self._failed:
            done(self._failed)
            return
        self._durable_version = max(self._durable_version, unsynced.version)
        self._durable_bytes = unsynced.written_bytes
        if self._compression is not None and not self._closed:
            self._compression.go_on(self._durable_version)
        done(None)

    def _remove(self, paths: list[str]) -> None:
        """Runs in the sync thread. Oldest first, and no further than the first refusal, so that no hole appears."""
        try:
            for path in paths:
                self._filesystem.unlink(str(stored_path(Path(path))))
        except OSError as error:
            logger.warning("the trimmed segment %s can't be removed: %s", error.filename, error.strerror)
        self._filesystem.fsync(self._directory_fd)

    def _removed(self, error: Exception | None) -> None:
        # The directory's flush may have been meant for a new segment as well, so its failure is final too.
        if error:
            logger.error("%s", self._fail(error))

    def _fail(self, error: Exception) -> LogFailedError:
        if not self._failed:
            self._failed = LogFailedError(
                f"{self.url}: flushing to the disk failed ({error}), so what is on it is unknown: nothing after version"
                f" {self._durable_version} is acknowledged; check the disk, then start again"
            )
        return self._failed

    def _check_usable(self) -> None:
        if self._failed:
            raise LogFailedError(str(self._failed)) from self._failed
        if self._closed:
            raise LogFailedError(f"{self.url} is closed")


def _new_flush_thread(filesystem: FileSystem) -> FlushThread | None:
    if not isinstance(filesystem, OsFileSystem):
        return None
    try:
        return FlushThread()
    except (ImportError, OSError):
        # What it does the sync thread does too, for more.
        return None
