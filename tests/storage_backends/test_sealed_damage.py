"""A damaged encrypted log: refused or cut, and never a wrong event, whichever bit was flipped (design rule 8)."""

from __future__ import annotations

import os
from pathlib import Path

from storage_backends.conformance import read_all
from storage_backends.errors import LogError
from storage_backends.file import open_file_log_readonly
from storage_backends.records import Event, Outcome, Record
from tests.storage_backends.sealing import (
    KeyFile,
    filled,
    make_key_file,  # noqa: F401
)

EXPECTED: list[Record] = [
    record
    for version in range(1, 3)
    for record in (Event(version, version, b"GET / HTTP/1.1\r\n\r\n", b"b"), Outcome(version, 200, 3, 4))
]


async def test_every_flipped_bit_and_every_truncation_of_an_encrypted_segment(
    key_file: KeyFile, tmp_path: Path
) -> None:
    keys, place = key_file("k1"), tmp_path / "log"
    filled(place, EXPECTED, keys)
    (name,) = [name for name in os.listdir(place) if name.endswith(".log")]
    segment = place / name
    data = segment.read_bytes()
    cut = 0
    for at in range(len(data)):
        flipped = (data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for bit in range(8))
        for damaged in (data[:at], *flipped):
            segment.write_bytes(damaged)
            try:
                found = await read_all(open_file_log_readonly(place, keys).reader(1))
            except LogError:
                continue
            assert found == EXPECTED[: len(found)], at
            assert len(found) < len(EXPECTED), at
            cut += 1
    assert cut >= len(data) // 2
