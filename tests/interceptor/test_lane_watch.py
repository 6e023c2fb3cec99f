"""A single lane that waits for a slow target is counted and said, and what would help is named."""

from __future__ import annotations

import logging

import pytest

from interceptor.counters import Counters
from interceptor.lane_watch import SAY_AGAIN_AFTER_S, WINDOW_S, LaneWatch
from tests.interceptor.fakes import FakeDelivery, FakeLane, event

TICK_S = 0.1


class Watched:
    """A lane with so many events pending, looked at each tenth of a second."""

    def __init__(self, pending: int) -> None:
        self.counters = Counters()
        lane = FakeLane()
        lane.send([FakeDelivery(event(version)) for version in range(1, pending + 1)])
        self._watch = LaneWatch(lane, self.counters, TICK_S)  # type: ignore[arg-type]
        self._answered_version = 0

    def look_for(self, seconds: float, *, answers_per_second: int) -> None:
        for _ in range(round(seconds / TICK_S)):
            self._answered_version += round(answers_per_second * TICK_S)
            self._watch.look(self._answered_version)


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_events_that_wait_behind_slow_ones_are_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """interceptor_lane_waiting_seconds_total; the line names --order, --record and --bypass."""
    watched = Watched(pending=5)
    watched.look_for(3 * WINDOW_S, answers_per_second=50)
    assert watched.counters.lane_waiting_s == pytest.approx(3 * WINDOW_S)
    (line,) = caplog.messages
    assert all(option in line for option in ("--order key:", "--record unsafe", "--bypass"))
    assert "5 wait now" in line


def test_it_is_said_again_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(pending=5)
    watched.look_for(SAY_AGAIN_AFTER_S + 3 * WINDOW_S, answers_per_second=0)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ("pending", "answers_per_second"),
    [
        pytest.param(1, 0, id="nobody waits behind the slow one"),
        pytest.param(50, 10_000, id="busy, not slow: more lanes would not help"),
        pytest.param(0, 0, id="idle"),
    ],
)
def test_what_other_options_would_not_help_is_not_said(
    caplog: pytest.LogCaptureFixture, pending: int, answers_per_second: int
) -> None:
    watched = Watched(pending)
    watched.look_for(3 * WINDOW_S, answers_per_second=answers_per_second)
    assert (watched.counters.lane_waiting_s, caplog.messages) == (0.0, [])
