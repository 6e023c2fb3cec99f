"""How a Pod's target container is, by the Pod's status alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from controller.names import SIDECAR


class Condition(Enum):
    """What the controller has to know of a target container."""

    GONE = "the Pod has ended or is about to"
    FAILED = "the container is down, or not ready for too long"
    STARTING = "neither down nor ready yet"
    READY = "running and ready"


@dataclass(frozen=True)
class Health:
    """`since_s`: when it failed (Unix time).  `look_again_s`: after how long the same status says something else."""

    condition: Condition
    reason: str = ""
    since_s: float | None = None
    look_again_s: float | None = None


def pod_health(pod: dict[str, Any], container: str, now_s: float, unready_max_s: float) -> Health:
    """Judge the container of that name."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        return Health(Condition.GONE, status.get("reason") or str(status["phase"]))
    if pod["metadata"].get("deletionTimestamp"):
        return Health(Condition.GONE, "Deleted")
    for item in status.get("containerStatuses") or []:
        if item["name"] == container:
            return _container_health(status, item, now_s, unready_max_s)
    return Health(Condition.STARTING)


def sidecar_ready(pod: dict[str, Any]) -> bool:
    """Whether it should answer: an application without a probe of its own is ready before its sidecar listens."""
    status = pod.get("status") or {}
    items = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return all(item.get("ready") for item in items if item["name"] == SIDECAR)


def _container_health(pod_status: dict[str, Any], item: dict[str, Any], now_s: float, unready_max_s: float) -> Health:
    state = item.get("state") or {}
    if "terminated" in state:
        return _terminated(state["terminated"], state["terminated"].get("reason") or "Terminated")
    if "waiting" in state:
        last = (item.get("lastState") or {}).get("terminated")
        reason = state["waiting"].get("reason") or ""
        if last is not None:
            return _terminated(last, "OOMKilled" if last.get("reason") == "OOMKilled" else reason or "Terminated")
        return Health(Condition.FAILED, reason) if reason == "CrashLoopBackOff" else Health(Condition.STARTING)
    if "running" not in state:
        return Health(Condition.STARTING)
    if item.get("ready"):
        return Health(Condition.READY)
    return _unready(pod_status, state["running"], now_s, unready_max_s)


def _terminated(terminated: dict[str, Any], reason: str) -> Health:
    return Health(Condition.FAILED, reason, unix_time_s(terminated.get("finishedAt")))


def _unready(pod_status: dict[str, Any], running: dict[str, Any], now_s: float, unready_max_s: float) -> Health:
    """A container that runs and fails its own readiness probe: failed once that has lasted for too long."""
    since = unix_time_s(running.get("startedAt"))
    for condition in pod_status.get("conditions") or []:
        if condition["type"] == "ContainersReady" and condition["status"] == "False":
            changed = unix_time_s(condition.get("lastTransitionTime"))
            since = max(filter(None, (since, changed)), default=None)
    if since is None:
        return Health(Condition.STARTING)
    left_s = since + unready_max_s - now_s
    if left_s > 0:
        return Health(Condition.STARTING, look_again_s=left_s)
    return Health(Condition.FAILED, "Unready", since)


def unix_time_s(text: str | None) -> float | None:
    """Return a time of the Kubernetes API (RFC 3339) as Unix time."""
    return None if text is None else datetime.fromisoformat(text).timestamp()
