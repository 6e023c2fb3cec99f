"""Looks at a Pod with our sidecar: holds while its application is down, has it brought into step when it is back.

The sidecar sees most deaths in milliseconds and recovers by itself; then there is only something to say.  What it can't
see (an application that hangs) is seen by the kubelet's probes, and that is where holding begins here.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from controller.admin import Admin
from controller.errors import AdminError
from controller.parts import Parts
from controller.pod import Condition, Health, pod_health, sidecar_ready
from controller.queue import Key
from controller.recovery import HOLDER, Step, first_version, next_step
from controller.template import injected_facts

Object = dict[str, Any]

# How often a sidecar at work is asked whether it is done.
LOOK_AGAIN_S = 1.0
# After an answer that will not be another one soon (a wrong token).
REFUSED_AGAIN_S = 30.0
_CONFLICT = 409


class Pods:
    """Drives the recovery of Pods."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def look(self, key: Key) -> float | None:
        """Do the next step for one Pod; a Pod that has vanished needs none."""
        pod = self._parts.view.get(*key)
        if pod is None:
            return None
        facts = injected_facts(pod["metadata"].get("annotations"))
        if facts is None:
            return None
        config = self._parts.config
        health = pod_health(pod, facts["container"], config.clock(), config.unready_max_s)
        if health.condition is Condition.GONE:
            if health.reason == "Evicted":
                await self._say_failed(pod, health)
            return None
        if not (pod.get("status") or {}).get("podIP"):
            return health.look_again_s
        admin = self._parts.admin(pod, facts["workload"])
        try:
            again_s = await self._step(pod, health, admin)
        except AdminError as error:
            starting = health.condition is Condition.STARTING or not sidecar_ready(pod)
            if starting and error.status == 0:
                return health.look_again_s or LOOK_AGAIN_S
            await self._parts.events.warn(pod, error.reason, _what_to_do(error), key=error.reason)
            if error.status != 401:
                raise
            again_s = REFUSED_AGAIN_S
        return again_s if health.look_again_s is None else min(again_s or health.look_again_s, health.look_again_s)

    async def _step(self, pod: Object, health: Health, admin: Admin) -> float | None:
        state = await admin.state()
        step = next_step(health, state)
        if step is Step.HOLD:
            await self._say_failed(pod, health)
            await admin.hold(HOLDER)
            await self._parts.events.normal(
                pod, "Held", "requests are held until the container is back", key=_life(pod)
            )
        elif step is Step.RECORD_FAILURE:
            await self._say_failed(pod, health)
        elif step is Step.PROJECT:
            await self._project(pod, admin, state)
        elif step is Step.RECORD_RECOVERY:
            await self._say_recovered(pod, state["last_recovery"])
        elif step is Step.REPORT_PROBLEM:
            await self._parts.events.warn(pod, "RecoveryBlocked", state["problem"])
            return REFUSED_AGAIN_S
        return LOOK_AGAIN_S if step is Step.WAIT else None

    async def _project(self, pod: Object, admin: Admin, state: Object) -> None:
        first = first_version(state)
        try:
            done = await admin.reproject(first)
        except AdminError as error:
            if error.status != _CONFLICT or first is None:
                raise
            # In step already, or that checkpoint can't be used any more: the sidecar knows from where.
            done = await admin.reproject(None)
        state = await admin.let_pass(HOLDER)
        if not done.get("already_in_step"):
            self._parts.metrics.recoveries.labels("controller").inc()
        message = done.get("detail") or f"{done['events']} requests were delivered again"
        await self._parts.events.normal(pod, "Reprojected", f"{message}; requests pass", key=_life(pod))
        if state["last_recovery"]:
            await self._say_recovered(pod, state["last_recovery"])

    async def _say_failed(self, pod: Object, health: Health) -> None:
        message = f"the application is down ({health.reason}); its state is made again when it is back"
        if await self._parts.events.warn(pod, "TargetFailed", message, key=f"{health.reason} {health.since_s}"):
            self._parts.metrics.failures.labels(health.reason).inc()

    async def _say_recovered(self, pod: Object, recovery: Object) -> None:
        divergences = recovery["divergences"]
        message = (
            f"{recovery['cause']}: {recovery['events']} requests were delivered again in {recovery['seconds']:.3f} s, "
            f"{recovery['total_s']:.3f} s in all, {divergences} answered otherwise"
        )
        key = hashlib.sha256(json.dumps(recovery, sort_keys=True).encode()).hexdigest()
        say = self._parts.events.warn if divergences else self._parts.events.normal
        if await say(pod, "Recovered", message, key=key):
            self._parts.metrics.recoveries.labels("sidecar").inc()


def _life(pod: Object) -> str:
    """Return what tells one life of the Pod's containers from the next."""
    return json.dumps([item.get("containerID") for item in pod["status"].get("containerStatuses") or []])


def _what_to_do(error: AdminError) -> str:
    if error.status == 401:
        return (
            f"{error}: the Pod has another token than its Secret: delete the Pod, it then starts with the present one"
        )
    if error.status == 0:
        return f"{error}. Does the sidecar run, and does a NetworkPolicy let the controller reach port 8002?"
    return str(error)
