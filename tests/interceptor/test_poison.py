"""Poison: whom to blame when the target dies again and again."""

from __future__ import annotations

from interceptor.poison import SUSPECTS_MAX, SUSPECTS_OF_A_DEATH_MAX, TRIAL_MAX_S, TRIAL_MIN_S, PoisonWatch
from tests.interceptor.fakes import FakeDelivery, event


def died(watch: PoisonWatch, *versions: int) -> int | None:
    unanswered = [FakeDelivery(event(version)) for version in versions]
    return watch.died_with(unanswered, unanswered[:1])


def died_in_lanes(watch: PoisonWatch, *versions: int) -> int | None:
    unanswered = [FakeDelivery(event(version)) for version in versions]
    return watch.died_with(unanswered, unanswered)


def test_the_first_unanswered_event_is_quarantined_after_so_many_deaths() -> None:
    """quarantine_after."""
    watch = PoisonWatch(3)
    assert [died(watch, 7, 8, 9), died(watch, 7), died(watch, 7)] == [None, None, 7]


def test_deaths_with_different_events_blame_nobody() -> None:
    watch = PoisonWatch(2)
    assert [died(watch, version) for version in (5, 6, 5, 6)] == [None] * 4


def test_a_death_with_nothing_under_way_neither_blames_nor_acquits() -> None:
    watch = PoisonWatch(2)
    assert [died(watch, 5), died(watch), died(watch, 5)] == [None, None, 5]


def test_survival_acquits() -> None:
    watch = PoisonWatch(2)
    died(watch, 5, 6)
    watch.survived()
    assert watch.serial == set()
    assert [died(watch, 5), died(watch, 5)] == [None, 5]


def test_those_under_way_at_a_death_are_suspects() -> None:
    watch = PoisonWatch(3)
    died(watch, 4, 5, 9)
    assert watch.serial == {4, 5, 9}


def test_among_the_first_of_several_lanes_nobody_is_blamed_until_one_was_alone() -> None:
    """Blame is exact: whatever was under way at once comes one at a time, and only then is it known who it was."""
    watch = PoisonWatch(1)
    assert died_in_lanes(watch, 4, 5, 9) is None
    assert watch.serial == {4, 5, 9}
    assert died_in_lanes(watch, 5) == 5


def test_suspects_of_several_deaths_are_remembered_until_the_target_survives() -> None:
    watch = PoisonWatch(3)
    died_in_lanes(watch, 4, 5)
    died_in_lanes(watch, 7, 8)
    assert watch.serial == {4, 5, 7, 8}
    assert [died_in_lanes(watch, 7), died_in_lanes(watch, 7)] == [None, 7]


def test_an_event_is_condemned_only_by_a_target_that_has_lived_without_it() -> None:
    """Somebody who kills at the same moment of each recovery must not cost an innocent event its place (rule 3)."""
    watch = PoisonWatch(3)
    assert [died(watch, 7, 8), watch.pause_s(7), died(watch, 7)] == [None, 0.0, None]
    assert watch.pause_s(8) == 0.0
    assert watch.pause_s(7) == TRIAL_MIN_S
    assert died(watch) is None, "it died while the suspect was kept from it"
    assert [died(watch, 7), died(watch, 7)] == [None, None]
    assert watch.pause_s(7) == TRIAL_MIN_S
    assert died(watch, 7) == 7


def test_a_replayed_event_takes_twice_as_many_deaths_and_a_trial_before_each_of_the_last() -> None:
    """Rule 2: its client was told that it is done, so it must not be lost to three kills that happen to meet it."""
    watch = PoisonWatch(3)
    replayed = FakeDelivery(event(7))
    replayed.is_replay = True
    for deaths in range(1, 6):
        assert watch.died_with([replayed], [replayed]) is None
        assert (watch.pause_s(7) > 0.0) == (deaths >= 2)
    assert watch.died_with([replayed], [replayed]) == 7


def test_the_trial_lasts_longer_than_the_lives_with_the_suspect() -> None:
    watch = PoisonWatch(3)
    suspect = [FakeDelivery(event(7))]
    watch.died_with(suspect, suspect, 0.5)
    watch.died_with(suspect, suspect, 0.2)
    assert watch.pause_s(7) == 1.0
    assert watch.died_with(suspect, suspect, 60.0) == 7
    watch.died_with(suspect, suspect, 60.0)
    watch.died_with(suspect, suspect, 60.0)
    assert watch.pause_s(7) == TRIAL_MAX_S


def test_one_death_makes_so_many_suspects_at_most() -> None:
    """Rule 7 for time: each suspect costs a round trip, and the recovery must end within the hold window."""
    watch = PoisonWatch(3)
    died(watch, *range(1, 1_000))
    assert watch.serial == set(range(1, SUSPECTS_OF_A_DEATH_MAX + 1))
    for first in range(1_000, 100_000, 1_000):
        died(watch, *range(first, first + 900))
        assert first in watch.serial
        assert len(watch.serial) <= SUSPECTS_MAX


def test_the_next_culprit_needs_deaths_of_its_own() -> None:
    watch = PoisonWatch(2)
    assert [died(watch, 5), died(watch, 5), died(watch, 6), died(watch, 6)] == [None, 5, None, 6]
    assert died(PoisonWatch(1), 3) == 3
