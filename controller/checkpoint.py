"""A `Checkpoint` resource: what it asks for, when one is due, what its status says.  Functions of objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.durations import parse_duration_s
from controller.errors import RefusedError
from controller.names import GROUP, MANAGER, VERSION
from controller.pod import unix_time_s
from controller.workload import derived_name, owner_reference

Object = dict[str, Any]


@dataclass(frozen=True)
class CheckpointSpec:
    """Without interval and objective one checkpoint is taken, after the resource was created."""

    kind: str
    name: str
    interval_s: float | None
    objective_s: float | None
    engine: str | None
    retention: int | None
    wants_image: bool


def read_spec(checkpoint: Object) -> CheckpointSpec:
    """Return what is asked for.  Raises RefusedError (InvalidSpec)."""
    spec = checkpoint.get("spec") or {}
    target = spec.get("target") or {}
    try:
        seconds = {name: parse_duration_s(spec[name]) if name in spec else None for name in ("interval", "objective")}
    except (ValueError, AttributeError) as error:
        raise RefusedError("InvalidSpec", f"spec: {error}") from error
    if not target.get("name"):
        raise RefusedError("InvalidSpec", "spec.target.name: name the Deployment or StatefulSet")
    return CheckpointSpec(
        kind=target.get("kind", "Deployment"), name=target["name"], interval_s=seconds["interval"],
        objective_s=seconds["objective"], engine=spec.get("engine"), retention=spec.get("retention"),
        wants_image=bool(spec.get("image")),
    )  # fmt: skip


def checkpoint_for(workload: Object, interval: str, retention: int | None) -> Object:
    """Return the resource that the annotation crsc.io/checkpoint-interval stands for."""
    metadata = workload["metadata"]
    spec: Object = {"target": {"kind": workload["kind"], "name": metadata["name"]}, "interval": interval}
    if retention is not None:
        spec["retention"] = retention
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Checkpoint",
        "metadata": {
            "name": derived_name(workload),
            "namespace": metadata["namespace"],
            "labels": {"app.kubernetes.io/managed-by": MANAGER},
            "ownerReferences": [owner_reference(workload)],
        },
        "spec": spec,
    }


def is_ours(checkpoint: Object) -> bool:
    """Whether an annotation has made it."""
    return bool((checkpoint["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") == MANAGER)


def due_in_s(checkpoint: Object, spec: CheckpointSpec, catalogue: list[Object], state: Object, now_s: float) -> float:
    """Return after how many seconds one is to be taken or looked for again; not above zero: now."""
    newest_s = max((entry["time"] for entry in catalogue), default=None)
    waits: list[float] = []
    if spec.interval_s is not None:
        waits.append(0.0 if newest_s is None else newest_s + spec.interval_s - now_s)
    if spec.objective_s is not None:
        estimate_s = state["checkpoints"]["recovery_estimate_s"]
        # One that could not be shortened by a checkpoint a moment ago is not shortened by another.
        soon = newest_s is not None and now_s - newest_s < spec.objective_s
        waits.append(0.0 if estimate_s > spec.objective_s and not soon else spec.objective_s / 2)
    if waits:
        return min(waits)
    created_s = unix_time_s(checkpoint["metadata"].get("creationTimestamp")) or 0.0
    return float("inf") if newest_s is not None and newest_s >= created_s else 0.0


def surplus(catalogue: list[Object], retention: int | None) -> list[str]:
    """Return the ids behind the newest `retention`; pinned ones stay and do not count."""
    loose = [entry["id"] for entry in sorted(catalogue, key=lambda entry: entry["time"]) if not entry.get("pinned")]
    return loose[: max(0, len(loose) - retention)] if retention else []


def status_of(
    checkpoint: Object,
    conditions: dict[str, tuple[bool, str, str]],
    newest: Object | None,
    pod: str | None,
    now_s: float,
) -> Object:
    """Return the status: `conditions` are (true or not, reason, message) by type; a time changes with its status."""
    old = checkpoint.get("status") or {}
    before = {item["type"]: item for item in old.get("conditions") or []}
    status: Object = {"observedGeneration": checkpoint["metadata"].get("generation", 0), "conditions": []}
    for kind, (true, reason, message) in conditions.items():
        value = "True" if true else "False"
        last = before.get(kind, {})
        changed = last["lastTransitionTime"] if last.get("status") == value else timestamp(now_s)
        status["conditions"].append(
            {"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": changed}
        )
    if newest is not None:
        told = {
            "id": newest["id"], "version": newest["version"], "time": timestamp(newest["time"]),
            "engine": newest["engine"], "sizeBytes": newest["size_bytes"] or None, "image": newest["image"] or None,
            "pod": pod,
        }  # fmt: skip
        # What there is not is left out, and not shown as an empty one.
        status["lastCheckpoint"] = {name: value for name, value in told.items() if value is not None}
    elif "lastCheckpoint" in old:
        status["lastCheckpoint"] = old["lastCheckpoint"]
    return status


def timestamp(unix_s: float) -> str:
    """Return a time as the Kubernetes API writes it."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
