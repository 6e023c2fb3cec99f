"""Reading what can be read of a file log that may be damaged, beside its writer or without one."""

from __future__ import annotations

from pathlib import Path

from storage_backends.backend import Fact
from storage_backends.codec import Unsealer, blank, locked
from storage_backends.errors import LogConfigurationError, LogGapError
from storage_backends.file.catalogue import DirectoryCatalogue
from storage_backends.file.facts import load_facts
from storage_backends.file.inspection import inspected_segments
from storage_backends.file.reader import FileReader
from storage_backends.file.room import written_end_bytes
from storage_backends.file.segment import HEADER_BYTES, Segment
from storage_backends.file.segment_file import open_segment_file
from storage_backends.file.stream import FrameStream


class TolerantFileView:
    """Opens at once and judges nothing: its readers deliver everything before the first damage, then raise."""

    def __init__(self, directory: Path, unseal: Unsealer = locked) -> None:
        """Raises LogConfigurationError: no log is there."""
        self._directory = directory.absolute()
        self._unseal = unseal
        inspected_segments(directory)
        try:
            self._catalogue = DirectoryCatalogue(self._directory)
            _leave_out_room(self._catalogue.last)
        except OSError as error:
            raise LogConfigurationError(f"the log in {directory} can't be read: {error.strerror}") from error
        self.first_version = self._catalogue.first_version
        self.size_bytes = self._catalogue.size_bytes

    def find_last_version(self) -> int:
        """Return the last event that can be read in the last segment.  Reads the whole segment."""
        segment = self._catalogue.last
        try:
            file = open_segment_file(segment.path)
        except OSError as error:
            raise LogConfigurationError(f"{segment.path} can't be read: {error.strerror}") from error
        try:
            stream = FrameStream(file, segment.path, HEADER_BYTES, segment.first_version, blank)
            while stream.read(file.size_bytes()):
                segment.index.note(stream.next_version, stream.offset_bytes)
            return stream.next_version - 1
        finally:
            file.close()

    def reader(self, from_version: int) -> FileReader:
        """Return a cursor that begins at or before the event. Raises LogGapError if it was trimmed."""
        if from_version < self.first_version:
            raise LogGapError(
                f"{self._directory}: version {from_version} was trimmed; the first version kept is {self.first_version}"
            )
        return FileReader(self._catalogue, from_version, self._unseal)

    def load_facts(self) -> dict[str, Fact]:
        """Return the facts about the log. Raises LogDamagedError."""
        return load_facts(self._directory)


def _leave_out_room(segment: Segment) -> None:
    file = open_segment_file(segment.path)
    try:
        segment.end_bytes = written_end_bytes(file, HEADER_BYTES, segment.end_bytes)
    finally:
        file.close()
