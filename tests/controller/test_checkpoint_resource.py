"""The definition of Checkpoints at a real API server: schema, pruning, the status apart, the columns of kubectl."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helm import kubernetes_tools
from tests.api_server import ApiServer
from tests.controller.cluster import Cluster

TARGET = {"target": {"name": "shop"}}
STATUS = {
    "observedGeneration": 1,
    "lastCheckpoint": {
        "id": "http-1", "version": 12, "time": "2026-01-02T03:04:05Z", "engine": "http", "sizeBytes": 4096,
        "pod": "shop-1",
    },
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "Reachable", "message": "it answers",
         "lastTransitionTime": "2026-01-02T03:04:05Z"},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "target"),
        ({"target": {}}, "name"),
        ({"target": {"name": ""}}, "minLength|at least 1"),
        ({"target": {"kind": "DaemonSet", "name": "shop"}}, "Unsupported value"),
        ({**TARGET, "interval": 5}, "must be of type string"),
        ({**TARGET, "retention": 0}, "greater than or equal to 1"),
        ({**TARGET, "retention": 1.5}, "integer"),
    ],
)
async def test_the_schema_refuses(real_cluster: Cluster, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        await real_cluster.create("Checkpoint", "shop", {"spec": spec})


async def test_unknown_fields_are_pruned_and_the_kind_has_a_default(real_cluster: Cluster) -> None:
    made = await real_cluster.create("Checkpoint", "shop", {"spec": {**TARGET, "unknown": 1}})
    assert made["spec"] == {"target": {"name": "shop", "kind": "Deployment"}}


async def test_the_status_is_a_resource_of_its_own(real_cluster: Cluster) -> None:
    """Who may write the one can't write the other by the way; a status is no new generation."""
    await real_cluster.create("Checkpoint", "shop", {"spec": TARGET})
    told = await real_cluster.set_status("Checkpoint", "shop", STATUS)
    assert told["status"] == STATUS
    patched = await real_cluster.patch("Checkpoint", "shop", {"status": {"lastCheckpoint": {"version": 99}}})
    assert patched["status"] == STATUS
    assert patched["metadata"]["generation"] == 1
    changed = await real_cluster.patch("Checkpoint", "shop", {"spec": {"interval": "5m"}})
    assert changed["metadata"]["generation"] == 2


async def test_what_kubectl_shows(real_cluster: Cluster, api_server: ApiServer, tmp_path: Path) -> None:
    kubectl = kubernetes_tools.find("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here: make k8s-tools")
    await real_cluster.create("Checkpoint", "shop", {"spec": {**TARGET, "interval": "5m"}})
    await real_cluster.set_status("Checkpoint", "shop", STATUS)
    config = api_server.kubeconfig(tmp_path / "kubeconfig", namespace=real_cluster.namespace)
    command = [kubectl, f"--kubeconfig={config}", f"--cache-dir={tmp_path}", "get", "ckpt", "--output=wide"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    head, line = done.stdout.splitlines()
    assert head.split() == [
        "NAME", "TARGET", "READY", "VERSION", "ENGINE", "SIZE", "TAKEN", "IMAGE", "INTERVAL", "OBJECTIVE",
    ]  # fmt: skip
    shown = line.split()
    assert shown[:6] == ["shop", "shop", "True", "12", "http", "4096"]
    assert shown[6] != "<unknown>"
    assert "5m" in shown
