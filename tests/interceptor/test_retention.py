"""Retention: nothing that a recovery would need is forgotten (rule 8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from interceptor import retention
from interceptor.errors import ConfigurationError
from interceptor.journal import Journal
from interceptor.retention import Retention
from storage_backends.backend import Fact
from storage_backends.errors import LogGapError
from tests.interceptor.running import running

DAY_S = 86_400


def entry(version: Fact, engine: str = "image", time: Fact = 0) -> dict[str, Fact]:
    return {"id": f"{engine}-{version}", "version": version, "engine": engine, "time": time}


@pytest.fixture
def stateful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for an engine that holds the target's state."""
    monkeypatch.setattr(retention, "ENGINES_WITH_STATE", frozenset({"image"}))


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
    Retention.parse("all").check_possible()
    with pytest.raises(ConfigurationError, match="every event from version 1"):
        Retention.parse(text).check_possible()


@pytest.mark.parametrize("text", ["all", "checkpoints:1", "time:1s"])
def test_marks_hold_no_state_and_trim_nothing(text: str) -> None:
    catalogue = [entry(version, "mark") for version in range(1, 100)]
    assert Retention.parse(text).first_kept_version(catalogue, 1e12) == 1


@pytest.mark.usefixtures("stateful")
@pytest.mark.parametrize(
    ("text", "first_kept"), [("all", 1), ("checkpoints:1", 31), ("checkpoints:3", 11), ("checkpoints:4", 1)]
)
def test_the_last_checkpoints_stay_usable(text: str, first_kept: int) -> None:
    Retention.parse(text).check_possible()
    catalogue = [entry(10), entry(15, "mark"), entry(20), entry(30), entry(40, "mark")]
    assert Retention.parse(text).first_kept_version(catalogue, 0) == first_kept


@pytest.mark.usefixtures("stateful")
@pytest.mark.parametrize(("days", "first_kept"), [(0.5, 1), (1, 1), (2, 11), (2.5, 11), (3, 21), (9, 31)])
def test_every_moment_of_the_time_kept_can_be_reached(days: float, first_kept: int) -> None:
    catalogue = [entry(10, time=1 * DAY_S), entry(20, time=2 * DAY_S), entry(30, time=3 * DAY_S)]
    assert Retention.parse("time:1d").first_kept_version(catalogue, days * DAY_S) == first_kept


@pytest.mark.usefixtures("stateful")
@pytest.mark.parametrize("broken", [{"engine": "image"}, entry("9"), entry(True), {"engine": "image", "version": None}])
def test_an_entry_that_can_not_be_read_trims_nothing(broken: dict[str, Fact]) -> None:
    for text in ("checkpoints:1", "checkpoints:2"):
        assert Retention.parse(text).first_kept_version([entry(5), broken], 1e12) == 1


async def test_an_impossible_policy_is_refused_before_anything_is_created(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--retain"):
        async with running(log_url=f"file:{tmp_path}/log", retention=Retention.parse("checkpoints:1")):
            pass
    assert not (tmp_path / "log").exists()


async def test_a_checkpoint_that_holds_state_lets_the_log_forget_what_is_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ENGINES_WITH_STATE", frozenset({"mark"}))
    async with running(
        log_url=f"file:{tmp_path}/log", log_options={"segment_bytes_max": 1}, retention=Retention.parse("checkpoints:2")
    ) as made:
        for at in range(3):
            await made.send("/a")
            await made.ambassador.checkpoint()
            assert made.ambassador.journal.backend.first_version == at + 1
        assert (await made.metrics())["interceptor_version|first"] == 3
        with pytest.raises(LogGapError):
            made.ambassador.journal.reader(1)
        monkeypatch.setattr(Journal, "facts_are_stored", False)
        await made.send("/a")
        await made.ambassador.checkpoint()
        assert made.ambassador.journal.backend.first_version == 3, "the catalogue is not durable"
