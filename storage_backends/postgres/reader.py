"""A cursor over the table and what is not in it yet; and the trimming of what nobody may read any more."""

from __future__ import annotations

import asyncio
import logging

from storage_backends.errors import LogError, LogFailedError, LogGapError
from storage_backends.postgres.buffer import Key
from storage_backends.postgres.driver import Row
from storage_backends.postgres.faults import Patience, RowsDamagedError, described, passes
from storage_backends.postgres.ledger import ROW_OVERHEAD_BYTES, Ledger
from storage_backends.postgres.rows import READ_COLUMNS, record_of
from storage_backends.postgres.session import SideConnection
from storage_backends.records import Record

logger = logging.getLogger("storage_backends.postgres")

ROWS_MAX = 1_000
TRIM_VERSIONS = 1_000
"""Versions deleted in one transaction: a fraction of a second of the server's time, and no long lock."""


class PostgresReader:
    """Implements LogReader.  It keeps a key and no records; readers of one log take turns on one session."""

    def __init__(self, ledger: Ledger, side: SideConnection, from_version: int) -> None:
        self._ledger = ledger
        self._side = side
        self._after: Key = (from_version - 1, 0)
        self._closed = False

    async def next_batch(self, events_max: int, bytes_max: int) -> list[Record]:
        buffer = self._ledger.buffer
        while not self._closed:
            begin = buffer.begin
            if self._after >= begin:
                records, self._after = buffer.read(self._after, max(1, events_max), bytes_max)
                return records
            rows = await fetch(
                self._side,
                _page_query(self._ledger),
                self._ledger.log_id,
                *self._after,
                *begin,
                max(1, min(events_max, ROWS_MAX)),
                max(1, bytes_max),
            )
            if rows:
                return [self._advance(row) for row in rows]
            self._skip_to(begin)
        raise ValueError("the reader is closed")

    def close(self) -> None:
        self._closed = True

    def _advance(self, row: Row) -> Record:
        version, ordinal = self._after
        found: Key = (row[0], row[1])
        trimmed = version < self._rows_begin and found[0] == version
        if found not in ((version, ordinal + 1), (version + 1, 0)) and not trimmed:
            raise self._hole(found)
        record = record_of(row, self._ledger.unseal)
        self._after = found
        return record

    def _skip_to(self, begin: Key) -> None:
        """Go on behind rows that are not there; those that belong to a trimmed event need not be."""
        version = self._after[0]
        if begin[0] != version or version >= self._rows_begin:
            raise self._hole(begin)
        self._after = begin

    @property
    def _rows_begin(self) -> int:
        return self._ledger.rows_begin(self._ledger.first_version)

    def _hole(self, found: Key) -> LogError:
        version, first_version = self._after[0] + 1, self._ledger.first_version
        if version < first_version:
            return LogGapError(f"version {version} was trimmed; the first version kept is {first_version}")
        return RowsDamagedError(
            f"{self._ledger.address.place}: rows are missing behind version {self._after[0]}, ordinal {self._after[1]}"
            f" (the next one is {found}): somebody deleted them; restore them from a backup"
        )


class Trimmer:
    """Deletes the rows below the first version, in steps, beside the writer.  One task at a time."""

    def __init__(self, ledger: Ledger, side: SideConnection) -> None:
        self._ledger = ledger
        self._side = side
        self._task: asyncio.Task[None] | None = None

    def request(self) -> None:
        """Delete what may be deleted by now, unless that is being done."""
        if self._task is None and self._ledger.oldest_row_version < self._end:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="trimming")
            self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Leave the rest for the next time."""
        if self._task is not None:
            self._task.remove_done_callback(self._ended)
            self._task.cancel()
        self._side.close()

    async def _run(self) -> None:
        ledger = self._ledger
        query = f"""
            WITH gone AS (
                DELETE FROM {ledger.address.table("records")} WHERE log_id = $1 AND version >= $2 AND version < $3
                RETURNING coalesce(octet_length(head), 0) + coalesce(octet_length(body), 0)
                    + {ROW_OVERHEAD_BYTES} AS bytes)
            SELECT coalesce(sum(bytes), 0)::bigint FROM gone"""
        while ledger.oldest_row_version < self._end:
            end = min(ledger.oldest_row_version + TRIM_VERSIONS, self._end)
            rows = await fetch(self._side, query, ledger.log_id, ledger.oldest_row_version, end)
            ledger.freed_bytes += rows[0][0]
            ledger.oldest_row_version = end
        self._side.drop()

    @property
    def _end(self) -> int:
        return self._ledger.rows_begin(self._ledger.committed_first_version)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Nothing that is read rests on it: what should be gone is merely still there.
            logger.error("%s: trimming stopped: %s", self._ledger.address.place, described(error))


async def fetch(side: SideConnection, query: str, *args: object) -> list[Row]:
    """Run a query until the database answers it.  Raises LogFailedError for what trying again can't help."""
    async with side.lock:
        patience = Patience(side.address.commit_timeout_s)
        told = False
        while True:
            try:
                async with asyncio.timeout(patience.limit_s):
                    return await (await side.connection()).fetch(query, *args)
            except Exception as error:
                side.drop()
                if isinstance(error, LogError):
                    raise
                if not passes(error):
                    raise LogFailedError(f"{side.address.place} can't be read: {described(error)}") from error
                if not told:
                    told = True
                    logger.warning("%s can't be read now, a reader waits: %s", side.address.place, described(error))
                await patience.after(error)
            except BaseException:
                side.drop()
                raise


def _page_query(ledger: Ledger) -> str:
    # The sum is over lengths only, which the server knows without reading large bodies; so a page is bounded in bytes.
    return f"""
        SELECT {READ_COLUMNS} FROM (
            SELECT page.*, sum(coalesce(octet_length(head), 0) + coalesce(octet_length(body), 0) + 64)
                OVER (ORDER BY version, ordinal ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_bytes
            FROM (SELECT {READ_COLUMNS} FROM {ledger.address.table("records")} WHERE log_id = $1
                  AND (version, ordinal) > ($2::bigint, $3::integer) AND (version, ordinal) <= ($4::bigint, $5::integer)
                  ORDER BY version, ordinal LIMIT $6) AS page) AS summed
        WHERE before_bytes IS NULL OR before_bytes < $7::bigint ORDER BY version, ordinal"""
