"""What a Deployment or StatefulSet says: whether its replicas can be protected, whether its Pods are all new."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from controller.annotations import Wanted
from controller.errors import RefusedError
from controller.names import PREFIX


def check_replicas(workload: dict[str, Any], wanted: Wanted) -> None:
    """Raise RefusedError where Pods would have to share a state or a log.

    Each Pod's application holds a state of its own, made by the requests that this Pod got.  With several, a lost Pod's
    state can only be made again from a log that outlives it and that its successor finds: one by the Pod's name.
    """
    replicas = workload["spec"].get("replicas", 1)
    kind = workload["kind"]
    if replicas > 1 and not (kind == "StatefulSet" and wanted.has_shared_log):
        raise RefusedError(
            "ReplicasNotSupported",
            f"{replicas} replicas without a distributed log: each would have a state of its own, and a log that nobody "
            f"else finds. Use one replica, or a StatefulSet with {PREFIX}log: "
            "postgresql://USER@HOST/DATABASE?log_name=$(POD_NAME)",
        )
    strategy = (workload["spec"].get("strategy") or {}).get("type", "RollingUpdate")
    if kind == "Deployment" and wanted.log_outlives_pod and strategy != "Recreate":
        raise RefusedError(
            "StrategyNotSupported",
            "a log has one writer, and a rolling update starts the new Pod before the old one has ended: set "
            "spec.strategy.type to Recreate",
        )


def rolled_out(workload: dict[str, Any]) -> bool:
    """Whether no Pod of an older template is left; without a status there is no Pod yet."""
    status = workload.get("status") or {}
    seen = status.get("observedGeneration")
    if seen is not None and seen < workload["metadata"].get("generation", 0):
        return False
    replicas = status.get("replicas", 0)
    ready = status.get("readyReplicas", 0)
    return bool(status.get("updatedReplicas", 0) >= replicas and ready >= replicas)


def owner_of(workload: dict[str, Any]) -> str:
    """Return how Pods name their workload: `Deployment/shop`."""
    return f"{workload['kind']}/{workload['metadata']['name']}"


def derived_name(workload: dict[str, Any], suffix: str = "") -> str:
    """Return a name for an object that belongs to it; a Deployment and a StatefulSet may have the same name."""
    name = f"{workload['kind'].lower()}-{workload['metadata']['name']}{suffix}"
    if len(name) <= 253:
        return name
    # A part of a name ends with a letter or a digit.
    return f"{name[:200].rstrip('-.')}-{hashlib.sha256(name.encode()).hexdigest()[:16]}{suffix}"


def admin_token(key: bytes, namespace: str, owner: str) -> str:
    """Return the token of this workload's sidecars: computed, so that it need not be read back or kept."""
    return hmac.new(key, f"{namespace}/{owner}".encode(), "sha256").hexdigest()


def token_digest(token: str) -> str:
    """Return what shows on a template that the token is another one."""
    return hmac.new(token.encode(), b"digest", "sha256").hexdigest()[:12]


def owner_reference(workload: dict[str, Any]) -> dict[str, Any]:
    """Return what lets Kubernetes remove our objects together with the workload."""
    metadata = workload["metadata"]
    return {"apiVersion": "apps/v1", "kind": workload["kind"], "name": metadata["name"], "uid": metadata["uid"]}
