"""The chart as real helm renders it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "interceptor-chart"
RENDER_TIMEOUT_S = 60.0

Object = dict[str, Any]


class RefusedError(Exception):
    """helm has refused the values; the text is what it says."""


class Chart:
    """One helm, one chart."""

    def __init__(self, helm: str) -> None:
        self._helm = helm

    def run(self, *arguments: str) -> str:
        """Return what a helm command prints.  Raises RefusedError."""
        command = [self._helm, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RENDER_TIMEOUT_S, check=False)
        if done.returncode:
            raise RefusedError(done.stderr)
        return done.stdout

    def render(self, *values: str, files: tuple[Path, ...] = (), version: str = "") -> list[Object]:
        """Return the objects that `helm template` makes of `--set` values, for that version of Kubernetes."""
        arguments = [f"--kube-version={version}"] if version else []
        arguments += [f"--values={file}" for file in files] + [f"--set={value}" for value in values]
        text = self.run("template", "demo", str(CHART), "--namespace=shop", "--include-crds", *arguments)
        return [each for each in yaml.safe_load_all(text) if each]


def only(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """Return the one object of a kind (and with such an end of its name)."""
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(suffix))
    return found


def pod_spec(objects: list[Object]) -> Object:
    """Return the spec of the workload's Pod."""
    (workload,) = (each for each in objects if each["kind"] in ("Deployment", "StatefulSet"))
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def container(spec: Object, name: str) -> Object:
    """Return a container of a Pod by its name."""
    (found,) = (each for each in [*spec.get("initContainers", ()), *spec["containers"]] if each["name"] == name)
    return found
