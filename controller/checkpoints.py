"""Looks at a Checkpoint resource: takes checkpoints when they are due, and writes down what there is.

What was taken is read from the sidecar's catalogue and not remembered here, so one that was taken by a controller which
then died is found, and not taken again.
"""

from __future__ import annotations

from typing import Any

from controller.admin import Admin
from controller.checkpoint import CheckpointSpec, due_in_s, read_spec, status_of, surplus
from controller.errors import AdminError, ApiError, RefusedError
from controller.merge import merge_patch
from controller.parts import Parts
from controller.pod import Condition, pod_health
from controller.queue import Key
from controller.template import injected_facts

Object = dict[str, Any]

NO_TARGET_AGAIN_S = 5.0
FAILED_AGAIN_S = 30.0
# A longer wait is divided, so that what was taken otherwise shows in the status.
LOOK_MAX_S = 60.0


class Checkpoints:
    """Keeps the promises of Checkpoint resources."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def look(self, key: Key) -> float | None:
        """Take a checkpoint if one is due."""
        checkpoint = self._parts.view.get(*key)
        if checkpoint is None or checkpoint["metadata"].get("deletionTimestamp"):
            return None
        try:
            spec = read_spec(checkpoint)
        except RefusedError as error:
            await self._parts.refuse(checkpoint, error)
            await self._write(checkpoint, {"Ready": (False, error.reason, str(error))}, None, None)
            return None
        pod = self._pod(key.namespace, spec)
        if pod is None:
            message = f"no Pod of {spec.kind} {spec.name} has the sidecar and is ready"
            await self._write(checkpoint, {"Ready": (False, "TargetNotReady", message)}, None, None)
            return NO_TARGET_AGAIN_S
        facts = injected_facts(pod["metadata"]["annotations"])
        assert facts is not None
        try:
            return await self._keep(checkpoint, spec, pod, self._parts.admin(pod, facts["workload"]))
        except AdminError as error:
            self._parts.metrics.checkpoints.labels("failed").inc()
            await self._parts.events.warn(checkpoint, "CheckpointFailed", str(error))
            await self._write(checkpoint, {"Ready": (False, error.reason, str(error))}, None, None)
            return FAILED_AGAIN_S

    def _pod(self, namespace: str, spec: CheckpointSpec) -> Object | None:
        """Return a ready Pod of the target, the same one each time."""
        config = self._parts.config
        pods = self._parts.view.owned("Pod", namespace, f"{spec.kind}/{spec.name}")
        for pod in sorted(pods, key=lambda each: str(each["metadata"]["name"])):
            facts = injected_facts(pod["metadata"].get("annotations"))
            if facts is None or not pod["status"].get("podIP"):
                continue
            if pod_health(pod, facts["container"], config.clock(), 0.0).condition is Condition.READY:
                return pod
        return None

    async def _keep(self, checkpoint: Object, spec: CheckpointSpec, pod: Object, admin: Admin) -> float | None:
        state = await admin.state()
        engine = state["checkpoints"]["engine"]
        if spec.engine not in (None, engine):
            message = (
                f"the sidecar's engine is {engine}: set crsc.io/checkpoint-engine of the workload, or spec.engine here"
            )
            await self._parts.refuse(checkpoint, RefusedError("EngineDiffers", message))
            await self._write(checkpoint, {"Ready": (False, "EngineDiffers", message)}, None, None)
            return None
        catalogue = await admin.checkpoints()
        now_s = self._parts.config.clock()
        if due_in_s(checkpoint, spec, catalogue, state, now_s) <= 0:
            taken = await admin.take_checkpoint()
            self._parts.metrics.checkpoints.labels("taken").inc()
            message = f"{taken['id']} at version {taken['version']} by the engine {taken['engine']}"
            await self._parts.events.normal(checkpoint, "CheckpointTaken", message)
            catalogue = await admin.checkpoints()
            state = await admin.state()
        for checkpoint_id in surplus(catalogue, spec.retention):
            await admin.remove_checkpoint(checkpoint_id)
        newest = max(catalogue, key=lambda entry: entry["time"], default=None)
        await self._write(checkpoint, _conditions(spec, newest), newest, pod["metadata"]["name"])
        wait_s = due_in_s(checkpoint, spec, catalogue, state, self._parts.config.clock())
        return min(max(wait_s, 0.05), LOOK_MAX_S)

    async def _write(
        self, checkpoint: Object, conditions: dict[str, tuple[bool, str, str]], newest: Object | None, pod: str | None
    ) -> None:
        status = status_of(checkpoint, conditions, newest, pod, self._parts.config.clock())
        patch = merge_patch(checkpoint.get("status") or {}, status)
        if not patch:
            return
        metadata = checkpoint["metadata"]
        seen = self._parts.view.seen("Checkpoint", metadata["namespace"], metadata["name"])
        try:
            answer = await self._parts.api.patch(
                "crsc.io", "checkpoints/status", metadata["namespace"], metadata["name"], {"status": patch}
            )
            self._parts.view.note("Checkpoint", seen, answer)
        except ApiError as error:
            if error.status != 404:
                raise


def _conditions(spec: CheckpointSpec, newest: Object | None) -> dict[str, tuple[bool, str, str]]:
    conditions = {"Ready": (True, "Reachable", "the target has the sidecar and answers")}
    if newest is not None:
        kept = "the target's state" if newest["holds_state"] else "only a mark in the log, no state"
        conditions["HoldsState"] = (newest["holds_state"], newest["engine"].capitalize(), f"the last one holds {kept}")
    if spec.wants_image:
        built = bool(newest and newest["image"])
        said = f"the last one is in the image {newest['image']}" if newest and built else "this engine builds no image"
        conditions["ImageBuilt"] = (built, "Built" if built else "NotBuilt", said)
    return conditions
