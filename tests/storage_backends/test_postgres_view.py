"""Reading beside the writer: nothing is taken, changed or created, and what is read is continuous (rule 8)."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from storage_backends.conformance import event, events, read_all, synced, versions
from storage_backends.errors import LogConfigurationError, LogDamagedError, LogGapError, LogUnavailableError
from storage_backends.postgres.address import parse_url
from storage_backends.postgres.ledger import last_row_query
from storage_backends.postgres.log import PostgresLog
from storage_backends.postgres.view import PostgresView, list_logs, open_view
from storage_backends.records import Outcome
from tests.storage_backends.test_postgres_server import Server, opened, query, server  # noqa: F401


async def append(log: PostgresLog, first: int, last: int) -> None:
    log.append([*events(first, last), Outcome(last, 200, 1, 2)])
    assert await synced(log) is None


async def seen(view: PostgresView, from_version: int = 1) -> list[int]:
    return versions(await read_all(view.reader(from_version), events_max=7))


async def test_a_view_sees_what_is_committed_and_what_comes(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        await append(log, 1, 20)
        log.store_facts({"quarantined": [4]})
        assert await synced(log) is None
        view = await open_view(url)
        reader = view.reader(1)
        assert versions(await read_all(reader, events_max=7)) == list(range(1, 21))
        await append(log, 21, 30)
        assert versions(await read_all(reader, events_max=7)) == list(range(21, 31))
        assert (view.first_version, view.find_last_version()) == (1, 30)
        view.close()


async def test_a_view_takes_no_lock_and_its_session_cannot_write(server: Server) -> None:  # noqa: F811
    url = server.url(application_name="looking")
    name = parse_url(url).log_name
    async with opened(url.replace("looking", "writing")) as log:
        await append(log, 1, 3)
        before = await query(server, "SELECT * FROM interceptor.logs WHERE name = $1", name)
        view = await open_view(url)
        assert await seen(view) == [1, 2, 3]
        locks = "SELECT l.locktype FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.application_name = $1"
        assert await query(server, locks, "looking") == []
        async with view._side.lock:
            connection = await view._side.connection()
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute("DELETE FROM interceptor.records")
        view.close()
        assert await query(server, "SELECT * FROM interceptor.logs WHERE name = $1", name) == before
        await append(log, 4, 5)


async def test_who_may_only_select_can_read(server: Server) -> None:  # noqa: F811
    url = server.url(schema="looked_at")
    async with opened(url) as log:
        await append(log, 1, 3)
    await query(server, "CREATE ROLE bob LOGIN")
    try:
        as_bob = url.replace("postgres@", "bob@")
        with pytest.raises(LogConfigurationError, match="may not read it; GRANT USAGE"):
            await open_view(as_bob)
        await query(server, "GRANT USAGE ON SCHEMA looked_at TO bob")
        await query(server, "GRANT SELECT ON ALL TABLES IN SCHEMA looked_at TO bob")
        view = await open_view(as_bob)
        assert await seen(view) == [1, 2, 3]
        view.close()
    finally:
        await query(server, "DROP OWNED BY bob")
        await query(server, "DROP ROLE bob")


async def test_a_log_that_is_not_there_is_said_and_not_created(server: Server, tmp_path: Path) -> None:  # noqa: F811
    async with opened(server.url("there", schema="views")):
        pass
    with pytest.raises(LogConfigurationError, match=r"'elsewhere' .*does not exist; .*logs there: 'there'"):
        await open_view(server.url("elsewhere", schema="views"))
    with pytest.raises(LogConfigurationError, match="no log in this schema"):
        await open_view(server.url("there", schema="nowhere"))
    assert await query(server, "SELECT 1 FROM pg_namespace WHERE nspname = 'nowhere'") == []
    assert [row[0] for row in await query(server, "SELECT name FROM views.logs")] == ["there"]
    with pytest.raises(LogUnavailableError, match="no server has its socket"):
        await open_view(f"postgresql:///x?host={tmp_path}")


async def test_rows_that_are_missing_are_damage_after_everything_before_them(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        await append(log, 1, 9)
    await query(
        server,
        "DELETE FROM interceptor.records USING interceptor.logs WHERE log_id = id AND name = $1 AND version = 5",
        parse_url(url).log_name,
    )
    view = await open_view(url)
    reader = view.reader(1)
    assert versions(await reader.next_batch(100, 1 << 20)) == [1, 2, 3, 4]
    for _ in range(2):
        with pytest.raises(LogDamagedError, match="rows are missing behind version 4"):
            await reader.next_batch(100, 1 << 20)
    view.close()


async def test_what_is_trimmed_under_a_reader_is_a_gap_and_no_damage(server: Server) -> None:  # noqa: F811
    url = server.url()
    async with opened(url) as log:
        await append(log, 1, 20)
        view = await open_view(url)
        reader = view.reader(1)
        assert versions(await reader.next_batch(5, 1 << 20)) == [1, 2, 3, 4, 5]
        log.trim(15)
        await append(log, 21, 21)
        while await query(
            server,
            "SELECT 1 FROM interceptor.records JOIN interceptor.logs ON id = log_id WHERE name = $1 AND version < 15",
            parse_url(url).log_name,
        ):
            pass
        with pytest.raises(LogGapError, match="version 6 was trimmed; the first version kept is 15"):
            await reader.next_batch(5, 1 << 20)
        assert await seen(view, 15) == list(range(15, 22))
        view.close()


async def test_the_logs_of_a_schema_are_listed(server: Server) -> None:  # noqa: F811
    async with opened(server.url("empty", schema="listed")):
        pass
    async with opened(server.url("cart", schema="listed")) as log:
        await append(log, 1, 12)
        cart, empty = await list_logs(server.url(schema="listed"))
        assert (cart.name, cart.first_version, cart.last_version, cart.has_writer) == ("cart", 1, 12, True)
        assert (cart.first_time_ns, cart.last_time_ns) == (event(1).time_ns, event(12).time_ns)
        assert (empty.name, empty.last_version, empty.last_time_ns, empty.has_writer) == ("empty", 0, None, False)
    assert not any(log.has_writer for log in await list_logs(server.url(schema="listed")))


async def test_pages_and_bounds_are_looked_up_in_the_index(server: Server) -> None:  # noqa: F811
    """Opening and seeking cost the same whatever the table's length, even before the server has any statistics."""
    url = server.url(schema="planned")
    async with opened(url) as log:
        await append(log, 1, 5000)
    view = await open_view(url)
    cursor = view.reader(4000)._cursor
    page = literal(cursor._query, (view.log_id, *cursor.after, *view.end, 100, 1 << 20))
    bounds = literal(last_row_query(parse_url(url)), (view.log_id,))
    for sql in (page, bounds):
        async with view._side.lock:
            plan = await (await view._side.connection()).fetch(f"EXPLAIN {sql}")
        lines = [row[0] for row in plan]
        assert any("records_pkey" in line for line in lines), lines
        assert not any("Seq Scan" in line or "Sort" in line or "Bitmap" in line for line in lines), lines
    view.close()


def literal(sql: str, arguments: tuple[int, ...]) -> str:
    """Return the query as the server plans it for these arguments."""
    for number in range(len(arguments), 0, -1):
        sql = sql.replace(f"${number}", str(arguments[number - 1]))
    return sql
