"""Sealed events in PostgreSQL: what a row shows, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_backends.conformance import event, events, read_all, synced
from storage_backends.errors import LogKeyError
from storage_backends.postgres.address import parse_url
from storage_backends.postgres.faults import RowsDamagedError
from storage_backends.records import Event, Outcome, Record
from storage_backends.secrets import new_key_line
from tests.storage_backends.test_postgres_server import Server, opened, query, server  # noqa: F401

SECRET = Event(1, 5, b"POST /login HTTP/1.1\r\nAuthorization: Bearer hunter2-head\r\n\r\n", b"hunter2-body")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"{new_key_line('new')}\n{new_key_line('old')}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def old_key(keys: Path, tmp_path: Path) -> Path:
    """A file with the second of the keys only."""
    path = tmp_path / "old-key"
    path.write_text(keys.read_text().splitlines()[1])
    path.chmod(0o600)
    return path


async def filled(url: str, records: list[Record], key_file: Path | None) -> None:
    async with opened(url, key_file=key_file) as log:
        log.append(records)
        assert await synced(log) is None


async def test_a_row_shows_nothing_of_the_request_and_comes_back(server: Server, keys: Path) -> None:  # noqa: F811
    url = server.url()
    records: list[Record] = [SECRET, Outcome(1, 201, 5, 6), event(2)]
    await filled(url, records, keys)
    async with opened(url, key_file=keys) as log:
        assert await read_all(log.reader(1)) == records
    name = parse_url(url).log_name
    (row, _) = await query(server, "SELECT * FROM interceptor.requests WHERE log = $1 ORDER BY version", name)
    assert (row["version"], row["method"], row["target"], row["headers"], row["head_bytes"]) == (
        1,
        None,
        None,
        "{}",
        None,
    )
    assert (row["status"], row["length_bytes"], row["digest"]) == (201, 5, f"{6:016x}")
    rows = await query(server, "SELECT r.* FROM interceptor.records r JOIN interceptor.logs ON id = log_id"
                               " WHERE name = $1 ORDER BY r.version, r.ordinal", name)  # fmt: skip
    shown = b"".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)
    assert b"hunter2" not in shown
    assert b"login" not in shown
    assert [row["detail"] for row in rows] == ['{"sealed": "new"}', None, '{"sealed": "new"}']


async def test_a_log_without_its_key_is_refused_at_its_start(
    server: Server,  # noqa: F811
    keys: Path,
    old_key: Path,
) -> None:
    url = server.url()
    await filled(url, events(1, 2), None)
    await filled(url, events(3, 4), keys)
    with pytest.raises(LogKeyError, match=r"event 4 is sealed with the key 'new', and no key file was given"):
        async with opened(url):
            pass
    with pytest.raises(LogKeyError, match=r"event 4 is sealed with the key 'new', which is not in the key file"):
        async with opened(url, key_file=old_key):
            pass


async def test_mixed_and_rotated_rows_are_read_with_all_the_keys(
    server: Server,  # noqa: F811
    keys: Path,
    old_key: Path,
) -> None:
    url = server.url()
    await filled(url, events(1, 2), None)
    await filled(url, events(3, 4), old_key)
    await filled(url, events(5, 6), keys)
    async with opened(url, key_file=keys) as log:
        assert await read_all(log.reader(1)) == events(1, 6)


async def test_rows_whose_contents_were_exchanged_are_refused(server: Server, keys: Path) -> None:  # noqa: F811
    url = server.url()
    await filled(url, events(1, 4), keys)
    name = parse_url(url).log_name
    of_log = "log_id = (SELECT id FROM interceptor.logs WHERE name = $1)"
    await query(
        server, f"UPDATE interceptor.records r SET body = o.body, time_ns = o.time_ns FROM interceptor.records o"
        f" WHERE r.{of_log} AND o.{of_log} AND (r.version, o.version) IN ((2, 3), (3, 2))", name,
    )  # fmt: skip
    async with opened(url, key_file=keys) as log:
        reader = log.reader(1)
        with pytest.raises(RowsDamagedError, match="event 2 can't be opened with the key 'new'"):
            await read_all(reader)
