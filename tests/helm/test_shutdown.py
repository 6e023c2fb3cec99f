"""The grace period adds up: delay, the application's stop, drain, closing (docs/kubernetes.md)."""

from __future__ import annotations

import pytest
from rendering import Chart, RefusedError, container, pod_spec

CLOSING_S = 5


@pytest.mark.parametrize(("delay_s", "drain_s", "stop_s"), [(5, 20, 10), (0, 30, 60)])
def test_with_a_native_sidecar_the_application_ends_first(
    chart: Chart, delay_s: int, drain_s: int, stop_s: int
) -> None:
    spec = pod_spec(
        chart.render(
            f"shutdown.delaySeconds={delay_s}",
            f"shutdown.drainSeconds={drain_s}",
            f"shutdown.applicationStopSeconds={stop_s}",
        )
    )
    assert spec["terminationGracePeriodSeconds"] == delay_s + stop_s + drain_s + CLOSING_S
    assert _slept_s(spec) == delay_s
    arguments = container(spec, "interceptor")["args"]
    assert f"--drain-timeout-s={drain_s}" in arguments
    assert not [each for each in arguments if each.startswith("--shutdown-delay-s")]


def test_with_an_ordinary_container_the_application_outlives_the_drain(chart: Chart) -> None:
    spec = pod_spec(chart.render("interceptor.sidecar=container", "options.checkpoint-on-stop=true"))
    checkpoint_s = 2 * 10
    sidecar_s = 5 + 20 + checkpoint_s + CLOSING_S
    assert _slept_s(spec) == sidecar_s
    assert spec["terminationGracePeriodSeconds"] == sidecar_s + 10
    assert "--shutdown-delay-s=5" in container(spec, "interceptor")["args"]


def test_a_longer_grace_period_is_taken_and_a_shorter_one_refused(chart: Chart) -> None:
    longer = pod_spec(chart.render("shutdown.terminationGracePeriodSeconds=600"))
    assert longer["terminationGracePeriodSeconds"] == 600
    with pytest.raises(RefusedError, match="39 is less than the 40 s that delay, drain and stop add up to"):
        chart.render("shutdown.terminationGracePeriodSeconds=39")


def _slept_s(spec: dict[str, object]) -> int:
    hook = container(spec, "application").get("lifecycle")
    return hook["preStop"]["sleep"]["seconds"] if hook else 0
