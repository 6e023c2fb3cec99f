"""Sealing: a recorded request holds credentials, so its head and body can be kept encrypted (AES-256-GCM).

Only events are sealed.  Their version and time stay in clear and are authenticated, so a log can be opened, cut,
verified and repaired without a key, and a sealed event that was changed, or put in the place of another one, is
refused when it is opened.  docs/security.md says what else stays in clear.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgpack

from storage_backends.codec import (
    FRAME_MAGIC,
    KIND_SEALED,
    NONCE_BYTES,
    SealedEvent,
    Unsealer,
    UnsealError,
    locked,
)
from storage_backends.errors import LogConfigurationError
from storage_backends.records import Event, Record

KEY_BYTES = 32
_PREFIX_BYTES = 9
_COUNTER_BYTES = NONCE_BYTES - _PREFIX_BYTES
_KEY_FILE_BYTES_MAX = 1024 * 1024
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_unpack = msgpack.unpackb
_ASSOCIATED = struct.Struct("<4sBQq")


class Nonces:
    """Nonces that no other process and no other moment repeats: 72 random bits, then a counter of 24 bits.

    Two equal nonces under one key would undo GCM.  Wholly random ones are safe for 2^32 messages a key (NIST SP
    800-38D, 8.3), which a busy log writes in a week.  Here chance plays once in 2^24 messages and once a start: after
    2^20 draws, a million starts or 2^44 events, two of them are equal with a probability below 2^-32.  The version
    would be no counter: what a full disk takes back is sealed anew under the same one.
    """

    __slots__ = ("_count", "_prefix")

    def __init__(self) -> None:
        self._prefix = b""
        self._count = 0

    def next(self) -> bytes:
        """Return the next one."""
        count = self._count
        if not count:
            self._prefix = os.urandom(_PREFIX_BYTES)
        self._count = (count + 1) % (1 << 8 * _COUNTER_BYTES)
        return self._prefix + count.to_bytes(_COUNTER_BYTES, "big")


class Keyring:
    """The keys of one key file: the first one seals, all of them open.  No key can be got out of it again."""

    def __init__(self, keys: Mapping[str, bytes], place: str) -> None:
        # Whoever keeps the log in clear need not wait for this library, nor have it.
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._place = place
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._key_id, cipher = next(iter(self._ciphers.items()))
        self._encrypt = cipher.encrypt
        self._next_nonce = Nonces().next
        self._no_content = (InvalidTag, ValueError, TypeError, OverflowError, struct.error, msgpack.UnpackException)

    def seal(self, event: Event) -> SealedEvent:
        """Return the event with head and body encrypted.  Raises ValueError for what can't be."""
        version, time_ns, head, body = event.version, event.time_ns, event.head, event.body
        nonce = self._next_nonce()
        try:
            if type(head) is not bytes or type(body) is not bytes:
                raise TypeError("head and body must be bytes")
            ciphertext = self._encrypt(nonce, _pack((head, body)), _associated(version, time_ns))
        except (TypeError, OverflowError, ValueError, struct.error) as error:
            raise ValueError(f"a record can't be written to the log: {error}") from error
        return SealedEvent(version, time_ns, self._key_id, nonce, ciphertext)

    @property
    def key_id(self) -> str:
        """The id of the key that seals."""
        return self._key_id

    def seal_bytes(self, content: bytes, associated: bytes) -> tuple[bytes, bytes]:
        """Return nonce and ciphertext of what is kept beside the log; `associated` says which piece of what it is."""
        nonce = self._next_nonce()
        return nonce, self._encrypt(nonce, content, associated)

    def unseal_bytes(self, key_id: str, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """Return the content again.  Raises UnsealError."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnsealError(f"it is sealed with the key {key_id!r}, which is not in {self._place}", lacks_key=True)
        try:
            # Where the package is built, cryptography is not installed, and mypy does not know what this gives.
            return bytes(cipher.decrypt(nonce, ciphertext, associated))
        except self._no_content:
            raise UnsealError(
                f"it can't be opened with the key {key_id!r}: it was changed or stood elsewhere"
            ) from None

    def seal_events(self, records: Sequence[Record]) -> list[Record]:
        """Return the records with the events among them sealed."""
        return [self.seal(record) if type(record) is Event else record for record in records]

    def unseal(self, sealed: SealedEvent) -> Event:
        """Return the event as it was.  Raises UnsealError."""
        version, time_ns = sealed.version, sealed.time_ns
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise UnsealError(
                f"event {version} is sealed with the key {sealed.key_id!r}, which is not in {self._place}",
                lacks_key=True,
            )
        try:
            content = cipher.decrypt(sealed.nonce, sealed.ciphertext, _associated(version, time_ns))
            head, body = _unpack(content)
        except self._no_content:
            # The cause would only say the same again.
            raise UnsealError(
                f"event {version} can't be opened with the key {sealed.key_id!r}: it was changed or stood elsewhere,"
                f" or {self._place} holds another key of that name"
            ) from None
        return Event(version, time_ns, head, body)


class SealCheck:
    """Tries every sealed event of a log and notes what came of it; looks like an Unsealer that never fails."""

    def __init__(self, keyring: Keyring | None) -> None:
        self._unseal = unsealer_of(keyring)
        self.unopened_events: dict[str, int] = {}
        self.problems: list[str] = []

    def __call__(self, sealed: SealedEvent) -> Event:
        """Return the event, empty where it can't be opened."""
        try:
            return self._unseal(sealed)
        except UnsealError as error:
            if error.lacks_key:
                self.unopened_events[sealed.key_id] = self.unopened_events.get(sealed.key_id, 0) + 1
            else:
                self.problems.append(str(error))
            return Event(sealed.version, sealed.time_ns, b"", b"")


def load_keyring(path: Path | None) -> Keyring | None:
    """Read a key file: one line a key, `KEY_ID BASE64`, 32 bytes each; None without a file.

    Raises LogConfigurationError; no message quotes what stands in the file.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            # Kubernetes mounts a Secret with mode 0440 for the Pod's fsGroup, so the group may read.
            if stat.S_IMODE(mode) & 0o027:
                raise LogConfigurationError(
                    f"the key file {path} can be read by everybody or written by others (mode"
                    f" {stat.S_IMODE(mode):04o}): chmod 600 {path}"
                )
            text = file.read(_KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise LogConfigurationError(f"the key file {path} can't be read: {error.strerror}") from error
    return Keyring(_parsed(text, path), f"the key file {path}")


def unsealer_of(keyring: Keyring | None) -> Unsealer:
    """Return what opens events with the keys, if there are any."""
    return keyring.unseal if keyring else locked


def new_key_line(key_id: str) -> str:
    """Return a line with a fresh key.  Raises LogConfigurationError for an id that can't be one."""
    if not _KEY_ID.fullmatch(key_id):
        raise LogConfigurationError(f"{key_id!r} can't name a key: up to 64 letters, digits, dots, dashes, underscores")
    return f"{key_id} {base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode('ascii')}"


def _parsed(text: bytes, path: Path) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.decode("ascii", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key = _decoded(words[1]) if len(words) == 2 and _KEY_ID.fullmatch(words[0]) else None
        if key is None:
            raise LogConfigurationError(
                f"the key file {path}, line {number}: expected KEY_ID BASE64 with {KEY_BYTES} bytes in it; `interceptor"
                " log new-key` prints such a line"
            )
        if words[0] in keys:
            raise LogConfigurationError(f"the key file {path}, line {number}: this key id stands there twice")
        keys[words[0]] = key
    if not keys:
        raise LogConfigurationError(f"the key file {path} holds no key; `interceptor log new-key` prints one")
    return keys


def _decoded(text: str) -> bytes | None:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def _associated(version: int, time_ns: int) -> bytes:
    return _ASSOCIATED.pack(FRAME_MAGIC, KIND_SEALED, version, time_ns)
