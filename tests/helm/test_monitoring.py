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
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["targetPort"]) == (endpoint["port"], "admin")
    assert endpoint["authorization"]["credentials"] == {
        "name": only(objects, "Secret")["metadata"]["name"],
        "key": "token",
    }
    assert {"name": "admin", "containerPort": 8002, "protocol": "TCP"} in container(pod_spec(objects), "interceptor")[
        "ports"
    ]


# What the sidecar shows, minute by minute, and the alerts that follow after so many minutes.
SITUATIONS = {
    "all is well": ({"state=active": "1+0x9", "held": "0+0x9", "age": "0+60x9", "last": "7+0x9"}, 5, set()),
    "the application is away": ({"state=awaiting": "1+0x9"}, 2, {"InterceptorTargetDown"}),
    "the hold queue fills": ({"held": "0 70 90"}, 2, {"InterceptorHoldQueueFilling"}),
    "events without a checkpoint": ({"taken": "0+0x19", "last": "9+0x19"}, 6, {"InterceptorCheckpointOld"}),
    "a replay diverged": ({"diverged": "0 0 3"}, 2, {"InterceptorDivergence"}),
    "a replay diverged before the first scrape": ({"diverged": "_ 3 3"}, 2, {"InterceptorDivergence"}),
    "a replay diverged long ago": ({"diverged": "3+0x99"}, 90, set()),
}
SERIES = {
    "state=active": ("interceptor_state", ',state="active"'),
    "state=awaiting": ("interceptor_state", ',state="awaiting"'),
    "held": ("interceptor_held_requests", ""), "age": ("interceptor_checkpoint_timestamp_seconds", ""),
    "taken": ("interceptor_checkpoint_timestamp_seconds", ""), "last": ("interceptor_version", ',stage="last"'),
    "diverged": ("interceptor_divergences_total", ""),
}  # fmt: skip
CONSTANT = {
    ("up", ""): "1+0x99",
    ("interceptor_limit", ',limit="hold_requests_max"'): "100+0x19",
    ("interceptor_version", ',stage="checkpoint"'): "7+0x19",
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_real_promtool_sees_the_alert_that_fits(chart: Chart, tmp_path: Path, situation: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian's package prometheus)")
    shown, minutes, expected = SITUATIONS[situation]
    of = 'namespace="shop",service="demo-interceptor-metrics",pod="a"'
    series = [(SERIES[name], values) for name, values in shown.items()] + list(CONSTANT.items())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": alerts(chart)}]}))
    test = {
        "interval": "1m",
        "input_series": [{"series": f"{name}{{{of}{labels}}}", "values": values} for (name, labels), values in series],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
