"""A place in the table `records`, from which pages of rows are read; what is not continuous is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from storage_backends.codec import Unsealer
from storage_backends.errors import LogError, LogFailedError, LogGapError
from storage_backends.postgres.address import Address
from storage_backends.postgres.buffer import Key
from storage_backends.postgres.driver import Row
from storage_backends.postgres.faults import Patience, RowsDamagedError, described, passes
from storage_backends.postgres.rows import READ_COLUMNS, record_of
from storage_backends.postgres.session import SideConnection
from storage_backends.records import Record

logger = logging.getLogger("storage_backends.postgres")

ROWS_MAX = 1_000


def rows_begin(first_version: int) -> int:
    """Return the version below which there may be no rows; what stands before event 1 goes with event 1."""
    return first_version if first_version > 1 else 0


class TableCursor:
    """Keeps the key of the last row that was taken, `after`, and no records."""

    def __init__(
        self, side: SideConnection, log_id: int, unseal: Unsealer, first_version: Callable[[], int], from_version: int
    ) -> None:
        self.after: Key = (from_version - 1, 0)
        self._side = side
        self._log_id = log_id
        self._unseal = unseal
        self._first_version = first_version
        self._query = _page_query(side.address)

    async def page(self, end: Key, rows_max: int, bytes_max: int) -> list[Row]:
        """Return the next rows up to the key `end`; it waits while the database is away.  Raises LogFailedError."""
        limits = max(1, min(rows_max, ROWS_MAX)), max(1, bytes_max)
        return await fetch(self._side, self._query, self._log_id, *self.after, *end, *limits)

    def take(self, rows: Sequence[Row], end: Key) -> list[Record]:
        """Return the records of a page, as far as they continue what was taken before.

        Raises RowsDamagedError, LogGapError, LogKeyError for what is the next one; then nothing was taken.
        """
        if not rows:
            self._skip_to(end)
        records: list[Record] = []
        for row in rows:
            try:
                records.append(self._advance(row))
            except LogError:
                if records:
                    return records
                raise
        return records

    def _advance(self, row: Row) -> Record:
        version, ordinal = self.after
        found: Key = (row[0], row[1])
        trimmed = version < rows_begin(self._first_version()) and found[0] == version
        if found not in ((version, ordinal + 1), (version + 1, 0)) and not trimmed:
            raise self._hole(found)
        record = record_of(row, self._unseal)
        self.after = found
        return record

    def _skip_to(self, end: Key) -> None:
        """Go on behind rows that are not there; those that belong to a trimmed event need not be."""
        version = self.after[0]
        if end[0] != version or version >= rows_begin(self._first_version()):
            raise self._hole(end)
        self.after = end

    def _hole(self, found: Key) -> LogError:
        version, first_version = self.after[0] + 1, self._first_version()
        if version < first_version:
            return LogGapError(f"version {version} was trimmed; the first version kept is {first_version}")
        return RowsDamagedError(
            f"{self._side.address.place}: rows are missing behind version {self.after[0]}, ordinal {self.after[1]}"
            f" (the next one is {found}): somebody deleted them; restore them from a backup"
        )


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


def _page_query(address: Address) -> str:
    # The sum is over lengths only, which the server knows without reading large bodies; so a page is bounded in bytes.
    return f"""
        SELECT {READ_COLUMNS} FROM (
            SELECT page.*, sum(coalesce(octet_length(head), 0) + coalesce(octet_length(body), 0) + 64)
                OVER (ORDER BY version, ordinal ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_bytes
            FROM (SELECT {READ_COLUMNS} FROM {address.table("records")} WHERE log_id = $1
                  AND (version, ordinal) > ($2::bigint, $3::integer) AND (version, ordinal) <= ($4::bigint, $5::integer)
                  ORDER BY version, ordinal LIMIT $6) AS page) AS summed
        WHERE before_bytes IS NULL OR before_bytes < $7::bigint ORDER BY version, ordinal"""
