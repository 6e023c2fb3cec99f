"""The log in PostgreSQL while all is well: bytes, bounds, names, facts, columns, migrations."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from storage_backends.conformance import event, events, read_all, synced, versions
from storage_backends.errors import LogConfigurationError, LogGapError
from storage_backends.postgres import migrations
from storage_backends.postgres.address import parse_url, quoted
from storage_backends.postgres.ledger import CHUNK_RECORDS_MAX
from storage_backends.records import Event, Mark, Outcome, Quarantine, Record
from tests.storage_backends.test_postgres_server import Server, opened, query, server  # noqa: F401

pytestmark = pytest.mark.filterwarnings("error")

EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + EVERY_BYTE + b" HTTP/1.1\r\nx: " + EVERY_BYTE + b"\r\n\r\n",
        b"GET /gr\xc3\xb6\xc3\x9fe HTTP/1.1\r\n\r\n",
        b"\0 \0 \0",
        b"",
        b" ",
        b"POST",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_the_same_bytes_come_back(server: Server, head: bytes) -> None:  # noqa: F811
    url = server.url()
    record = Event(1, -1, head, EVERY_BYTE * 5)
    async with opened(url) as log:
        log.append([record])
        assert await synced(log) is None
        assert await read_all(log.reader(1)) == [record]
        await query(server, "SELECT * FROM interceptor.requests WHERE log = $1", parse_url(url).log_name)


async def test_people_can_ask_who_changed_what(server: Server) -> None:  # noqa: F811
    url = server.url()
    head = b"PUT /cart/7?x=1 HTTP/1.1\r\nHost: shop\r\nX-User: ann\r\nAccept: a\r\nAccept: b\r\n\r\n"
    async with opened(url) as log:
        log.append([Event(1, 1_700_000_000_123_456_789, head, b"gr\xc3\xbcn"), Event(2, 0, head, b"\xff\0")])
        log.append([Outcome(1, 201, 5, 2**64 - 1), Outcome(1, 500, 2**64 - 1, 1), Quarantine(2, 3, "it kills")])
        log.append([Mark("clean-stop", 2, 4, {"by": "Zoë"}), Mark("m", 2, 4, {"nul": "\0"})])
        assert await synced(log) is None
    name = parse_url(url).log_name
    first, second = await query(server, "SELECT * FROM interceptor.requests WHERE log = $1 ORDER BY version", name)
    assert (first["version"], first["method"], first["target"], first["status"]) == (1, "PUT", "/cart/7?x=1", 201)
    assert first["headers"] == '{"host": "shop", "accept": "a, b", "x-user": "ann"}'
    assert (first["body"], second["body"], second["body_bytes"]) == ("grün", "\\377\\000", b"\xff\0")
    assert (first["length_bytes"], first["digest"], first["quarantined"]) == (5, "f" * 16, None)
    assert (second["status"], second["quarantined"]) == (None, "it kills")
    assert first["recorded_at"].isoformat() == "2023-11-14T22:13:20.123456+00:00"
    of_log = "JOIN interceptor.logs ON id = log_id WHERE name = $1"
    outcomes = await query(server, f"SELECT length_bytes FROM interceptor.outcomes {of_log} ORDER BY 1", name)
    assert [row[0] for row in outcomes] == [5, 2**64 - 1]
    marks = await query(server, f"SELECT kind, detail, version FROM interceptor.marks {of_log}", name)
    assert tuple(marks[0]) == ("clean-stop", '{"by": "Zo\\u00eb"}', 2)
    assert "nul" in marks[1]["kind"], "text can't hold a NUL; the query goes on all the same"


async def test_logs_of_other_names_are_other_logs(server: Server) -> None:  # noqa: F811
    async with opened(server.url()) as one, opened(server.url()) as two, opened(server.url(schema='My "own')) as three:
        one.append(events(1, 3))
        two.append([event(1, b"two")])
        assert await synced(one) is None
        assert await synced(two) is None
        assert await read_all(one.reader(1)) == events(1, 3)
        assert await read_all(two.reader(1)) == [event(1, b"two")]
        assert three.last_version == 0
        one.trim(4)
        assert await synced(two) is None
        assert two.first_version == 1


async def test_a_backlog_of_many_chunks_comes_back_in_order(server: Server) -> None:  # noqa: F811
    url = server.url()
    expected: list[Record] = []
    async with opened(url) as log:
        for version in range(1, 3 * CHUNK_RECORDS_MAX):
            batch: list[Record] = [Outcome(version, 200, 1, 2), event(version), Mark("m", version, 1, {})]
            log.append(batch)
            expected += batch
        assert await synced(log) is None
        assert log.durable_version == log.last_version
        assert await read_all(log.reader(1), events_max=10_000) == expected
    async with opened(url) as log:
        assert (log.first_version, log.durable_version) == (1, 3 * CHUNK_RECORDS_MAX - 1)
        assert await read_all(log.reader(1), events_max=999) == expected


@pytest.mark.parametrize(("ring_events_max", "transactions"), [(100_000, 8), (3_000, 2)])
async def test_a_log_that_is_behind_commits_more_at_once(
    server: Server, ring_events_max: int, transactions: int  # noqa: F811
) -> None:  # fmt: skip
    url = server.url()
    asked = "SELECT batch FROM interceptor.logs WHERE name = $1"
    async with opened(url, ring_events_max=ring_events_max) as log:
        ((before,),) = await query(server, asked, parse_url(url).log_name)
        for version in range(1, 8 * CHUNK_RECORDS_MAX + 1):
            log.append([event(version)])
        assert await synced(log) is None
        ((after,),) = await query(server, asked, parse_url(url).log_name)
        assert after - before == transactions


async def test_a_page_is_bounded_in_bytes(server: Server) -> None:  # noqa: F811
    async with opened(server.url()) as log:
        log.append([event(version, b"x" * 100_000) for version in range(1, 41)])
        assert await synced(log) is None
        reader = log.reader(1)
        assert len(await reader.next_batch(1000, 1_000_000)) == 10
        assert len(await reader.next_batch(1000, 1)) == 1


async def test_a_reader_goes_from_the_table_into_memory_and_back(server: Server) -> None:  # noqa: F811
    async with opened(server.url()) as log:
        reader = log.reader(1)
        found: list[Record] = []
        for first in range(1, 60, 3):
            log.append(events(first, first + 2))
            if first % 2:
                assert await synced(log) is None
            log.append([Outcome(first, 200, 1, 2)])
            found += await reader.next_batch(2, 1 << 20)
        found += await read_all(reader)
        assert versions(found) == list(range(1, 61))
        assert len(found) == 80


async def test_what_is_trimmed_leaves_the_table(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        for version in range(1, 2501):
            log.append([event(version, b"x" * 100), Outcome(version, 200, 1, 2)])
        assert await synced(log) is None
        full_bytes = log.size_bytes
        behind = log.reader(1)
        log.trim(2001)
        assert log.first_version == 2001
        with pytest.raises(LogGapError):
            log.reader(2000)
        await rows_below(server, url, 2001)
        with pytest.raises(LogGapError):
            await behind.next_batch(10, 1000)
        log.append([event(2501)])
        assert await synced(log) is None
        assert log.size_bytes < full_bytes / 2
        log.trim(10_000)
        await rows_below(server, url, 2502)
    async with opened(url) as log:
        assert (log.first_version, log.last_version) == (2502, 2501)
        log.append([Outcome(2501, 200, 1, 2), event(2502)])
        assert versions(await read_all(log.reader(2502))) == [2502]
        assert await synced(log) is None
        assert versions(await read_all(log.reader(2502))) == [2502]


async def rows_below(server: Server, url: str, version: int) -> None:  # noqa: F811
    """Return once there are none."""
    sql = (
        "SELECT count(*) FROM interceptor.records r JOIN interceptor.logs l ON l.id = r.log_id"
        " WHERE l.name = $1 AND r.version < $2"
    )
    while (await query(server, sql, parse_url(url).log_name, version))[0][0]:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_what_stands_before_the_first_event_stays_until_that_is_trimmed(server: Server) -> None:  # noqa: F811
    url = server.url()
    expected: list[Record] = [Mark("incarnation", 0, 1, {}), Outcome(1, 200, 1, 2), event(1)]
    async with opened(url) as log:
        log.append(expected)
    for _ in range(2):
        async with opened(url) as log:
            log.append([Mark("m", 1, 1, {})])
            expected.append(Mark("m", 1, 1, {}))
            assert await synced(log) is None
            assert log._trimmer._task is None
            assert await read_all(log.reader(1)) == expected
            assert await read_all(log.reader(2)) == expected[3:]


async def test_facts_are_there_again(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        assert log.load_facts() == {}
        log.append(events(1, 2))
        log.store_facts({"a": [1, {"ü": None}], "b": "\0"})
        assert log.load_facts() == {"a": [1, {"ü": None}], "b": "\0"}
        log.store_facts({"a": 2.5})
    async with opened(url) as log:
        assert log.load_facts() == {"a": 2.5}
        assert log.durable_version == 2, "what was appended before the facts is there too"
        with pytest.raises(ValueError, match="JSON"):
            log.store_facts({"a": float("nan")})


@pytest.mark.parametrize(
    "record",
    [
        Outcome(1, -1, 0, 0),
        Outcome(1, 200, 2**64, 0),
        Outcome(1, 200, 0, -1),
        Mark("m", 0, 2**63, {}),
        Mark("m", 0, 0, {"a": 1.5}),
        Quarantine(1, 0, 5),
        "text",
    ],
)
async def test_what_the_table_cannot_hold_is_refused_at_once(server: Server, record: Record) -> None:  # noqa: F811
    async with opened(server.url()) as log:
        with pytest.raises(ValueError, match=r"kept|record"):
            log.append([event(1), record])
        log.append(events(1, 1))
        assert await synced(log) is None


async def test_a_schema_of_an_older_version_is_migrated_and_keeps_its_rows(
    server: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = server.url(schema="older")
    with monkeypatch.context() as patch:
        patch.setattr(migrations.migrate, "__defaults__", (migrations.MIGRATIONS[:1],))
        async with opened(url) as log:
            log.append(events(1, 2))
    async with opened(url) as log:
        assert await read_all(log.reader(1)) == events(1, 2)
    rows = await query(server, "SELECT version FROM older.schema_migrations ORDER BY 1")
    assert [row[0] for row in rows] == [step.version for step in migrations.MIGRATIONS]
    assert len(await query(server, "SELECT * FROM older.requests")) == 2


async def test_a_schema_of_a_newer_version_is_refused(server: Server) -> None:  # noqa: F811
    url = server.url(schema=quote("new er"))
    async with opened(url):
        pass
    await query(server, f"INSERT INTO {quoted('new er')}.schema_migrations VALUES (99, 'from the future')")
    with pytest.raises(LogConfigurationError, match="version 99"):
        async with opened(url):
            pass


async def test_many_can_migrate_at_the_same_moment(server: Server) -> None:  # noqa: F811
    async def start() -> None:
        async with opened(server.url(schema="crowd")):
            pass

    await asyncio.gather(*(start() for _ in range(5)))
    rows = await query(server, "SELECT count(*) FROM crowd.schema_migrations")
    assert rows[0][0] == len(migrations.MIGRATIONS)
