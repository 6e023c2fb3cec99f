"""What the clients know, and whether the application agrees: nothing lost, nothing doubled, nothing out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Operation:
    """One increment that a client asked for; without `answered_s` it is unknown whether it was applied."""

    name: str
    sent_s: float
    answered_s: float | None = None


@dataclass
class JournalCheck:
    """Operations that contradict the application's journal; all empty where nothing is wrong."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)


def check_journal(operations: Mapping[str, Operation], journal: Sequence[str]) -> JournalCheck:
    """Compare: each acknowledged operation exactly once, every other at most once, and in an order that clients saw.

    The order is wrong where an operation stands behind one that was sent only after the first had been answered.
    """
    times = Counter(journal)
    check = JournalCheck(
        lost=[
            identifier
            for identifier, operation in operations.items()
            if operation.answered_s is not None and identifier not in times
        ],
        doubled=[identifier for identifier, count in times.items() if count > 1],
        unknown=[identifier for identifier in times if identifier not in operations],
    )
    latest_sent_s = float("-inf")
    for identifier in journal:
        operation = operations.get(identifier)
        if operation is None:
            continue
        if operation.answered_s is not None and operation.answered_s < latest_sent_s:
            check.out_of_order.append(identifier)
        latest_sent_s = max(latest_sent_s, operation.sent_s)
    return check


def check_values(operations: Mapping[str, Operation], values: Mapping[str, int]) -> list[str]:
    """Return the counters whose value can't be the sum of what the clients asked for."""
    acknowledged: Counter[str] = Counter()
    unanswered: Counter[str] = Counter()
    for operation in operations.values():
        (unanswered if operation.answered_s is None else acknowledged)[operation.name] += 1
    names = {*values, *acknowledged}
    return sorted(
        name for name in names if not acknowledged[name] <= values.get(name, 0) <= acknowledged[name] + unanswered[name]
    )
