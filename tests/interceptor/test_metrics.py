"""Metrics: names and base units as Prometheus asks for them, histograms that add up, and a sample for each limit."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from interceptor.counters import (
    DETECTION_BUCKETS_S,
    RECOVERY_BUCKETS_S,
    REQUEST_BUCKETS_S,
    SYNC_BUCKETS_S,
    Counters,
    Histogram,
)
from interceptor.limits import Limits
from interceptor.states import State
from tests.interceptor.fakes import until
from tests.interceptor.metric_page import metric_page
from tests.interceptor.running import running

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
UNITS = ("_seconds", "_bytes", "_total", "_info", "_events", "_requests", "_connections")
WITHOUT_A_UNIT = {
    "interceptor_version", "interceptor_state", "interceptor_limit", "interceptor_tunnels", "interceptor_incarnations",
    "interceptor_log_available", "interceptor_gate_waiting", "interceptor_lanes",
}  # fmt: skip


@pytest.mark.parametrize("buckets", [REQUEST_BUCKETS_S, SYNC_BUCKETS_S, RECOVERY_BUCKETS_S, DETECTION_BUCKETS_S])
def test_buckets_rise(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


def test_the_buckets_of_the_conventions() -> None:
    assert REQUEST_BUCKETS_S == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
    assert (SYNC_BUCKETS_S[0], SYNC_BUCKETS_S[-1]) == (0.001, 8.192)
    assert RECOVERY_BUCKETS_S[0] == 0.025


def test_a_value_on_a_bound_belongs_below_it() -> None:
    """`le` is "less than or equal"."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 7.5


def test_counters_begin_at_nothing() -> None:
    counters = Counters()
    assert all(
        not value for name in ("refused", "limits_reached", "holds_ended") for value in [getattr(counters, name)]
    )


async def test_the_exposition_is_well_formed_and_its_names_follow_the_conventions() -> None:
    async with running() as at:
        await at.send("/a", "/b")
        answer = await at.control("GET", "/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = list(text_string_to_metric_families(answer.text))
        assert len({family.name for family in families}) == len(families)
        for family in families:
            assert re.fullmatch(r"(interceptor|process)(_[a-z]+)*", family.name), family.name
            assert family.documentation.endswith("."), family.name
            if family.type == "counter":
                assert all(sample.name.endswith("_total") for sample in family.samples), family.name
            elif family.name not in WITHOUT_A_UNIT:
                assert family.samples[0].name.removesuffix("_bucket").endswith(UNITS), family.name
            for sample in family.samples:
                assert not any("/" in value for value in sample.labels.values()), "never a path in a label"


async def test_the_page_of_the_metrics_is_what_is_shown() -> None:
    """docs/metrics.md: `python -m tests.interceptor.metric_page > docs/metrics.md`."""
    assert PAGE.read_text() == await metric_page()


async def test_every_histogram_adds_up() -> None:
    async with running() as at:
        await at.send("/a", "/b", "/c")
        families = text_string_to_metric_families((await at.control("GET", "/metrics")).text)
        histograms = [family for family in families if family.type == "histogram"]
        assert len(histograms) == 12
        for family in histograms:
            buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
            (count,) = [sample.value for sample in family.samples if sample.name.endswith("_count")]
            (total,) = [sample.value for sample in family.samples if sample.name.endswith("_sum")]
            values = [sample.value for sample in buckets]
            assert values == sorted(values)
            assert buckets[-1].labels["le"] == "+Inf"
            assert values[-1] == count
            assert (total > 0) == (count > 0)
        samples = await at.metrics()
        assert samples["interceptor_request_duration_seconds_count"] == 3


async def test_each_limit_is_shown_in_force_and_counted() -> None:
    """Rule 7."""
    limits = Limits(hold_requests_max=7, drain_timeout_s=1.5)
    async with running(limits=limits) as at:
        samples = await at.metrics()
        for name, value in asdict(limits).items():
            assert samples[f"interceptor_limit|{name}"] == value
            assert samples[f"interceptor_limit_reached_total|{name}"] == 0


async def test_versions_traffic_and_state_are_what_happened() -> None:
    async with running(record_all=False, bypass=("GET:/bypassed",)) as at:
        await at.send("/bypassed")
        await at.send("/read")
        await at.send("/write", "/write", method="DELETE")
        samples = await at.metrics()
        ways = {way: samples[f"interceptor_requests_total|{way}"] for way in ("recorded", "read", "bypass", "upgrade")}
        assert ways == {"recorded": 2, "read": 1, "bypass": 1, "upgrade": 0}
        assert samples["interceptor_answers_total|2xx"] == 4
        for stage in ("last", "delivered", "answered", "durable"):
            assert samples[f"interceptor_version|{stage}"] == 2
        assert samples["interceptor_durable_lag_events"] == 0
        assert samples["interceptor_log_bytes"] > 0
        assert samples["interceptor_log_available"] == 1
        assert {state.name for state in State if samples[f"interceptor_state|{state.name.lower()}"]} == {"ACTIVE"}
        assert samples["interceptor_connections_opened_total"] == 3
        assert samples["interceptor_incarnations"] == 1
        assert samples["process_resident_memory_bytes"] > 1_000_000
        assert [value for name, value in samples.items() if name.startswith("interceptor_info|strict")] == [1]


async def test_holds_are_counted_by_how_they_ended() -> None:
    async with running(limits=Limits(hold_requests_max=1)) as at:
        await at.control("POST", "/state?state=Waiting")
        held = asyncio.create_task(at.send("/held"))
        await until(lambda: at.ambassador.admission.held == 1)
        assert b" 503 " in await at.send("/one-too-many")
        samples = await at.metrics()
        assert samples["interceptor_held_requests"] == 1
        assert samples["interceptor_held_bytes"] > 0
        assert samples["interceptor_held_oldest_seconds"] > 0
        assert samples["interceptor_holds_ended_total|full"] == 1
        assert samples["interceptor_limit_reached_total|hold_requests_max"] == 1
        assert samples["interceptor_refusals_total|503"] == 1
        await at.control("POST", "/state?state=Active")
        await held
        samples = await at.metrics()
        assert samples["interceptor_holds_ended_total|drained"] == 1
        assert samples["interceptor_hold_seconds_count"] == 1
        assert samples["interceptor_held_oldest_seconds"] == 0
