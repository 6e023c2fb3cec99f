"""docs/controller.md names each reason of an Event or a condition, each annotation, and each metric with its labels."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from controller.annotations import _OWN
from controller.metrics import Metrics
from controller.names import ENABLE, PREFIX

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "controller.md").read_text()
WORDS = re.compile("[A-Z][a-z]+([A-Z][a-z]+)+|Held|Reprojected|Recovered")
# Words of Kubernetes, and the reasons of conditions where all is as it was asked for.
OTHERS = {"ContainersReady", "CrashLoopBackOff", "NotBuilt", "RollingUpdate", "RuntimeDefault", "StatefulSet"}


def texts() -> Iterator[str]:
    for file in (ROOT / "controller").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_each_reason_is_documented() -> None:
    reasons = {text for text in texts() if WORDS.fullmatch(text)} - OTHERS
    assert {"InvalidAnnotation", "CheckpointFailed", "SidecarInjected", "AdminRefusedToken", "Held"} <= reasons
    assert sorted(reason for reason in reasons if f"`{reason}`" not in PAGE) == []


def test_each_annotation_is_documented() -> None:
    names = [ENABLE.removeprefix(PREFIX), *_OWN]
    assert [name for name in names if f"| `{name}` |" not in PAGE] == []


def test_each_metric_is_documented_with_its_labels() -> None:
    metrics = Metrics()
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = re.search(rf"`(?:interceptor_controller|…)_{name.removeprefix('interceptor_controller_')}(.*?)`", PAGE)
        assert shown is not None, name
    labelled = [metric for metric in vars(metrics).values() if getattr(metric, "_labelnames", ())]
    for metric in labelled:
        assert f"{{{','.join(metric._labelnames)}}}`" in PAGE, metric
