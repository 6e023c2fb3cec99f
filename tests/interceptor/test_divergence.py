"""Recorded outcomes against replayed ones, whichever comes first."""

from __future__ import annotations

import itertools

import pytest

from interceptor.divergence import REPORTED_MAX, OutcomeComparison
from storage_backends.records import Outcome

SAME = Outcome(1, 200, 3, 0xABC)


def compare(recorded: Outcome, replayed: Outcome, *, replayed_first: bool) -> OutcomeComparison:
    comparison = OutcomeComparison(1)
    if replayed_first:
        comparison.replayed(replayed)
        comparison.recorded(recorded)
    else:
        comparison.recorded(recorded)
        comparison.replayed(replayed)
    return comparison


@pytest.mark.parametrize("replayed_first", [True, False])
@pytest.mark.parametrize(
    ("replayed", "differs"),
    [
        (SAME, 0),
        (SAME._replace(status=500), 1),
        (SAME._replace(length_bytes=4), 1),
        (SAME._replace(digest=0xABD), 1),
    ],
)
def test_status_length_and_digest_are_compared(replayed: Outcome, differs: int, replayed_first: bool) -> None:
    comparison = compare(SAME, replayed, replayed_first=replayed_first)
    assert (comparison.compared, comparison.divergences, len(comparison.first)) == (1, differs, differs)
    assert comparison.take_first_outcomes() == []


def test_a_divergence_shows_both() -> None:
    (divergence,) = compare(SAME, SAME._replace(status=500), replayed_first=True).first
    assert divergence.as_json() == {
        "version": 1,
        "expected": {"status": 200, "length_bytes": 3, "digest": "0000000000000abc"},
        "got": {"status": 500, "length_bytes": 3, "digest": "0000000000000abc"},
    }


def test_an_outcome_of_an_event_that_is_not_replayed_is_nothing() -> None:
    """Before the first version, or quarantined, or answered for the first time."""
    comparison = OutcomeComparison(2)
    comparison.recorded(SAME)
    comparison.leave_out(3)
    comparison.recorded(Outcome(3, 200, 0, 0))
    comparison.replayed(Outcome(2, 200, 0, 0))
    assert (comparison.compared, comparison.unresolved) == (0, 1)
    assert comparison.take_first_outcomes() == [Outcome(2, 200, 0, 0)]
    assert comparison.unresolved == 0


def test_a_second_recorded_outcome_is_ignored() -> None:
    """The first is what the client was told."""
    comparison = compare(SAME, SAME, replayed_first=False)
    comparison.recorded(SAME._replace(status=500))
    assert (comparison.compared, comparison.divergences) == (1, 0)


def test_all_are_counted_and_a_few_reported() -> None:
    """Rule 7."""
    comparison = OutcomeComparison(1)
    for version in range(1, 3 * REPORTED_MAX):
        comparison.recorded(Outcome(version, 200, 0, 0))
        comparison.replayed(Outcome(version, 201, 0, 0))
    assert comparison.divergences == 3 * REPORTED_MAX - 1
    assert [divergence.version for divergence in comparison.first] == list(range(1, REPORTED_MAX + 1))


def test_what_waits_for_its_other_half_is_given_back_in_any_order() -> None:
    for order in itertools.permutations(range(1, 4)):
        comparison = OutcomeComparison(1)
        for version in (1, 2, 3):
            comparison.recorded(Outcome(version, 200, 0, version))
        for version in order:
            comparison.replayed(Outcome(version, 200, 0, version))
        assert (comparison.compared, comparison.divergences) == (3, 0)
