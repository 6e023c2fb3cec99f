"""The chart's default Pod, run by podman."""

from __future__ import annotations

import copy
import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine import ROOT, Engine

from helm import kubernetes_tools

Object = dict[str, Any]
POD = "interceptor-test"
START_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 40.0
RELEASE_VALUES = ("image.repository=localhost/interceptor", "image.tag=test", "podSecurityContext.fsGroup=null")


@dataclass
class RunningPod:
    """A Pod that podman runs."""

    engine: Engine
    address: str

    def request(self, method: str, path: str, port: int = 8001, **headers: str) -> tuple[int, str]:
        """Return status and content of an answer.  Raises OSError."""
        connection = http.client.HTTPConnection(self.address, port, timeout=REQUEST_TIMEOUT_S)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def pid(self, container: str) -> int:
        """Return the process of a container."""
        return int(self.engine.run("podman", "inspect", "--format={{.State.Pid}}", f"{POD}-{container}"))

    def ready(self) -> bool:
        """Ask as the kubelet's readiness probe does."""
        try:
            return self.request("GET", "/readyz", 8002)[0] == 200
        except OSError:
            return False


@contextmanager
def playing(engine: Engine, folder: Path) -> Iterator[RunningPod]:
    """Run the rendered Pod, whose image was built; it is ready.  `folder` is for its manifests."""
    secret, adapted = adapt(render())
    for item in (secret, adapted):
        (folder / f"{item['kind']}.yaml").write_text(yaml.safe_dump(item))
    remove(engine)
    try:
        engine.run("podman", "kube", "play", str(folder / "Secret.yaml"))
        engine.run("podman", "kube", "play", str(folder / "Pod.yaml"))
        infra = json.loads(engine.run("podman", "pod", "inspect", POD))["InfraContainerID"]
        (network,) = json.loads(engine.run("podman", "inspect", infra))[0]["NetworkSettings"]["Networks"].values()
        running = RunningPod(engine, network["IPAddress"])
        wait_until(running.ready)
        yield running
    finally:
        remove(engine)


def render() -> list[Object]:
    """Return the objects of the chart's defaults."""
    helm = kubernetes_tools.find("helm")
    if helm is None and os.environ.get("CI"):
        kubernetes_tools.fetch()
        helm = kubernetes_tools.find("helm")
    if helm is None:
        pytest.skip("helm is not here: make k8s-tools")
    settings = [f"--set={value}" for value in RELEASE_VALUES]
    command = [helm, "template", "demo", str(ROOT / "helm" / "interceptor-chart"), *settings]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return [each for each in yaml.safe_load_all(text) if each]


def adapt(objects: list[Object]) -> tuple[Object, Object]:
    """Return Secret and Pod for podman 4.3, which knows neither native sidecars nor hooks, and would publish ports."""
    by_kind = {each["kind"]: each for each in objects if each["kind"] in ("Secret", "Deployment")}
    template = copy.deepcopy(by_kind["Deployment"]["spec"]["template"])
    spec = template["spec"]
    sidecars = spec.pop("initContainers")
    for sidecar in sidecars:
        assert sidecar.pop("restartPolicy") == "Always"
    spec["containers"] = sidecars + spec["containers"]
    spec["restartPolicy"] = "Always"
    for container in spec["containers"]:
        container.pop("ports")
        container.pop("lifecycle", None)
        # podman has no readiness; the test asks in its place.
        container.pop("readinessProbe", None)
    metadata = {"name": POD, "labels": template["metadata"]["labels"]}
    return by_kind["Secret"], {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def remove(engine: Engine) -> None:
    """Leave nothing behind, also of a run that was interrupted."""
    engine.run("podman", "pod", "rm", "--force", "--ignore", "--time=1", POD)
    volumes = engine.run("podman", "volume", "ls", "--quiet").split()
    for volume in {"log", "spool", "application-tmp"}.intersection(volumes):
        engine.run("podman", "volume", "rm", "--force", volume)
    if "demo-interceptor-admin" in engine.run("podman", "secret", "ls", "--format={{.Name}}"):
        engine.run("podman", "secret", "rm", "demo-interceptor-admin")
        for volume in {"admin-token", "demo-interceptor-admin"}.intersection(volumes):
            engine.run("podman", "volume", "rm", "--force", volume)


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as it holds."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {START_TIMEOUT_S:g} s"
        time.sleep(0.05)
