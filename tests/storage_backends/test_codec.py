"""Frames: what goes in comes out, and nothing else does."""

from __future__ import annotations

import struct
from typing import Any

import google_crc32c
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_backends.codec import FRAME_MAGIC, decode_frames, encode_batch
from storage_backends.records import Event, Mark, Outcome, Quarantine, Record

U64 = st.integers(0, 2**64 - 1)
RARE = st.one_of(
    st.builds(Outcome, U64, st.integers(0, 999), U64, U64),
    st.builds(Quarantine, U64, st.integers(0, 2**63), st.text(st.characters(codec="utf-8"))),
    st.builds(
        Mark,
        st.just("checkpoint"),
        U64,
        U64,
        st.dictionaries(st.text(st.characters(codec="utf-8")), st.one_of(U64, st.just("x"))),
    ),
)


def frame(fields: Any) -> bytes:
    """Return a frame with a good CRC around any value."""
    payload = msgpack.packb(fields)
    length = struct.pack("<I", len(payload))
    return FRAME_MAGIC + length + struct.pack("<I", google_crc32c.value(length + payload)) + payload


@given(st.lists(st.one_of(RARE, st.binary(max_size=5000))), st.integers(0, 2**40))
def test_records_survive_the_round_trip(drawn: list[Any], last: int) -> None:
    records: list[Record] = []
    version = last
    for item in drawn:
        if isinstance(item, bytes):
            version += 1
            records.append(Event(version, version, item, item[::-1]))
        else:
            records.append(item)
    pieces, new_last = encode_batch(records, last)
    decoded = decode_frames(b"".join(pieces), last + 1)
    assert (decoded.records, decoded.next_version, decoded.problem) == (records, version + 1, None)
    assert new_last == version


@given(st.binary(max_size=200))
def test_decoding_never_raises(data: bytes) -> None:
    decode_frames(data, 1)
    decode_frames(FRAME_MAGIC + data, 1)


def test_consecutive_outcomes_share_one_frame() -> None:
    outcomes: list[Record] = [Outcome(version, 200, 10, 2**63) for version in range(1, 51)]
    pieces, _ = encode_batch(outcomes, 50)
    assert b"".join(pieces).count(FRAME_MAGIC) == 1


@pytest.mark.parametrize(
    "fields",
    [
        7,
        None,
        {},
        [],
        [9],
        [None],
        [True, 1, 1, b"", b""],
        [0],
        [0, 1, 1, b"", ""],
        [0, 1, 1.0, b"", b""],
        [0, True, 1, b"", b""],
        [0, 1, 1, b""],
        [1],
        [1, 1, 2, 3],
        [1, 1, 2, 3, "4"],
        [2, 1, 1, b"bytes"],
        [3, "kind", 1, 1, []],
        [3, "kind", 1, 1, {"key": 1.5}],
        [3, "kind", 1, 1, {"key": True}],
        msgpack.ExtType(5, b"x"),
    ],
)
def test_a_good_crc_around_a_wrong_shape_is_damage_that_no_torn_write_explains(fields: Any) -> None:
    decoded = decode_frames(frame(fields), 1)
    assert decoded.problem
    assert not decoded.can_be_torn
    assert decoded.records == []


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x95\x00", b"\x90\x90", b"\x81\x91\x01\x02", b"\xd9\x01\xff"])
def test_a_good_crc_around_no_msgpack_is_damage(payload: bytes) -> None:
    length = struct.pack("<I", len(payload))
    data = FRAME_MAGIC + length + struct.pack("<I", google_crc32c.value(length + payload)) + payload
    assert decode_frames(data, 1).problem


@pytest.mark.parametrize(
    "record",
    [
        Outcome(1, 200, 2**64, 0),
        Quarantine(1, 1, b"bytes"),  # type: ignore[arg-type]
        Mark("kind", 1, 1, {"key": 1.5}),  # type: ignore[dict-item]
        "text",
    ],
)
def test_what_could_not_be_read_again_is_not_written(record: Any) -> None:
    with pytest.raises(ValueError, match=r"log|range"):
        encode_batch([record], 0)
    assert encode_batch([Event(1, 1, b"a", b"b")], 0)[1] == 1
