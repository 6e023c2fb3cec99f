"""Retention: nothing that a recovery would need is forgotten (rule 8)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.errors import ConfigurationError
from interceptor.retention import Retention
from storage_backends.backend import Fact
from tests.interceptor.running import running

DAY_S = 86_400


def entry(version: int, engine: str = "image", time: float = 0, *, pinned: bool = False) -> Checkpoint:
    stateful = engine != "mark"
    return Checkpoint(f"{engine}-{version}", version, engine, time, holds_state=stateful, verified=True, pinned=pinned)


@pytest.mark.parametrize(
    "text", ["", "none", "checkpoints", "checkpoints:0", "checkpoints:101", "checkpoints:-1", "time:", "time:0d",
             "time:5", "time:1w", "all:3", "checkpoints:3 "],
)  # fmt: skip
def test_a_policy_that_can_not_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--retain"):
        Retention.parse(text)


@pytest.mark.parametrize(
    ("text", "time_s"), [("time:90s", 90), ("time:5m", 300), ("time:2h", 7200), ("time:7d", 604_800)]
)
def test_durations_have_units(text: str, time_s: int) -> None:
    assert Retention.parse(text).time_s == time_s


@pytest.mark.parametrize("text", ["checkpoints:3", "time:7d"])
def test_trimming_is_refused_while_no_engine_holds_state(text: str) -> None:
    Retention.parse("all").check_possible(holds_state=False)
    with pytest.raises(ConfigurationError, match="every event from version 1"):
        Retention.parse(text).check_possible(holds_state=False)


@pytest.mark.parametrize("text", ["all", "checkpoints:1", "time:1s"])
def test_marks_hold_no_state_and_trim_nothing(text: str) -> None:
    catalogue = [entry(version, "mark") for version in range(1, 100)]
    assert Retention.parse(text).first_kept_version(catalogue, 1e12) == 1


@pytest.mark.parametrize(
    ("text", "first_kept"), [("all", 1), ("checkpoints:1", 31), ("checkpoints:3", 11), ("checkpoints:4", 1)]
)
def test_the_last_checkpoints_stay_usable(text: str, first_kept: int) -> None:
    Retention.parse(text).check_possible(holds_state=True)
    catalogue = [entry(10), entry(15, "mark"), entry(20), entry(30), entry(40, "mark")]
    assert Retention.parse(text).first_kept_version(catalogue, 0) == first_kept


@pytest.mark.parametrize(("days", "first_kept"), [(0.5, 1), (1, 1), (2, 11), (2.5, 11), (3, 21), (9, 31)])
def test_every_moment_of_the_time_kept_can_be_reached(days: float, first_kept: int) -> None:
    catalogue = [entry(10, time=1 * DAY_S), entry(20, time=2 * DAY_S), entry(30, time=3 * DAY_S)]
    assert Retention.parse("time:1d").first_kept_version(catalogue, days * DAY_S) == first_kept


def test_a_checkpoint_that_was_not_read_back_trims_nothing() -> None:
    unverified = replace(entry(20), verified=False)
    assert Retention.parse("checkpoints:1").first_kept_version([entry(10), unverified], 0) == 11
    assert Retention.parse("checkpoints:2").first_kept_version([entry(10), unverified], 0) == 1


def test_a_pinned_checkpoint_keeps_the_events_behind_it() -> None:
    catalogue = [entry(10, pinned=True), entry(20), entry(30)]
    policy = Retention.parse("checkpoints:1")
    assert policy.first_kept_version(catalogue, 0) == 11
    assert policy.superfluous(catalogue, 0, 10) == [entry(20)]


def test_without_a_policy_the_number_of_checkpoints_is_bounded_nevertheless() -> None:
    """Rule 7; marks cost nothing and are counted apart."""
    catalogue = [entry(1, "mark"), *(entry(version) for version in range(2, 7))]
    assert Retention.parse("all").superfluous(catalogue, 0, 3) == [entry(2), entry(3)]
    marks = [entry(version, "mark") for version in range(1, 103)]
    assert Retention.parse("all").superfluous(marks, 0, 3) == marks[:2]


def test_as_many_are_kept_as_the_policy_names() -> None:
    catalogue = [entry(version) for version in range(1, 8)]
    assert Retention.parse("checkpoints:5").superfluous(catalogue, 0, 3) == [entry(1), entry(2)]


def test_under_a_duration_those_stay_that_leave_the_smallest_gaps() -> None:
    """Else, with many checkpoints, none would ever grow old enough to trim the log behind it."""
    policy = Retention.parse("time:1h")
    kept: list[Checkpoint] = []
    for minute in range(200):
        kept.append(entry(minute + 1, time=60.0 * minute))
        dropped = policy.superfluous(kept, 60.0 * minute, 5)
        kept = [each for each in kept if each not in dropped]
    assert len(kept) <= 5
    assert kept[-1].version == 200
    assert 60 <= 199 - kept[0].version + 1 <= 150


@pytest.mark.parametrize(
    "fact", [None, 1, {}, {"id": "x"}, {"id": "http-1"}, {"id": "http-1", "version": "9", "engine": "http", "time": 1},
             {"id": "http-1", "version": True, "engine": "http", "time": 1}],
)  # fmt: skip
def test_an_entry_that_can_not_be_read_is_none(fact: Fact) -> None:
    assert Checkpoint.from_fact(fact) is None


async def test_an_impossible_policy_is_refused_before_anything_is_created(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--retain"):
        async with running(log_url=f"file:{tmp_path}/log", retention=Retention.parse("checkpoints:1")):
            pass
    assert not (tmp_path / "log").exists()
