"""Sealed events: they come back as they were, or not at all, and nothing of them can be read without their key."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from storage_backends import LogBackend, codec, open_log
from storage_backends.codec import FRAME_MAGIC, SealedEvent, decode_frames, encode_batch
from storage_backends.conformance import LogConformance, event, events, read_all, versions
from storage_backends.errors import LogDamagedError, LogKeyError
from storage_backends.file import open_file_log_readonly
from storage_backends.file.repair import prepared_repair
from storage_backends.records import Event, Mark, Outcome, Quarantine, Record
from storage_backends.secrets import Keyring, Nonces, load_keyring, new_key_line
from tests.storage_backends.sealing import (
    MARKER,
    SECRET,
    KeyFile,
    filled,
    frame_at,
    make_key_file,  # noqa: F401
    refreshed,
)


@pytest.fixture
def keyring(key_file: KeyFile) -> Keyring:
    loaded = load_keyring(key_file("k1"))
    assert loaded is not None
    return loaded


class TestSealedFileLog(LogConformance):
    def open(self, place: Path) -> LogBackend:
        keys = place.parent / "keys"
        if not keys.exists():
            keys.write_text(new_key_line("k1"))
            keys.chmod(0o600)
        return open_log(f"file://{place}", key_file=keys)


async def test_nothing_of_a_request_stands_on_the_disk_in_clear(tmp_path: Path, key_file: KeyFile) -> None:
    everything = [SECRET, Outcome(1, 200, 3, 4), Quarantine(1, 8, "why"), Mark("clean-stop", 1, 9, {})]
    filled(tmp_path / "log", everything, key_file("k1"))
    filled(tmp_path / "clear", everything, None)
    sealed = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    clear = b"".join(path.read_bytes() for path in (tmp_path / "clear").iterdir())
    for word in (MARKER, b"POST", b"/login", b"Bearer"):
        assert word in clear
        assert word not in sealed
    view = open_file_log_readonly(tmp_path / "log", key_file("k1"))
    assert await read_all(view.reader(1)) == everything


async def test_after_a_rotation_both_keys_open(tmp_path: Path, key_file: KeyFile) -> None:
    filled(tmp_path / "log", events(1, 2), key_file("old"))
    filled(tmp_path / "log", events(3, 4), key_file("new", "old"))
    log = open_log(f"file:{tmp_path}/log", key_file=key_file("new", "old"))
    assert await read_all(log.reader(1)) == events(1, 4)
    log.close()
    (segment,) = (tmp_path / "log").glob("*.log")
    data = segment.read_bytes()
    assert [b"new" in frame_at(data, number) for number in (1, 2, 3, 4)] == [False, False, True, True]


async def test_a_mixed_log_is_delivered_whole_with_the_key_and_up_to_the_first_sealed_event_without(
    tmp_path: Path, key_file: KeyFile
) -> None:
    filled(tmp_path / "log", events(1, 3), None)
    filled(tmp_path / "log", events(4, 6), key_file("k1"))
    log = open_log(f"file:{tmp_path}/log", key_file=key_file("k1"))
    assert await read_all(log.reader(1)) == events(1, 6)
    log.close()
    reader = open_file_log_readonly(tmp_path / "log").reader(1)
    assert await reader.next_batch(100, 1 << 20) == events(1, 3)
    for _ in range(2):
        with pytest.raises(LogKeyError, match=r"event 4 is sealed with the key 'k1'.*--log-key-file"):
            await reader.next_batch(100, 1 << 20)
    reader.close()


async def test_the_key_of_events_that_nobody_asks_for_may_be_gone(tmp_path: Path, key_file: KeyFile) -> None:
    filled(tmp_path / "log", events(1, 3), key_file("old"))
    filled(tmp_path / "log", events(4, 6), key_file("new", "old"))
    view = open_file_log_readonly(tmp_path / "log", key_file("new"))
    assert versions(await read_all(view.reader(4))) == [4, 5, 6]


@pytest.mark.parametrize("segment_bytes_max", [1, 1 << 20])
@pytest.mark.parametrize("keys", [(), ("k2",)])
async def test_a_writer_without_the_key_is_refused_and_changes_nothing(
    tmp_path: Path, key_file: KeyFile, keys: tuple[str, ...], segment_bytes_max: int
) -> None:
    place = tmp_path / "log"
    filled(place, events(1, 4), key_file("k1"), segment_bytes_max=segment_bytes_max)
    before = {path.name: path.read_bytes() for path in place.glob("*.log")}
    with pytest.raises(LogKeyError, match=r"event \d is sealed with the key 'k1', "):
        open_log(f"file:{place}", key_file=key_file(*keys) if keys else None)
    assert {path.name: path.read_bytes() for path in place.glob("*.log")} == before
    log = open_log(f"file:{place}", key_file=key_file("k1"))
    assert await read_all(log.reader(1)) == events(1, 4)
    log.close()


async def test_a_key_that_is_missing_for_an_old_segment_only_is_noticed_on_opening(
    tmp_path: Path, key_file: KeyFile
) -> None:
    filled(tmp_path / "log", [Outcome(0, 1, 2, 3), *events(1, 3)], key_file("old"), segment_bytes_max=1)
    filled(tmp_path / "log", events(4, 6), key_file("new", "old"), segment_bytes_max=1)
    with pytest.raises(LogKeyError, match=r"event 1 is sealed with the key 'old', which is not in the key file"):
        open_log(f"file:{tmp_path}/log", key_file=key_file("new"))


def test_another_key_of_the_same_name_is_refused(tmp_path: Path, key_file: KeyFile) -> None:
    filled(tmp_path / "log", events(1, 2), key_file("k1"))
    other = tmp_path / "other"
    other.write_text(new_key_line("k1"))
    other.chmod(0o600)
    with pytest.raises(LogDamagedError, match="holds another key of that name"):
        open_log(f"file:{tmp_path}/log", key_file=other)


def test_two_sealed_events_that_were_exchanged_are_refused(keyring: Keyring) -> None:
    one, two = keyring.seal(event(1)), keyring.seal(event(2))
    swapped = SealedEvent(1, one.time_ns, two.key_id, two.nonce, two.ciphertext)
    decoded = decode_frames(b"".join(encode_batch([swapped, two], 0)[0]), 1, keyring.unseal)
    assert not decoded.records
    assert not decoded.can_be_torn
    assert decoded.problem is not None
    assert "event 1 can't be opened" in decoded.problem
    moved = b"".join(encode_batch([two], 1)[0])
    assert "stands where event 1" in str(decode_frames(moved, 1, keyring.unseal).problem)


@pytest.mark.parametrize("field", range(1, 6))
def test_every_field_of_a_sealed_event_is_authenticated(keyring: Keyring, field: int) -> None:
    payload = codec._unpack(encode_batch([keyring.seal(SECRET)], 0)[0][1])
    value = payload[field]
    if isinstance(value, bytes):
        changes = [value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] for at in range(len(value))] + [
            b"",
            value[:-1],
        ]
    else:
        changes = [value + 1] if isinstance(value, int) else ["k2", ""]
    for change in changes:
        frame = refreshed(codec._pack([*payload[:field], change, *payload[field + 1 :]]))
        decoded = decode_frames(frame, 1, keyring.unseal)
        assert decoded.problem
        assert not decoded.records


def test_a_clear_and_a_sealed_frame_have_different_shapes_only(keyring: Keyring) -> None:
    batch: list[Record] = [event(1), keyring.seal(event(2)), Outcome(1, 200, 1, 2), keyring.seal(event(3)), event(4)]
    data = b"".join(encode_batch(batch, 0)[0])
    assert decode_frames(data, 1, keyring.unseal).records == [*events(1, 2), batch[2], *events(3, 4)]
    assert versions(decode_frames(data, 1, codec.blank).records) == [1, 2, 3, 4]
    locked = decode_frames(data, 1)
    assert (locked.records, locked.next_version) == ([event(1)], 2)
    assert locked.unseal_error is not None


@pytest.mark.parametrize("bad", [Event(1, 1, "a", b""), Event(1, 1 << 80, b"", b"")])  # type: ignore[arg-type]
def test_what_can_not_be_sealed_is_refused(keyring: Keyring, bad: Event) -> None:
    with pytest.raises(ValueError, match="can't be written"):
        keyring.seal(bad)


def test_no_nonce_is_given_twice_even_if_the_counter_overflows(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = Nonces()
    first = nonces.next()
    nonces._count = (1 << 24) - 1
    seen = [first, *(nonces.next() for _ in range(3))]
    assert len(set(seen)) == 4
    assert [len(nonce) for nonce in seen] == [12] * 4
    assert seen[0][:9] == seen[1][:9] != seen[2][:9] == seen[3][:9]
    assert Nonces().next()[:9] != Nonces().next()[:9]


async def test_a_reader_without_the_key_stops_at_the_segment_where_sealing_began(
    tmp_path: Path, key_file: KeyFile
) -> None:
    filled(tmp_path / "log", events(1, 3), None, segment_bytes_max=1)
    filled(tmp_path / "log", events(4, 6), key_file("k1"), segment_bytes_max=1)
    filled(tmp_path / "log", events(7, 9), key_file("k2", "k1"), segment_bytes_max=1)
    for keys, last in ((None, 3), (key_file("k1"), 6)):
        found: list[Record] = []
        reader = open_file_log_readonly(tmp_path / "log", keys).reader(1)
        while len(found) < last:
            found += await reader.next_batch(100, 1 << 20)
        with pytest.raises(LogKeyError, match=f"event {last + 1} is sealed"):
            await reader.next_batch(100, 1 << 20)
        reader.close()
        assert found == events(1, last)


async def test_repair_goes_on_behind_a_bad_frame_between_sealed_events(tmp_path: Path, key_file: KeyFile) -> None:
    place = tmp_path / "log"
    filled(place, [event(1), Outcome(1, 200, 1, 2), event(2), event(3)], key_file("k1"))
    (segment,) = place.glob("*.log")
    data = segment.read_bytes()
    bad = frame_at(data, 2)
    segment.write_bytes(data.replace(bad, bad[:-1] + bytes([bad[-1] ^ 1])))
    with pytest.raises(LogDamagedError):
        open_log(f"file:{place}", key_file=key_file("k1"))
    with prepared_repair(place, "now", dry_run=False) as repair:
        repair.apply()
    log = open_log(f"file:{place}", key_file=key_file("k1"))
    assert await read_all(log.reader(1)) == events(1, 3)
    log.close()


@pytest.mark.parametrize("cut_bytes", [1, 20])
async def test_a_torn_tail_is_cut_with_the_key_and_repair_needs_none(
    tmp_path: Path, key_file: KeyFile, cut_bytes: int
) -> None:
    place = tmp_path / "log"
    filled(place, events(1, 3), key_file("k1"))
    (segment,) = place.glob("*.log")
    whole = segment.read_bytes()
    os.truncate(segment, len(whole) - cut_bytes)
    log = open_log(f"file:{place}", key_file=key_file("k1"))
    assert await read_all(log.reader(1)) == events(1, 2)
    log.close()
    at = whole.rfind(FRAME_MAGIC) - 3
    segment.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with prepared_repair(place, "now", dry_run=False) as repair:
        assert repair.changes
        repair.apply()
    view = open_file_log_readonly(place, key_file("k1"))
    assert (view.last_version, await read_all(view.reader(1))) == (1, events(1, 1))


def test_files_and_directories_are_for_their_owner_only(tmp_path: Path, key_file: KeyFile) -> None:
    before = os.umask(0)
    try:
        filled(tmp_path / "log", events(1, 3), key_file("k1"), segment_bytes_max=1)
        log = open_log(f"file:{tmp_path}/log", key_file=key_file("k1"))
        log.store_facts({"clean_stop": 3})
        log.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "log").iterdir()} == {0o600}
