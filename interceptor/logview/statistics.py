"""What is in a log, in numbers: collected in one pass and in bounded memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

from interceptor.logview.content import printable
from interceptor.logview.drawing import bar, bytes_text, sparkline
from interceptor.logview.joining import JoinedEvent
from interceptor.logview.lines import time_text

PREFIXES_SHOWN = 20
PREFIXES_MAX = 10_000
TIME_COLUMNS = 60
_TIME_BUCKETS_MAX = 1_024
_OTHER = "(other)"


class Statistics:
    """Takes events; tells about them."""

    def __init__(self) -> None:
        self.events = 0
        self.quarantined = 0
        self.head_bytes = 0
        self.body_bytes = 0
        self.answer_bytes = 0
        self.first_version: int | None = None
        self.last_version: int | None = None
        self.first_time_ns: int | None = None
        self.last_time_ns: int | None = None
        self.methods: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.prefixes: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()
        self.times = TimeBuckets()

    def take(self, batch: list[JoinedEvent]) -> None:
        """Count these."""
        for joined in batch:
            event, outcome = joined.event, joined.outcome
            head_bytes, body_bytes = len(event.head), len(event.body)
            self.head_bytes += head_bytes
            self.body_bytes += body_bytes
            self.sizes[(head_bytes + body_bytes).bit_length()] += 1
            parts = event.head.split(b" ", 2)
            self._count(self.methods, parts[0])
            self._count(self.prefixes, _prefix(parts[1]) if len(parts) > 1 else b"")
            if joined.quarantine is not None:
                self.quarantined += 1
            if outcome is not None:
                self.statuses[f"{outcome.status // 100}xx"] += 1
                self.answer_bytes += outcome.length_bytes
            else:
                self.statuses["none"] += 1
            self.times.add(event.time_ns)
        if batch:
            self.events += len(batch)
            first, last = batch[0].event, batch[-1].event
            if self.first_version is None:
                self.first_version, self.first_time_ns = first.version, first.time_ns
            self.last_version, self.last_time_ns = last.version, last.time_ns

    @staticmethod
    def _count(counter: Counter[str], key: bytes) -> None:
        text = printable(key.decode("latin-1"))
        counter[text if text in counter or len(counter) < PREFIXES_MAX else _OTHER] += 1

    def as_json(self) -> dict[str, Any]:
        """Return everything as an object; `sizes` are counts by upper bound in bytes (exclusive)."""
        return {
            "events": self.events,
            "first_version": self.first_version,
            "last_version": self.last_version,
            "first_time_ns": self.first_time_ns,
            "last_time_ns": self.last_time_ns,
            "quarantined": self.quarantined,
            "head_bytes": self.head_bytes,
            "body_bytes": self.body_bytes,
            "answer_bytes": self.answer_bytes,
            "methods": dict(self.methods.most_common()),
            "statuses": dict(sorted(self.statuses.items())),
            "path_prefixes": dict(self.prefixes.most_common(PREFIXES_SHOWN)),
            "sizes": {str(1 << bits): count for bits, count in sorted(self.sizes.items())},
            "times": self.times.as_json(),
        }

    def as_text(self) -> str:
        """Return everything as a person reads it."""
        if not self.events:
            return "no events"
        total_bytes = self.head_bytes + self.body_bytes
        lines = [
            f"events       {self.events}, versions {self.first_version} to {self.last_version}",
            f"time (UTC)   {time_text(self.first_time_ns)} to {time_text(self.last_time_ns)}",
            f"quarantined  {self.quarantined}",
            f"bytes        {bytes_text(total_bytes)}: heads {bytes_text(self.head_bytes)}, bodies "
            f"{bytes_text(self.body_bytes)}; answered {bytes_text(self.answer_bytes)}",
            "",
            *self._table("method", self.methods.most_common(PREFIXES_SHOWN)),
            *self._table("status", sorted(self.statuses.items())),
            *self._table("path prefix", self.prefixes.most_common(PREFIXES_SHOWN)),
        ]
        if len(self.prefixes) > PREFIXES_SHOWN:
            lines[-1:] = [f"  … and {len(self.prefixes) - PREFIXES_SHOWN} more", ""]
        low, high = min(self.sizes), max(self.sizes)
        sizes = [(f"< {bytes_text(1 << bits)}", self.sizes[bits]) for bits in range(low, high + 1)]
        lines += self._table("request size", sizes)
        lines += self.times.as_lines()
        return "\n".join(lines)

    @staticmethod
    def _table(title: str, rows: list[tuple[str, int]]) -> list[str]:
        top = max(count for _, count in rows)
        width = min(40, max(len(name) for name, _ in rows))
        return [title, *(f"  {name:<{width}} {count:>10}  {bar(count, top)}" for name, count in rows), ""]


class TimeBuckets:
    """Counts by time in a bounded number of equal buckets, which become twice as wide whenever they are too many."""

    def __init__(self) -> None:
        self.width_ns = 1_000_000
        self._counts: Counter[int] = Counter()

    def add(self, time_ns: int) -> None:
        """Count one."""
        self._counts[time_ns // self.width_ns] += 1
        if len(self._counts) > _TIME_BUCKETS_MAX:
            self._widen()

    def as_json(self) -> dict[str, Any]:
        """Return the columns of the drawing."""
        counts = self._columns()
        begin_ns = min(self._counts) * self.width_ns if self._counts else None
        return {"begin_ns": begin_ns, "width_ns": self.width_ns, "counts": counts}

    def as_lines(self) -> list[str]:
        """Return the drawing."""
        counts = self._columns()
        width = f"{self.width_ns / 1e9:g} s"
        return [f"events per {width} (highest: {max(counts)})", f"  {sparkline(counts)}"]

    def _columns(self) -> list[int]:
        while self._counts and max(self._counts) - min(self._counts) >= TIME_COLUMNS:
            self._widen()
        if not self._counts:
            return []
        return [self._counts[at] for at in range(min(self._counts), max(self._counts) + 1)]

    def _widen(self) -> None:
        self.width_ns *= 2
        wider: Counter[int] = Counter()
        for at, count in self._counts.items():
            wider[at // 2] += count
        self._counts = wider


def _prefix(target: bytes) -> bytes:
    """Return the first part of the path: /cart of /cart/5?x=1."""
    if not target.startswith(b"/"):
        return target.partition(b"?")[0][:80]
    path = target.partition(b"?")[0]
    second = path.find(b"/", 1)
    return path[:80] if second < 0 else path[: min(second, 80)] + b"/*"
