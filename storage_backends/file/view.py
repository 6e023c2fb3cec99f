"""Reading a log without being its writer: `interceptor log show` on a log that is being written.

No lock is taken and nothing is changed.  A frame that is not whole at the very end is the end for now: the writer
may be in the middle of it, or a crash left it for the next start to cut.
"""

from __future__ import annotations

from pathlib import Path

from storage_backends.codec import Unsealer, locked
from storage_backends.errors import LogConfigurationError, LogDamagedError
from storage_backends.file.catalogue import DirectoryCatalogue
from storage_backends.file.reader import FileReader, check_from_version
from storage_backends.file.recovery import Scan, scan_last_segment
from storage_backends.file.segment import Segment

_LOOKS = 4


class FileLogView:
    """What a file log held when it was opened; its readers also see what is appended later."""

    def __init__(self, directory: Path, unseal: Unsealer = locked) -> None:
        """Raises LogConfigurationError (no log there, newer format) or LogDamagedError."""
        self._directory = directory.absolute()
        self._unseal = unseal
        try:
            self._catalogue = DirectoryCatalogue(self._directory)
            scan = _scan(self._catalogue.last)
        except OSError as error:
            raise LogConfigurationError(f"the log in {directory} can't be read: {error.strerror}") from error
        self._catalogue.last.end_bytes = scan.whole_bytes + scan.torn_bytes
        self.first_version = self._catalogue.first_version
        self.last_version = scan.last_version
        self.size_bytes = self._catalogue.size_bytes
        self.torn_bytes = scan.torn_bytes

    def reader(self, from_version: int) -> FileReader:
        """Return a cursor that begins at or before the event `from_version`. Raises LogGapError."""
        check_from_version(from_version, self.first_version, self.last_version, str(self._directory))
        return FileReader(self._catalogue, from_version, self._unseal)


def _scan(segment: Segment) -> Scan:
    """Scan the last segment; look again where a write that is under way may look like damage."""
    for _ in range(_LOOKS - 1):
        try:
            return scan_last_segment(segment)
        except LogDamagedError:
            segment.index.clear()
    return scan_last_segment(segment)
