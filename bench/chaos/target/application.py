"""What the application remembers, and its answers; the same for every server.

`POST /counters/K`, `/registers/K`, `/lists/K` change and `GET` reads, each with `?op=ID`; the journal keeps the ids in
the order in which they were applied, with a checksum of each content.  A read that says it is no event is left out of
it.  Two equal histories give equal bytes: no time, no chance.  All of it can be taken out and given back at another
path, as a checkpoint.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from threading import Lock
from urllib.parse import parse_qs, urlsplit

JOURNAL_PATH = "/chaos/journal"
READY_PATH = "/chaos/ready"
STATE_PATH = "/chaos/state"
UNRECORDED_MARK = "&unrecorded=1"


class Application:
    """The whole state of one incarnation."""

    def __init__(self, warm_up_s: float) -> None:
        """For so long it listens and is not ready: everything is answered 503, and nothing applied."""
        self._warm_at = time.monotonic() + warm_up_s
        self._counters: dict[str, int] = {}
        self._registers: dict[str, str] = {}
        self._lists: dict[str, list[str]] = {}
        self._applied: list[tuple[str, int]] = []
        self._lock = Lock()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Apply one request and return the status and the content of its answer.  Dies of poison."""
        parts = urlsplit(target)
        if parts.path == JOURNAL_PATH:
            return 200, self._journal()
        if time.monotonic() < self._warm_at:
            return 503, b"warming up"
        if parts.path == READY_PATH:
            return 200, b"ready"
        if parts.path == STATE_PATH:
            return 200, self._take_back(body) if method == "PUT" else self._journal()
        query = parse_qs(parts.query)
        operation = query["op"][0]
        _, collection, key = parts.path.split("/")
        if collection == "poison":
            os._exit(66)
        with self._lock:
            if "unrecorded" not in query:
                self._applied.append((operation, zlib.crc32(body)))
            value = self._apply(collection, key, operation, changes=method == "POST")
        padding = "x" * int(query.get("pad", ["0"])[0])
        return 200, json.dumps({"op": operation, "value": value, "padding": padding}).encode()

    def _apply(self, collection: str, key: str, operation: str, *, changes: bool) -> int | str | list[str]:
        if collection == "counters":
            if changes:
                self._counters[key] = self._counters.get(key, 0) + 1
            return self._counters.get(key, 0)
        if collection == "registers":
            if changes:
                self._registers[key] = operation
            return self._registers.get(key, "")
        if changes:
            self._lists.setdefault(key, []).append(operation)
        return self._lists.get(key, [])

    def _take_back(self, state: bytes) -> bytes:
        with self._lock:
            taken = json.loads(state)
            self._applied = [(operation, crc) for operation, crc in taken["applied"]]
            self._counters, self._registers, self._lists = taken["counters"], taken["registers"], taken["lists"]
        return b"restored"

    def _journal(self) -> bytes:
        with self._lock:
            return json.dumps(
                {
                    "applied": self._applied,
                    "counters": self._counters,
                    "registers": self._registers,
                    "lists": self._lists,
                }
            ).encode()
