"""When a checkpoint is due, by a clock that the test turns."""

from __future__ import annotations

from typing import Any

import pytest

from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.errors import CheckpointError
from interceptor.checkpoint.estimate import RESTORE_FLOOR_S, RecoveryFigures
from interceptor.checkpoint.options import CheckpointOptions
from interceptor.checkpoint.policy import RETRY_MIN_S, CheckpointPolicy
from interceptor.errors import ConfigurationError
from storage_backends.backend import Fact


class Rig:
    """A log that grows as it is told, and a policy that looks at it."""

    def __init__(self, facts: dict[str, Fact] | None = None, blackout_s: float = 0.0, **options: Any) -> None:
        self.now_s = 0.0
        self.last_version = 0
        self.entries: list[Checkpoint] = []
        self.blackout_s = blackout_s
        self.failing = False
        self.active = True
        self.last_recovery: dict[str, object] | None = None
        self.facts: dict[str, Fact] = facts or {}
        self.policy = CheckpointPolicy(
            CheckpointOptions("http", **options), self, self, self, lambda: None,  # type: ignore[arg-type]
            lambda: self.active, self.take, lambda: self.now_s,
        )  # fmt: skip

    @property
    def newest(self) -> Checkpoint | None:
        return self.entries[-1] if self.entries else None

    def store_fact(self, name: str, value: Fact) -> None:
        self.facts[name] = value

    async def take(self) -> Checkpoint:
        if self.failing:
            raise CheckpointError("the disk is full")
        number = len(self.entries) + 1
        self.entries.append(
            Checkpoint(f"http-{number}", self.last_version, "http", self.now_s, 1000, holds_state=True,
                       verified=True, blackout_s=self.blackout_s)
        )  # fmt: skip
        return self.entries[-1]

    async def steady(self, seconds: float, events_s: float) -> list[int]:
        """Let time and events pass, looking every 50 ms; return the versions of the checkpoints taken."""
        before = len(self.entries)
        start_version, start_s = self.last_version, self.now_s
        while self.now_s < start_s + seconds:
            self.now_s += 0.05
            self.last_version = start_version + int((self.now_s - start_s) * events_s)
            await self.policy.look()
        return [entry.version for entry in self.entries[before:]]


async def test_without_a_trigger_none_is_taken() -> None:
    assert await Rig().steady(100, 1000) == []


async def test_after_so_many_events() -> None:
    taken = await Rig(every_events=1000).steady(5.5, 1000)
    assert len(taken) == 5
    assert all(1000 <= later - earlier <= 1100 for earlier, later in zip([0, *taken], taken, strict=False))


async def test_after_so_much_time_if_anything_happened() -> None:
    rig = Rig(interval_s=10)
    assert len(await rig.steady(35, 10)) == 3
    assert await rig.steady(100, 0) == [350]


async def test_just_before_a_recovery_would_take_too_long() -> None:
    """0.5 s to start, 2,000 events a second, an objective of 2 s: the tail must stay below some 3,000 events.

    With 2,000 it is a quarter below, so that a recovery that is a third slower than the ones before is still in time.
    """
    rig = Rig(recovery_time_objective_s=2)
    taken = await rig.steady(10, 1000)
    tails = [later - earlier for earlier, later in zip([0, *taken], taken, strict=False)]
    assert len(taken) == 5
    assert all(1_500 <= tail <= 2_000 for tail in tails)
    assert rig.policy.estimate_s <= 1.5
    assert await Rig(recovery_time_objective_s=100).steady(10, 1000) == []


async def test_a_faster_replay_needs_fewer_checkpoints() -> None:
    figures = RecoveryFigures(start_s=0.1, replay_events_s=50_000).as_fact()
    assert await Rig({"recovery_figures": figures}, recovery_time_objective_s=2).steady(60, 1000) == []


async def test_an_objective_that_the_start_alone_exceeds_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """And the tail is kept short nevertheless, without a checkpoint at every look."""
    figures = RecoveryFigures(start_s=5.0).as_fact()
    taken = await Rig({"recovery_figures": figures}, recovery_time_objective_s=2).steady(10, 1000)
    assert 5 <= len(taken) <= 15
    assert sum("can't be met" in record.message for record in caplog.records) == 1


async def test_requests_wait_for_a_bounded_share_of_the_time() -> None:
    assert len(await Rig(every_events=1, blackout_s=1.0).steady(50, 1000)) == 10


async def test_a_failure_is_tried_again_later_and_later() -> None:
    rig = Rig(every_events=10)
    rig.failing = True
    await rig.steady(3 * RETRY_MIN_S + 0.5, 1000)
    assert rig.policy.failures_total == 3
    rig.failing = False
    assert len(await rig.steady(10, 0)) == 1


async def test_only_an_active_target_is_checkpointed() -> None:
    rig = Rig(every_events=10)
    rig.active = False
    assert await rig.steady(10, 1000) == []


async def test_a_recovery_teaches_the_estimate_and_is_a_fact() -> None:
    rig = Rig()
    rig.last_recovery = {"target_back_after_s": 0.1, "events": 10_000, "seconds": 1.0}
    await rig.policy.look()
    assert rig.policy.figures.replay_events_s == pytest.approx(6_000)
    assert rig.policy.figures.start_s == pytest.approx(0.3)
    assert RecoveryFigures.from_fact(rig.facts["recovery_figures"]) == rig.policy.figures
    rig.last_recovery = {"target_back_after_s": 0.1, "events": 1000, "seconds": 1.0}
    await rig.policy.look()
    assert rig.policy.figures.replay_events_s == 1000, "a worse rate counts at once"


def test_a_compressed_state_is_estimated_by_what_a_restore_moves() -> None:
    facts: dict[str, Fact] = {"uncompressed_bytes": 1000}
    assert Checkpoint("criu-1", 1, "criu", 0.0, size_bytes=10, detail=facts).state_bytes == 1000
    assert Checkpoint("criu-1", 1, "criu", 0.0, size_bytes=10).state_bytes == 10


def test_the_estimate() -> None:
    figures = RecoveryFigures(start_s=1, replay_events_s=100, restore_bytes_s=1000)
    assert figures.estimate_s(200, None) == 3
    assert figures.estimate_s(200, 500) == pytest.approx(3.5 + RESTORE_FLOOR_S)


@pytest.mark.parametrize("fact", [None, 5, {}, {"start_s": "x", "replay_events_s": -1, "restore_bytes_s": True}])
def test_figures_that_can_not_be_read_are_guesses(fact: Fact) -> None:
    assert RecoveryFigures.from_fact(fact) == RecoveryFigures()


def test_an_objective_needs_an_engine_that_holds_state() -> None:
    with pytest.raises(ConfigurationError, match="--recovery-time-objective"):
        CheckpointOptions(recovery_time_objective_s=1).check_triggers(holds_state=False, starts_target=False)
