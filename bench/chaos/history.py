"""What a run leaves behind: what clients saw, what the target holds, what the log says; kept as JSON lines.

Times are nanoseconds of one monotonic clock, the harness's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What an operation does to its key."""

    ADD = "add"
    COUNT = "count"
    WRITE = "write"
    READ = "read"
    APPEND = "append"
    LIST = "list"
    POISON = "poison"


READS = frozenset({Kind.COUNT, Kind.READ, Kind.LIST})


class Ending(StrEnum):
    """What a client knows about its operation."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """503 with Retry-After: it was not applied and will not be (rule 3)."""
    UNKNOWN = "unknown"
    """No answer, or one that promises nothing (500, 502, 504): it may have been applied, once, or not."""
    UNSENT = "unsent"
    """The request never left whole: it can't have been applied."""


@dataclass
class Operation:
    """One request of one client.  `result` is what the answer said; `error` why there was no good one."""

    id: str
    client: int
    kind: Kind
    key: str
    body_crc: int
    invoked_ns: int
    ended_ns: int | None = None
    ending: Ending = Ending.UNKNOWN
    status: int | None = None
    result: int | str | list[str] | None = None
    error: str | None = None
    left: bool = False
    """The client went away on purpose."""
    behind: str | None = None
    """The operation before it on the same connection, in whose answer the connection ended."""
    streams: bool = False
    """Its answer is passed on in pieces."""


@dataclass(frozen=True)
class Logged:
    """An event of the log, as far as it can be compared: its operation, and the checksum of its decoded content."""

    version: int
    id: str
    body_crc: int


@dataclass(frozen=True)
class Applied:
    """One entry of the target's journal, in the order of application."""

    id: str
    body_crc: int


@dataclass(frozen=True)
class Quiet:
    """Seen while requests were held and drained: everything up to `version` is in the target, and nothing else."""

    version: int
    applied: int
    in_flight: int
    changed: bool
    """The target's journal grew while it was quiet."""
    reason: str


@dataclass(frozen=True)
class Window:
    """While a fault was at work, and what it excuses by design; see `expectation.Expectation`."""

    fault: str
    begin_ns: int
    end_ns: int
    statuses: tuple[int, ...] = ()
    cuts: bool = False


@dataclass
class FinalState:
    """The surviving incarnation."""

    applied: list[Applied] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    registers: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class History:
    """Everything that the checker decides from."""

    operations: list[Operation] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    quiets: list[Quiet] = field(default_factory=list)
    log: list[Logged] = field(default_factory=list)
    final: FinalState = field(default_factory=FinalState)
    quarantined: list[int] = field(default_factory=list)
    uncertain: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of versions of which the interceptor has said that it can't know whether the target applied them."""
    uncertain_expected: bool = False
    divergences: int = 0
    divergences_expected: bool = False
    keyed: bool = False
    """The order that was asked for is one within each key."""
    unrecorded_reads: bool = False
    """Reads go past the log, and the target's journal leaves them out."""
    notes: list[str] = field(default_factory=list)
    """What the harness itself has found wrong while it ran."""


@dataclass(frozen=True)
class Violation:
    """A rule that did not hold; `rule` is its number in the design, or a word for what is asked for beside them."""

    rule: str
    text: str


def save(history: History, violations: Iterable[Violation], path: Path) -> None:
    """Write one JSON object a line: first what was violated, then every part of the history."""
    with path.open("w", encoding="utf-8") as file:
        for violation in violations:
            file.write(_line("violation", asdict(violation)))
        for name, value in asdict(history).items():
            for item in value if isinstance(value, list) else [value]:
                file.write(_line(name, item))


def load(path: Path) -> list[tuple[str, object]]:
    """Read what `save` has written, as pairs of the part's name and its content."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(line["part"], line["value"]) for line in lines]


def _line(part: str, value: object) -> str:
    return json.dumps({"part": part, "value": value}, separators=(",", ":")) + "\n"
