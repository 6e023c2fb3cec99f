"""Alerts and dashboard ask for what a real sidecar shows, and a real promtool can read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from rendering import Chart, container, only, pod_spec

from tests.interceptor.running import running

MONITORED = (
    "serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true",
    "options.checkpoint-interval=60", "options.recovery-time-objective=2",
)  # fmt: skip
# Prometheus' own.
FOREIGN = {"up"}


def queries(chart: Chart) -> list[str]:
    """Return each query of the alerts and of the dashboard."""
    objects = chart.render(*MONITORED)
    found = [rule["expr"] for rule in alerts(chart)]
    board = json.loads(only(objects, "ConfigMap")["data"]["interceptor.json"])
    for panel in board["panels"]:
        found.extend(target["expr"] for target in panel.get("targets", ()))
    return found


def alerts(chart: Chart) -> list[dict[str, str]]:
    """Return the alerts."""
    (group,) = only(chart.render(*MONITORED), "PrometheusRule")["spec"]["groups"]
    rules: list[dict[str, str]] = group["rules"]
    return rules


async def test_each_metric_that_is_asked_for_is_there(chart: Chart) -> None:
    async with running() as sidecar:
        # Refusals are shown by status, once there are some.
        await sidecar.send("/", fields=("Content-Length: x",))
        scraped = (await sidecar.control("GET", "/metrics")).text
    samples = set(re.findall(r"^(\w+)[{ ]", scraped, re.MULTILINE))
    asked = {
        name for query in queries(chart) for name in re.findall(r"\b((?:interceptor|process)_\w+|up)(?=\{)", query)
    }
    assert len(asked) > 20
    assert asked - samples <= FOREIGN


async def test_each_label_value_that_is_asked_for_is_there(chart: Chart) -> None:
    async with running() as sidecar:
        scraped = (await sidecar.control("GET", "/metrics")).text
    for query in queries(chart):
        for name, label, operator, values in re.findall(
            r'(\w+)\{[^}]*\b(state|limit|reason|stage)(=~?)"([^"]+)"', query
        ):
            for value in values.split("|") if operator == "=~" else [values]:
                assert re.search(rf'^{name}\{{[^}}]*{label}="{value}"', scraped, re.MULTILINE), (name, label, value)


def test_what_the_design_asks_for_has_an_alert(chart: Chart) -> None:
    names = {rule["alert"] for rule in alerts(chart)}
    assert {
        "InterceptorTargetDown", "InterceptorDivergence", "InterceptorHoldQueueFilling", "InterceptorDurableLag",
        "InterceptorUncertain", "InterceptorCheckpointOld", "InterceptorRecoveryObjectiveMissed",
    } <= names  # fmt: skip


def test_without_checkpoints_there_is_no_alert_on_their_age(chart: Chart) -> None:
    (group,) = only(chart.render(*MONITORED[:3]), "PrometheusRule")["spec"]["groups"]
    assert not [rule for rule in group["rules"] if "Checkpoint" in rule["alert"] or "Objective" in rule["alert"]]


def test_prometheus_is_led_to_the_admin_port_with_the_token(chart: Chart) -> None:
    objects = chart.render(*MONITORED)
    monitor, service = only(objects, "ServiceMonitor"), only(objects, "Service", "-metrics")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert (
        not monitor["spec"]["selector"]["matchLabels"].items()
        <= only(objects, "Service", "interceptor")["metadata"]["labels"].items()
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {
        "name": only(objects, "Secret")["metadata"]["name"],
        "key": "token",
    }
    assert {"name": "admin", "containerPort": 8002, "protocol": "TCP"} in container(pod_spec(objects), "interceptor")[
        "ports"
    ]


def test_a_real_promtool_accepts_the_alerts(chart: Chart, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian's package prometheus)")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": only(chart.render(*MONITORED), "PrometheusRule")["spec"]["groups"]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "13 rules found" in done.stdout
