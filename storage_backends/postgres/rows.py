"""Records as rows of the table `records`, and back, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterable

from storage_backends.codec import NONCE_BYTES, SealedEvent, Unsealer, UnsealError, locked
from storage_backends.errors import LogError, LogKeyError
from storage_backends.postgres.driver import Row
from storage_backends.postgres.faults import RowsDamagedError
from storage_backends.records import Event, Mark, Outcome, Quarantine, Record
from storage_backends.secrets import Keyring

COLUMNS = (
    "log_id",
    "version",
    "ordinal",
    "kind",
    "about",
    "time_ns",
    "status",
    "length_bytes",
    "digest",
    "method",
    "target",
    "detail",
    "head",
    "body",
)
COLUMN_TYPES = (
    "integer",
    "bigint",
    "integer",
    "smallint",
    "bigint",
    "bigint",
    "integer",
    "bigint",
    "bigint",
    "text",
    "text",
    "json",
    "bytea",
    "bytea",
)
READ_COLUMNS = "version, ordinal, kind, about, time_ns, status, length_bytes, digest, detail, head, body"

KIND_EVENT = 0
KIND_OUTCOME = 1
KIND_QUARANTINE = 2
KIND_MARK = 3

EVENT_BYTES_MAX = 1000 * 1024 * 1024
"""A value of PostgreSQL holds 1 GiB at most."""

SEALED_FIELD = "sealed"
"""In the `detail` of a sealed event; that of any other event is NULL."""

_U64_MASK = 2**64 - 1
_I64 = 2**63
_I32 = 2**31


def rows_of(
    log_id: int, version: int, ordinal: int, records: Iterable[Record], keyring: Keyring | None = None
) -> list[Row]:
    """Return the rows of records that were appended behind (`version`, `ordinal`); with keys, events are sealed."""
    rows: list[Row] = []
    add = rows.append
    for record in records:
        if type(record) is Event:
            version, ordinal = record.version, 0
            if keyring is not None:
                add(_sealed_row(log_id, keyring.seal(record)))
                continue
            head = record.head
            method, target = _method_and_target(head)
            # fmt: off
            add((
                log_id, version, 0, KIND_EVENT, None, record.time_ns, None, None, None, method, target, None, head,
                record.body,
            ))
            # fmt: on
            continue
        ordinal += 1
        if type(record) is Outcome:
            about, status, length_bytes, digest = record
            length_bytes, digest = _signed(length_bytes), _signed(digest)
            # fmt: off
            add((
                log_id, version, ordinal, KIND_OUTCOME, about, None, status, length_bytes, digest, None, None, None,
                None, None,
            ))
            # fmt: on
        else:
            kind, about, time_ns, detail = rare_fields(record)
            add((log_id, version, ordinal, kind, about, time_ns, *([None] * 5), detail, None, None))
    return rows


def rare_fields(record: Record) -> tuple[int, int, int, str]:
    """Return kind, about, time_ns and detail of a tombstone or mark.  Raises ValueError if it can't be kept.

    The JSON is ASCII, so that no encoding of a database can refuse it.
    """
    try:
        if type(record) is Quarantine:
            _check_types(type(record.reason) is str, record)
            fields = (KIND_QUARANTINE, record.version, record.time_ns, json.dumps({"reason": record.reason}))
        elif type(record) is Mark:
            plain = all(type(key) is str and type(value) in (str, int) for key, value in record.detail.items())
            _check_types(type(record.kind) is str and plain, record)
            detail = json.dumps({"kind": record.kind, "detail": record.detail})
            fields = (KIND_MARK, record.version, record.time_ns, detail)
        else:
            raise ValueError(f"{type(record).__name__} is no record of the log")
        _check_types(0 <= fields[1] < _I64 and -_I64 <= fields[2] < _I64, record)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a record can't be kept: {error}") from error
    return fields


def check_outcome(outcome: Outcome) -> None:
    """Raise ValueError for an outcome whose numbers the columns can't hold."""
    version, status, length_bytes, digest = outcome
    if not (0 <= version < _I64 and 0 <= status < _I32 and 0 <= length_bytes <= _U64_MASK and 0 <= digest <= _U64_MASK):
        raise ValueError(f"an outcome can't be kept: {outcome}")


def record_of(row: Row, unseal: Unsealer = locked) -> Record:
    """Return the record of a row with READ_COLUMNS.  Raises RowsDamagedError, LogKeyError."""
    version, ordinal, kind, about, time_ns, status, length_bytes, digest, detail, head, body = row
    try:
        if kind == KIND_EVENT and detail is not None:
            key_id = json.loads(detail)[SEALED_FIELD]
            return unseal(SealedEvent(version, time_ns, key_id, body[:NONCE_BYTES], body[NONCE_BYTES:]))
        if kind == KIND_EVENT:
            return Event(version, time_ns, head, body)
        if kind == KIND_OUTCOME:
            return Outcome(about, status, length_bytes & _U64_MASK, digest & _U64_MASK)
        if kind == KIND_QUARANTINE:
            return Quarantine(about, time_ns, json.loads(detail)["reason"])
        if kind == KIND_MARK:
            found = json.loads(detail)
            return Mark(found["kind"], about, time_ns, found["detail"])
    except UnsealError as error:
        raise LogKeyError(str(error)) if error.lacks_key else RowsDamagedError(str(error)) from None
    except (TypeError, ValueError, KeyError):
        pass
    raise _damage(version, ordinal)


def _sealed_row(log_id: int, sealed: SealedEvent) -> Row:
    """Return a row without method, target and head, which would tell what is sealed; `detail` names the key."""
    detail = json.dumps({SEALED_FIELD: sealed.key_id})
    content = sealed.nonce + sealed.ciphertext
    return (log_id, sealed.version, 0, KIND_EVENT, None, sealed.time_ns, *([None] * 5), detail, None, content)


def _damage(version: int, ordinal: int) -> LogError:
    return RowsDamagedError(
        f"the row (version {version}, ordinal {ordinal}) of the table records is no record of the log: somebody changed"
        " it; restore it from a backup"
    )


def _method_and_target(head: bytes) -> tuple[str, str]:
    """Return the request line's first two words as ASCII, which every database takes; other bytes are escaped."""
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    target = words[1] if len(words) > 1 else b""
    if b"\0" in head:
        words[0] = words[0].replace(b"\0", b"\\x00")
        target = target.replace(b"\0", b"\\x00")
    return words[0].decode("ascii", "backslashreplace"), target.decode("ascii", "backslashreplace")


def _signed(number: int) -> int:
    return number if number < _I64 else number - 2**64


def _check_types(good: bool, record: Record) -> None:
    if not good:
        raise ValueError(f"a record can't be kept: {record!r}")
