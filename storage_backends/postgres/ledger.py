"""What is committed, what goes next, and how it gets into the table exactly once.

Each transaction counts the log's `batch` up by one, on condition that `epoch` and `batch` are what this writer left
there.  So a former writer that wakes up after a takeover changes nothing, and after a COMMIT whose answer was lost the
row says whether it happened; what is in doubt is tried again unchanged until that is known.  Nothing here belongs to
an event loop: a closing log finishes its work in another one.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from typing import NamedTuple

from storage_backends.backend import Fact
from storage_backends.errors import LogFailedError, LogUnavailableError
from storage_backends.options import LogOptions
from storage_backends.postgres.address import Address
from storage_backends.postgres.buffer import Batch, Key, Uncommitted
from storage_backends.postgres.commit import LogRow, commit
from storage_backends.postgres.driver import Connection, Row
from storage_backends.postgres.faults import RowsDamagedError
from storage_backends.postgres.lock import (
    Session,
    describe_holder,
    end_former_session,
    own_session,
    take_lock,
    try_lock,
)
from storage_backends.postgres.rows import KIND_EVENT, READ_COLUMNS, record_of, rows_of
from storage_backends.postgres.session import confirmed
from storage_backends.secrets import load_keyring, unsealer_of

CHUNK_RECORDS_MAX = 250
"""Encoding more in one turn of the event loop is a pause for everybody else, and a longer burst for the server."""

BEHIND_CHUNK_RECORDS_MAX = 1_000
"""Once a quarter of the buffer waits, because the database's answers take long: fewer of them are waited for."""

CHUNK_BYTES_MAX = 4 * 1024 * 1024
ROW_OVERHEAD_BYTES = 120
_ROW = "id, epoch, batch, first_version, last_version, last_ordinal, size_bytes, writer"


class Chunk(NamedTuple):
    """One transaction's work."""

    batches: list[Batch]
    before: Key
    end: Key
    first_version: int
    size_bytes: int
    facts: str | None


class Ledger:
    """The writer's knowledge of its log."""

    def __init__(self, address: Address, options: LogOptions) -> None:
        self.address = address
        self.buffer = Uncommitted(options.ring_events_max, options.ring_bytes_max)
        self._keyring = load_keyring(options.key_file)
        self.unseal = unsealer_of(self._keyring)
        self.log_id = 0
        self.facts: dict[str, Fact] = {}
        self.first_version = 1
        self.committed_first_version = 1
        self.size_bytes = 0
        self.freed_bytes = 0
        self._epoch = 0
        self._batch = 0
        self._chunk: Chunk | None = None
        self._wanted: Key = (0, 0)
        self._facts_pending: str | None = None
        self._facts_after: Key = (0, 0)
        self._session: Session | None = None

    @property
    def committed(self) -> Key:
        return self.buffer.begin

    @property
    def facts_due(self) -> bool:
        """Whether facts wait to be committed."""
        return self._facts_pending is not None

    @property
    def due(self) -> bool:
        """Whether a transaction is asked for."""
        return (
            self._chunk is not None
            or self.committed < self._wanted
            or self.facts_due
            or self.first_version > self.committed_first_version
        )

    def want_everything(self) -> Key:
        """Ask that what was appended so far be committed; return the last key of it."""
        self._wanted = self.buffer.end
        return self._wanted

    def set_facts(self, facts: Mapping[str, Fact]) -> None:
        """Ask that the facts be committed, together with or behind everything that was appended before them.

        Raises ValueError for what JSON can't say.
        """
        text = json.dumps(facts, allow_nan=False)
        self.facts = json.loads(text)
        self._facts_pending = text
        self._facts_after = self.want_everything()

    async def open(self, connection: Connection) -> None:
        """Become the writer and load the log's bounds and facts.

        Raises LogLockedError, LogDamagedError, LogKeyError.
        """
        await take_lock(connection, self.address)
        self._session = await own_session(connection)
        logs = self.address.table("logs")
        await connection.execute(f"INSERT INTO {logs} (name) VALUES ($1) ON CONFLICT DO NOTHING", self.address.log_name)
        with confirmed(connection):
            row = await connection.fetchrow(
                f"UPDATE {logs} SET epoch = epoch + 1, writer = $2, writer_since = now() WHERE name = $1"
                f" RETURNING {_ROW}",
                self.address.log_name,
                f"process {os.getpid()} on {socket.gethostname()}",
            )
        if row is None:
            raise LogUnavailableError(f"{self.address.place}: its row in the table logs vanished; try again")
        self.log_id, self._epoch, self._batch, self.first_version, version, ordinal, self.size_bytes, _ = row
        self.committed_first_version = self.first_version
        self.buffer.reset((version, ordinal))
        self._wanted = (version, ordinal)
        await self._check_rows(connection)
        await self._check_keys(connection)
        facts = await connection.fetchval(
            f"SELECT facts FROM {self.address.table('facts')} WHERE log_id = $1", self.log_id
        )
        found = json.loads(facts) if facts else {}
        self.facts = found if isinstance(found, dict) else {}

    async def reclaim(self, connection: Connection) -> None:
        """Become the writer again on a new connection, and learn what the old one achieved.

        Raises LogUnavailableError while another session has the lock, LogFailedError once another writer has written
        or the table contradicts what this one was told.
        """
        locked = await try_lock(connection, self.address)
        if locked:
            # Where commits wait for a standby, a COMMIT that was cut off may not be there yet.  This one is behind it.
            with confirmed(connection):
                await connection.execute(
                    f"UPDATE {self.address.table('logs')} SET name = name WHERE id = {self.log_id}"
                )
        row = await connection.fetchrow(
            f"SELECT {_ROW} FROM {self.address.table('logs')} WHERE name = $1", self.address.log_name
        )
        self._judge(row, may_be_behind=not locked)
        if not locked:
            if self._session is not None:
                await end_former_session(connection, self.address, self._session)
            holder = await describe_holder(connection, self.address)
            raise LogUnavailableError(f"the writer's lock is held by {holder}")
        self._session = await own_session(connection)

    async def write(self, connection: Connection) -> None:
        """Commit the next chunk.  After any error the connection is to be dropped and the log reclaimed."""
        chunk = self._chunk = self._chunk or self._next_chunk()
        (version, ordinal), records = chunk.before, [record for batch in chunk.batches for record in batch.records]
        rows = rows_of(self.log_id, version, ordinal, records, self._keyring)
        log_row = LogRow(self.log_id, self._epoch, self._batch, *chunk.end, chunk.first_version, chunk.size_bytes)
        await commit(connection, self.address, log_row, rows, chunk.facts)
        self._achieved(chunk)

    def _next_chunk(self) -> Chunk:
        ring = self.buffer.state
        is_behind = 4 * ring.events > ring.events_max or 4 * ring.size_bytes > ring.bytes_max
        records_max = BEHIND_CHUNK_RECORDS_MAX if is_behind else CHUNK_RECORDS_MAX
        batches = self.buffer.take(records_max, CHUNK_BYTES_MAX)
        end = batches[-1].end if batches else self.committed
        grown_bytes = sum(batch.content_bytes + ROW_OVERHEAD_BYTES * len(batch.records) for batch in batches)
        freed_bytes, self.freed_bytes = self.freed_bytes, 0
        facts = self._facts_pending if end >= self._facts_after else None
        size_bytes = max(0, self.size_bytes + grown_bytes - freed_bytes)
        return Chunk(batches, self.committed, end, self.first_version, size_bytes, facts)

    def _achieved(self, chunk: Chunk) -> None:
        self._chunk = None
        self._batch += 1
        self.size_bytes = chunk.size_bytes
        self.committed_first_version = chunk.first_version
        if chunk.facts is not None and chunk.facts is self._facts_pending:
            self._facts_pending = None
        self.buffer.drop(len(chunk.batches))

    def _judge(self, row: Row | None, *, may_be_behind: bool) -> None:
        """Compare the log's row with what this writer knows; what was in doubt is decided."""
        place = self.address.place
        if row is None:
            raise LogFailedError(f"{place} is gone from the table logs; restore the database, then start again")
        _, epoch, batch, _, version, ordinal, _, writer = row
        if epoch > self._epoch:
            raise LogFailedError(
                f"{place} has been taken over by another writer ({writer}); nothing after version"
                f" {self.committed[0]} is acknowledged here; let only one of them run"
            )
        chunk, end = self._chunk, (version, ordinal)
        if (row[0], epoch, batch, end) == (self.log_id, self._epoch, self._batch, self.committed):
            return
        in_doubt_happened = chunk is not None and batch == self._batch + 1 and end == chunk.end
        if chunk is not None and in_doubt_happened and (row[0], epoch) == (self.log_id, self._epoch):
            # Until the lock is ours the former session may still be at work; only then is the answer final.
            if not may_be_behind:
                self._achieved(chunk)
            return
        raise LogFailedError(
            f"{place} ends at version {version} (batch {batch}), but version {self.committed[0]} (batch {self._batch})"
            " was committed and acknowledged: the database was restored or failed over to a server that had not"
            " received it; find the newer copy, or start again from what is there"
        )

    async def _check_rows(self, connection: Connection) -> None:
        """Compare the table with the log's row.  Raises LogDamagedError."""
        records = self.address.table("records")
        # The oldest row is not looked for: after a trimming, the dead rows before it may be a million.
        newest = await connection.fetchrow(last_row_query(self.address), self.log_id)
        version, ordinal = self.committed
        everything_trimmed = self.first_version > version
        if newest is None:
            whole = everything_trimmed and (ordinal == 0 or version > 0)
        else:
            whole = (newest[0], newest[1]) == (version, ordinal) or (
                everything_trimmed and (newest[0], newest[1]) < (version, ordinal)
            )
        if whole and not everything_trimmed:
            first = f"SELECT 1 FROM {records} WHERE log_id = $1 AND version = $2 AND ordinal = 0"
            whole = bool(await connection.fetchval(first, self.log_id, self.first_version))
        if not whole:
            end = tuple(newest) if newest else "nothing"
            raise RowsDamagedError(
                f"{self.address.place} should hold versions {self.first_version} to {version} (ordinal {ordinal}), but"
                f" its rows end at {end} or begin too late: somebody deleted rows, or"
                " a restore was partial; restore the tables together"
            )

    async def _check_keys(self, connection: Connection) -> None:
        """Open the oldest and the newest event.  Raises LogKeyError if one can't be; a key between is the reader's."""
        for direction in ("ASC", "DESC"):
            row = await connection.fetchrow(
                f"SELECT {READ_COLUMNS} FROM {self.address.table('records')} WHERE log_id = $1 AND ordinal = 0"
                f" AND kind = {KIND_EVENT} AND version >= $2 ORDER BY version {direction} LIMIT 1",
                self.log_id,
                self.first_version,
            )
            if row is not None:
                record_of(row, self.unseal)


def last_row_query(address: Address) -> str:
    """Return what finds the last row's key: one look into the primary key."""
    records = address.table("records")
    return f"SELECT version, ordinal FROM {records} WHERE log_id = $1 ORDER BY version DESC, ordinal DESC LIMIT 1"


async def finish(ledger: Ledger, connection: Connection) -> None:
    """Commit everything that waits, on a fresh connection.  Raises LogFailedError, and what the driver raises."""
    while True:
        try:
            await ledger.reclaim(connection)
            break
        except LogUnavailableError:
            await asyncio.sleep(0.02)
    ledger.want_everything()
    while ledger.due:
        await ledger.write(connection)
