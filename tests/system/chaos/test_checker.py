"""The checker accepts a legal history, and names the rule that each illegal one breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.chaos.checker import check
from bench.chaos.history import (
    Applied,
    Ending,
    FinalState,
    History,
    Kind,
    Logged,
    Operation,
    Quiet,
    Violation,
    Window,
    load,
    save,
)


def operation(identifier: str, kind: Kind, key: str, at: int, result: int | str | list[str] | None) -> Operation:
    client = int(identifier.partition(".")[0])
    return Operation(identifier, client, kind, key, 7, at, at + 5, Ending.ACKNOWLEDGED, 200, result)


def legal() -> History:
    """Two clients, four operations, and one that the hold queue refused."""
    refused = Operation("2.2", 2, Kind.ADD, "c", 7, 50, 60, Ending.REFUSED, 503, error="held for too long")
    return History(
        operations=[
            operation("1.1", Kind.ADD, "c", 0, 1), operation("2.1", Kind.ADD, "c", 10, 2),
            operation("1.2", Kind.APPEND, "l", 20, ["1.2"]), operation("1.3", Kind.LIST, "l", 30, ["1.2"]),
            refused,
        ],
        windows=[Window("outage", 45, 65, (503,))],
        quiets=[Quiet(4, 4, 0, False, "a hold on demand")],
        log=[Logged(number, name, 7) for number, name in enumerate(("1.1", "2.1", "1.2", "1.3"), 1)],
        final=FinalState([Applied(name, 7) for name in ("1.1", "2.1", "1.2", "1.3")], {"c": 2}, {}, {"l": ["1.2"]}),
    )  # fmt: skip


def test_a_legal_history() -> None:
    assert check(legal()) == []


def reads_aside() -> History:
    """The changes of `legal`, in a run in which reads are no events."""
    history = legal()
    history.operations = [each for each in history.operations if each.kind is not Kind.LIST and each.id != "2.2"]
    history.log.pop()
    history.final.applied.pop()
    history.quiets.clear()
    history.unrecorded_reads = True
    return history


def test_reads_past_the_log_are_no_events() -> None:
    """--record unsafe: they are checked all the same, and one that is in the log is a violation."""
    history = legal()
    history.unrecorded_reads = True
    assert {violation.rule for violation in check(history)} == {"3"}
    history.log.pop()
    history.final.applied.pop()
    history.quiets.clear()
    assert check(history) == []
    history.operations.append(operation("2.3", Kind.COUNT, "c", 70, 3))
    assert {violation.rule for violation in check(history)} == {"linearizable"}


@pytest.mark.parametrize(
    ("streams", "behind", "past_the_log", "legal_cut"),
    [
        (True, None, True, True),
        (False, None, True, False),
        (True, None, False, False),
        (False, "3.1", True, True),
        (False, "3.1", False, False),
    ],
)
def test_what_a_cut_read_past_the_log_excuses(
    *, streams: bool, behind: str | None, past_the_log: bool, legal_cut: bool
) -> None:
    """The rest of a streamed answer that is no event is lost with the target, and so is what was sent behind it."""
    history = reads_aside()
    history.windows = [Window("kill", 75, 85)]
    history.unrecorded_reads = past_the_log
    streamed = Operation("3.1", 3, Kind.COUNT, "c", 7, 80, 84, error="cut", streams=streams or behind is not None)
    history.operations.append(streamed)
    if behind is not None:
        history.operations.append(Operation("3.2", 3, Kind.ADD, "c", 7, 80, 84, error="cut", behind=behind))
    assert {violation.rule for violation in check(history)} == (set() if legal_cut else {"client"})


@pytest.mark.parametrize(("kind", "fault", "rules"), [
    (Kind.COUNT, "garbage", set()), (Kind.COUNT, "kill", {"client"}), (Kind.ADD, "garbage", {"client"}),
])  # fmt: skip
def test_a_malformed_answer_is_502_where_the_request_is_no_event(kind: Kind, fault: str, rules: set[str]) -> None:
    """RFC 9110 §15.6.3; for an event a supervised target is started anew."""
    history = reads_aside()
    history.windows = [Window(fault, 75, 85)]
    history.operations.append(Operation("3.1", 3, kind, "c", 7, 80, 84, status=502, error="malformed"))
    assert {violation.rule for violation in check(history)} == rules


def lost(history: History) -> None:
    del history.log[1], history.final.applied[1]
    history.log[1:] = [Logged(event.version - 1, event.id, 7) for event in history.log[1:]]


def applied_twice(history: History) -> None:
    history.final.applied.append(history.final.applied[0])


def not_recovered(history: History) -> None:
    history.final.applied.pop(0)


def swapped(history: History) -> None:
    applied = history.final.applied
    applied[0], applied[1] = applied[1], applied[0]


def gap(history: History) -> None:
    history.log[-1] = Logged(5, "1.3", 7)


def refused_and_applied(history: History) -> None:
    history.log.append(Logged(5, "2.2", 7))
    history.final.applied.append(Applied("2.2", 7))


def left_before_it_was_sent_and_applied(history: History) -> None:
    refused_and_applied(history)
    history.operations[-1].ending, history.operations[-1].left = Ending.UNSENT, True


def other_bytes(history: History) -> None:
    history.log[0] = Logged(1, "1.1", 8)


def not_drained(history: History) -> None:
    history.quiets.append(Quiet(4, 3, 0, True, "a hold on demand"))


def an_error_without_a_fault(history: History) -> None:
    history.windows.clear()


def an_error_that_its_fault_does_not_excuse(history: History) -> None:
    history.windows = [Window("kill", 45, 65)]


def innocent(history: History) -> None:
    history.quarantined.append(1)


def diverged(history: History) -> None:
    history.divergences = 1


def own_write_unseen(history: History) -> None:
    history.operations[3].result = []


def stale(history: History) -> None:
    history.operations[1].result = 1


def doubt_without_a_reason(history: History) -> None:
    history.uncertain.append((4, 4))


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lost, "2"), (applied_twice, "3"), (not_recovered, "3"), (swapped, "1"), (gap, "1"), (refused_and_applied, "3"),
        (left_before_it_was_sent_and_applied, "3"), (other_bytes, "5"), (not_drained, "4"),
        (an_error_without_a_fault, "client"), (an_error_that_its_fault_does_not_excuse, "client"),
        (innocent, "poison"), (diverged, "5"), (own_write_unseen, "ryw"), (stale, "linearizable"),
        (doubt_without_a_reason, "3"),
    ],
)  # fmt: skip
def test_an_illegal_history_names_its_rule(damage: Callable[[History], None], rule: str) -> None:
    history = legal()
    damage(history)
    assert rule in {violation.rule for violation in check(history)}


def test_with_order_by_key_only_the_order_within_each_key_counts() -> None:
    """Rule 1, as `--order key:` states it."""
    history = legal()
    history.keyed = True
    history.final.applied = [Applied(name, 7) for name in ("1.2", "1.1", "1.3", "2.1")]
    assert check(history) == []
    history.final.applied = [Applied(name, 7) for name in ("2.1", "1.1", "1.2", "1.3")]
    assert {violation.rule for violation in check(history)} == {"1"}


def test_what_the_interceptor_says_that_it_can_not_know_may_be_missing_and_nothing_else() -> None:
    history = legal()
    history.uncertain, history.uncertain_expected = [(4, 4)], True
    history.final.applied.pop()
    assert check(history) == []
    history.final.applied.pop()
    assert {violation.rule for violation in check(history)} >= {"1", "3"}


def test_a_history_is_kept_as_json_lines(tmp_path: Path) -> None:
    history = legal()
    save(history, [Violation("1", "swapped")], tmp_path / "history.jsonl")
    parts = load(tmp_path / "history.jsonl")
    assert parts[0] == ("violation", {"rule": "1", "text": "swapped"})
    assert [value["id"] for name, value in parts if name == "operations" and isinstance(value, dict)] == [
        each.id for each in history.operations
    ]
