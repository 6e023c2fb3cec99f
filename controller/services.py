"""Looks at a Service: it leads to the sidecar while a workload behind it has one, and to the application otherwise."""

from __future__ import annotations

from typing import Any

from controller.annotations import read_wanted
from controller.errors import RefusedError
from controller.parts import Parts
from controller.queue import Key
from controller.service import pointed_at_sidecar, pointed_back, published, remembered_ports
from controller.template import check_place, injected_facts
from controller.workload import check_replicas, rolled_out

Object = dict[str, Any]


class Services:
    """Points them there and back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        # What was behind a Service when it was looked at last, to look at both when that changes.
        self._by_key: dict[Key, set[Key]] = {}

    def before(self, workload: Key) -> set[Key]:
        """Return the Services that select the workload's Pods or did so when they were looked at."""
        found = self._parts.view.get(*workload)
        template = found["spec"]["template"] if found else {}
        names = [each["metadata"]["name"] for each in self._parts.view.selecting(workload.namespace, template)]
        now = {Key("Service", workload.namespace, name) for name in names}
        return now | self._by_key.get(workload, set())

    def behind(self, service: Key) -> set[Key]:
        """Return the workloads whose Pods the Service selects or selected when it was looked at."""
        return {_key(each) for each in self._selected(service)} | self._by_key.get(service, set())

    def _selected(self, key: Key) -> list[Object]:
        service = self._parts.view.get(*key)
        return [] if service is None else list(self._parts.view.selected(service))

    def _remember(self, service: Key, workloads: list[Object]) -> None:
        for workload in self._by_key.pop(service, ()):
            services = self._by_key.get(workload, set())
            services.discard(service)
            if not services:
                self._by_key.pop(workload, None)
        behind = {_key(each) for each in workloads}
        if behind:
            self._by_key[service] = behind
        for workload in behind:
            self._by_key.setdefault(workload, set()).add(service)

    async def look(self, key: Key) -> float | None:
        """Bring one Service to where it should be."""
        service, behind = self._parts.view.get(*key), self._selected(key)
        self._remember(key, behind)
        if service is None:
            return None
        protected = [workload for workload in behind if keeps_sidecar(workload)]
        if not protected and any(gets_sidecar(workload) for workload in behind):
            # It comes for the first time, or again after `kubectl rollout undo`: Pods that have it still serve.
            return None
        if not protected:
            await self.point_back(service)
        elif len(behind) > 1:
            names = ", ".join(workload["metadata"]["name"] for workload in behind)
            message = (
                f"{names} are behind this Service; give the one with crsc.io/checkpoint-restore a Service of its own"
            )
            await self._parts.refuse(service, RefusedError("ServiceShared", message))
        else:
            if rolled_out(protected[0]):
                await self._point_at_sidecar(service, protected[0])
            await self._publish(key)
        return None

    async def _publish(self, key: Key) -> None:
        service = self._parts.view.get(*key)
        if service is not None:
            new = published(service, sum(map(_lives, self._parts.view.selected_pods(service))))
            await self._parts.change("", "services", service, new)

    async def point_back(self, service: Object) -> None:
        """Give a Service its target ports back."""
        if await self._parts.change("", "services", service, pointed_back(service)):
            ports = ", ".join(str(port) for port in remembered_ports(service).values())
            await self._parts.events.normal(
                service,
                "ServiceRestored",
                f"leads to the application again (target port {ports})",
                key=_version(service),
            )

    async def _point_at_sidecar(self, service: Object, workload: Object) -> None:
        template = workload["spec"]["template"]
        facts = injected_facts(template["metadata"].get("annotations"))
        assert facts is not None
        try:
            new = pointed_at_sidecar(service, template, facts["port"])
        except RefusedError as error:
            await self._parts.refuse(service, error)
            return
        if await self._parts.change("", "services", service, new):
            name = workload["metadata"]["name"]
            message = f"leads to the sidecar of {name} (port 8001) instead of port {facts['port']}"
            await self._parts.events.normal(service, "ServicePointed", message, key=_version(service))


def _key(workload: Object) -> Key:
    metadata = workload["metadata"]
    return Key(workload["kind"], metadata["namespace"], metadata["name"])


def keeps_sidecar(workload: Object) -> bool:
    """Whether it has the sidecar and is to keep it; what can't be read changes nothing."""
    if injected_facts((workload["spec"]["template"].get("metadata") or {}).get("annotations")) is None:
        return False
    try:
        return read_wanted(workload["metadata"].get("annotations") or {}) is not None
    except RefusedError:
        return True


def gets_sidecar(workload: Object) -> bool:
    """Whether it is to have the sidecar and can have it."""
    try:
        wanted = read_wanted(workload["metadata"].get("annotations") or {})
        if wanted is None:
            return False
        check_replicas(workload, wanted)
        check_place(workload["spec"]["template"], wanted)
    except RefusedError:
        return False
    return True


def _lives(pod: Object) -> bool:
    """Whether it may still get requests; one that ends does until it has ended."""
    return (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")


def _version(service: Object) -> str:
    return str(service["metadata"].get("resourceVersion"))
