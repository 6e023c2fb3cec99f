"""Is there one order of all operations that agrees with real time and with what everybody was told?

Wing and Gong's search (Testing and Verifying Concurrent Objects, 1993) with Lowe's memoisation of configurations
(Testing for Linearizability, 2017), as Knossos and Porcupine do it, for one key at a time: linearizability is local, so
keys may be checked apart (Herlihy and Wing 1990).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True)
class Call:
    """One operation on one key.  `known` is false where nobody was told a result: it may take effect at any time."""

    id: str
    name: str
    argument: Hashable
    result: Hashable
    invoked: float
    returned: float
    known: bool = True


Step = Callable[[State, Call], "State | None"]
"""The state behind a call, or None where the call's result does not fit the state before it."""


class _Entry(Generic[State]):
    __slots__ = ("call", "match", "next", "number", "previous")

    def __init__(self, call: Call | None, number: int) -> None:
        self.call = call
        self.number = number
        self.match: _Entry[State] | None = None  # of an invocation: its return
        self.next: _Entry[State] | None = None
        self.previous: _Entry[State] | None = None


def counter_step(state: int, call: Call) -> int | None:
    """Model of a counter that starts at 0: `add` answers with the new value, `count` with the value."""
    if call.name == "add":
        after = state + 1
        return after if not call.known or call.result == after else None
    return state if not call.known or call.result == state else None


def register_step(state: str, call: Call) -> str | None:
    """Model of a register that starts as "": `write` sets, `read` answers with what was written last."""
    if call.name == "write":
        return str(call.argument)
    return state if not call.known or call.result == state else None


def is_linearizable(calls: Sequence[Call], initial: State, step: Step[State]) -> bool:
    """Search for an order.  At worst exponential in the number of concurrent calls."""
    head: _Entry[State] = _entries(calls)
    state = initial
    linearized = 0
    taken: list[tuple[_Entry[State], State]] = []
    seen: set[tuple[int, State]] = set()
    entry = head.next
    while head.next is not None:
        if entry is not None and entry.match is not None:
            assert entry.call is not None
            after = step(state, entry.call)
            configuration = (linearized | 1 << entry.number, after)
            if after is not None and configuration not in seen:
                seen.add((configuration[0], after))
                taken.append((entry, state))
                state, linearized = after, configuration[0]
                _lift(entry)
                entry = head.next
            else:
                entry = entry.next
        else:
            # The first return whose call is not in the order yet: something before it was chosen wrongly.
            if not taken:
                return False
            entry, state = taken.pop()
            linearized &= ~(1 << entry.number)
            _unlift(entry)
            entry = entry.next
    return True


def _entries(calls: Sequence[Call]) -> _Entry[State]:
    marks: list[tuple[float, int, int, _Entry[State]]] = []
    for number, call in enumerate(calls):
        invocation: _Entry[State] = _Entry(call, number)
        returned: _Entry[State] = _Entry(None, number)
        invocation.match = returned
        marks.append((call.invoked, 0, number, invocation))
        # Calls that end in the same instant as others begin are taken as concurrent.
        marks.append((call.returned if call.known else inf, 1, number, returned))
    marks.sort(key=lambda mark: mark[:3])
    head: _Entry[State] = _Entry(None, -1)
    last = head
    for *_, entry in marks:
        last.next, entry.previous = entry, last
        last = entry
    return head


def _lift(entry: _Entry[State]) -> None:
    for each in (entry, entry.match):
        assert each is not None
        assert each.previous is not None
        each.previous.next = each.next
        if each.next is not None:
            each.next.previous = each.previous


def _unlift(entry: _Entry[State]) -> None:
    for each in (entry.match, entry):
        assert each is not None
        assert each.previous is not None
        each.previous.next = each
        if each.next is not None:
            each.next.previous = each
