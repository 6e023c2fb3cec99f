"""Every object of the chart, of the examples and the definition of Checkpoints, at a real API server.

`kubectl apply --server-side`, as a rehearsal and then in earnest; nothing that was sent may be missing afterwards.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import CHART, ROOT, Chart, Object
from test_objects import MODES

from tests.api_server import ApiServer

VALUES = sorted((ROOT / "examples").glob("values-*.yaml"))
EXAMPLES = sorted((ROOT / "examples").glob("[!v]*.yaml"))
# With these a server tells of unknown fields itself.
FIELD_VALIDATION = (1, 27)
_numbers = itertools.count()

Apply = Callable[[list[Object]], None]


def known(item: Object, version: tuple[int, int]) -> Object | None:
    """Return what a server of that version has; None for nothing.  The chart is for 1.30 and newer."""
    if item["apiVersion"].startswith("monitoring.coreos.com/"):
        return None  # Of an operator that is not installed here; tests/helm/test_monitoring.py looks at these.
    if item["apiVersion"] == "policy/v1" and version < (1, 21):
        return None
    new = deepcopy(item)
    spec = new.get("spec") or {}
    pod = spec if item["kind"] == "Pod" else (spec.get("template") or {}).get("spec") or {}
    if version < (1, 23):  # Its server-side apply does not know the default of a part of a port's key.
        containers = [*(pod.get("containers") or []), *(pod.get("initContainers") or [])]
        for port in itertools.chain(spec.get("ports") or [], *(each.get("ports") or [] for each in containers)):
            port.setdefault("protocol", "TCP")
    if version < (1, 29):  # No native sidecars: it refuses probes of init containers.
        for container in pod.get("initContainers") or []:
            for field in ("restartPolicy", "readinessProbe", "livenessProbe", "lifecycle"):
                container.pop(field, None)
    if version < (1, 30):
        for container in pod.get("containers") or []:
            if "sleep" in (container.get("lifecycle") or {}).get("preStop", {}):
                del container["lifecycle"]
    return new


def missing(sent: Any, kept: Any, at: str = "") -> Iterator[str]:
    """Yield where something was sent and is not there; values may have been written otherwise (1024Mi, 1Gi)."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        for name, value in sent.items():
            if value not in (None, {}, [], "", False, 0):
                yield from missing(value, kept[name], f"{at}.{name}") if name in kept else [f"{at}.{name}"]
    elif isinstance(sent, list) and isinstance(kept, list):
        if len(sent) != len(kept):
            yield at
        for number, (each, other) in enumerate(zip(sent, kept, strict=False)):
            yield from missing(each, other, f"{at}[{number}]")


@pytest.fixture
def apply(api_server: ApiServer, kubectl: str, tmp_path: Path) -> Apply:
    """Applies objects in a namespace of their own."""
    api_server.define_checkpoints((CHART / "crds" / "checkpoints.crsc.io.yaml").read_text())
    namespace = f"chart-{next(_numbers)}"
    api_server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    config = api_server.kubeconfig(tmp_path / "kubeconfig", namespace=namespace)
    validate = "strict" if api_server.version >= FIELD_VALIDATION else "false"

    def run(*arguments: str, text: str) -> str:
        command = [kubectl, f"--kubeconfig={config}", f"--cache-dir={tmp_path}", *arguments, "--filename=-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def applied(objects: list[Object]) -> None:
        text = json.dumps([each for item in objects if (each := known(item, api_server.version))])
        sent = json.loads(text.replace('"namespace": "shop"', f'"namespace": "{namespace}"'))
        assert sent
        text = yaml.safe_dump_all(sent)
        flags = ["apply", "--server-side", f"--validate={validate}"]
        run(*flags, "--dry-run=server", text=text)
        # Again: an upgrade to the same is no conflict.
        for _ in range(2):
            run(*flags, text=text)
        kept = json.loads(run("get", "--output=json", text=text))
        for item, other in zip(sent, kept.get("items", [kept]), strict=True):
            item.get("metadata", {}).pop("creationTimestamp", None)
            item.pop("stringData", None)  # It is made `data`.
            assert list(missing(item, other)) == [], item["kind"]

    return applied


@pytest.mark.parametrize("mode", MODES)
def test_the_chart(chart: Chart, apply: Apply, mode: str) -> None:
    apply([item for item in chart.render(*MODES[mode]) if item["kind"] != "CustomResourceDefinition"])


@pytest.mark.parametrize("mode", ["everywhere", "in one namespace"])
def test_the_controllers_rights(chart: Chart, apply: Apply, mode: str) -> None:
    more = ("controller.namespaces={shop}",) if mode == "in one namespace" else ()
    apply([item for item in chart.render("mode=controller", *more) if item["kind"] != "CustomResourceDefinition"])


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.name)
def test_the_example_values(chart: Chart, apply: Apply, file: Path) -> None:
    apply([item for item in chart.render(files=(file,)) if item["kind"] != "CustomResourceDefinition"])


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_the_examples(apply: Apply, file: Path) -> None:
    apply(list(yaml.safe_load_all(file.read_text())))


def test_the_definition_of_checkpoints(api_server: ApiServer, apply: Apply) -> None:
    crd = yaml.safe_load((CHART / "crds" / "checkpoints.crsc.io.yaml").read_text())
    apply([crd])
    found = api_server.ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/checkpoints.crsc.io")
    problems = {each["type"]: each for each in found["status"]["conditions"]}
    assert "NonStructuralSchema" not in problems
    assert problems["NamesAccepted"]["status"] == "True"
