"""A cursor over the table and what is not in it yet; and the trimming of what nobody may read any more."""

from __future__ import annotations

import asyncio
import logging

from storage_backends.postgres.cursor import TableCursor, fetch, rows_begin
from storage_backends.postgres.faults import described
from storage_backends.postgres.ledger import ROW_OVERHEAD_BYTES, Ledger
from storage_backends.postgres.session import SideConnection
from storage_backends.records import Record

logger = logging.getLogger("storage_backends.postgres")

TRIM_VERSIONS = 1_000
"""Versions deleted in one transaction: a fraction of a second of the server's time, and no long lock."""

_UNKNOWN = 0


class PostgresReader:
    """Implements LogReader.  It keeps a key and no records; readers of one log take turns on one session."""

    def __init__(self, ledger: Ledger, side: SideConnection, from_version: int) -> None:
        self._buffer = ledger.buffer
        self._cursor = TableCursor(side, ledger.log_id, ledger.unseal, lambda: ledger.first_version, from_version)
        self._closed = False

    async def next_batch(self, events_max: int, bytes_max: int) -> list[Record]:
        buffer, cursor = self._buffer, self._cursor
        while not self._closed:
            begin = buffer.begin
            if cursor.after >= begin:
                records, cursor.after = buffer.read(cursor.after, max(1, events_max), bytes_max)
                return records
            records = cursor.take(await cursor.page(begin, events_max, bytes_max), begin)
            if records:
                return records
        raise ValueError("the reader is closed")

    def close(self) -> None:
        self._closed = True


class Trimmer:
    """Deletes the rows below the first version, in steps, beside the writer.  One task at a time."""

    def __init__(self, ledger: Ledger, side: SideConnection) -> None:
        self._ledger = ledger
        self._side = side
        self._task: asyncio.Task[None] | None = None
        self._begin = _UNKNOWN

    def request(self) -> None:
        """Delete what may be deleted by now, unless that is being done."""
        if self._task is None and self._begin < self._end:
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
        if self._begin == _UNKNOWN:
            # Once only: dead rows that nobody has vacuumed yet make this slow.
            first = f"SELECT version FROM {ledger.address.table('records')} WHERE log_id = $1 ORDER BY version LIMIT 1"
            rows = await fetch(self._side, first, ledger.log_id)
            self._begin = rows[0][0] if rows else self._end
        while self._begin < self._end:
            end = min(self._begin + TRIM_VERSIONS, self._end)
            rows = await fetch(self._side, query, ledger.log_id, self._begin, end)
            ledger.freed_bytes += rows[0][0]
            self._begin = end
        self._side.drop()

    @property
    def _end(self) -> int:
        return rows_begin(self._ledger.committed_first_version)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Nothing that is read rests on it: what should be gone is merely still there.
            logger.error("%s: trimming stopped: %s", self._ledger.address.place, described(error))
