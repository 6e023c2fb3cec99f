"""A Service pointed at the sidecar and back again: functions of objects, nothing is asked or sent."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from controller.errors import RefusedError
from controller.names import LISTEN_PORT, ORIGINAL_TARGET_PORTS, PUBLISHED
from controller.template import named_ports

Object = dict[str, Any]


def selects(service: Object, template: Object) -> bool:
    """Whether the Service's selector matches the labels of a template, or of a Pod."""
    selector = service["spec"].get("selector")
    labels = template.get("metadata", {}).get("labels") or {}
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())


def remembered_ports(service: Object) -> dict[str, Any]:
    """Return the target ports from before, by port and protocol; empty where the Service was not pointed at us."""
    try:
        ports = json.loads((service["metadata"].get("annotations") or {}).get(ORIGINAL_TARGET_PORTS, "{}"))
    except ValueError:
        return {}
    return ports if isinstance(ports, dict) else {}


def pointed_at_sidecar(service: Object, template: Object, port: int) -> Object:
    """Return the Service with every port that leads to `port` leading to the sidecar; the same one if all do.

    Raises RefusedError where no port leads there.
    """
    if service["spec"].get("clusterIP") == "None":
        raise RefusedError(
            "ServiceHeadless",
            f"a headless Service leads to the Pod itself, past the sidecar: let its clients use port {LISTEN_PORT}",
        )
    new = deepcopy(service)
    keys = {_key(item) for item in service["spec"].get("ports") or []}
    remembered = {key: value for key, value in remembered_ports(service).items() if key in keys}
    names, pointed = named_ports(template), False
    for item in new["spec"].get("ports") or []:
        target = item.get("targetPort", item["port"])
        if item.get("protocol", "TCP") != "TCP":
            continue
        if names.get(target, target) == port:
            remembered[_key(item)] = item.get("targetPort")
            item["targetPort"] = LISTEN_PORT
            pointed = True
        elif target == LISTEN_PORT:
            # Also by a manifest that says so itself, or by a port whose number was changed.
            remembered.setdefault(_key(item), port)
            pointed = True
    if not pointed:
        leads = ", ".join(str(item.get("targetPort", item["port"])) for item in service["spec"].get("ports") or [])
        raise RefusedError(
            "ServicePortMissing",
            f"no port of this Service leads to port {port} of the application, only to {leads or 'none'}: correct its "
            "targetPort, or crsc.io/target-port of the workload. The Service was not changed",
        )
    new["metadata"].setdefault("annotations", {})[ORIGINAL_TARGET_PORTS] = json.dumps(remembered, sort_keys=True)
    return service if new == service else new


def published(service: Object, pods: int) -> Object:
    """Return the Service, pointed at the sidecar, leading to its only Pod also while that is not ready.

    A Pod is not ready while one of its containers is down, whatever its probes say, and then nobody could be held.
    Beside another Pod (a rollout) one that is not ready must not get requests.  Without any Pod nothing changes.
    """
    annotations = service["metadata"].get("annotations") or {}
    if ORIGINAL_TARGET_PORTS not in annotations:
        return service
    new = deepcopy(service)
    if pods == 1 and not service["spec"].get("publishNotReadyAddresses"):
        new["spec"]["publishNotReadyAddresses"] = True
        new["metadata"]["annotations"][PUBLISHED] = "true"
    elif pods > 1:
        _withdraw(new)
    return new


def _withdraw(service: Object) -> None:
    """Undo what `published` has set."""
    if service["metadata"]["annotations"].pop(PUBLISHED, None) is not None:
        service["spec"].pop("publishNotReadyAddresses", None)


def pointed_back(service: Object) -> Object:
    """Return the Service as it was before, but for what others have changed since; the same one if it was not ours."""
    remembered = remembered_ports(service)
    annotations = service["metadata"].get("annotations") or {}
    if ORIGINAL_TARGET_PORTS not in annotations:
        return service
    new = deepcopy(service)
    for item in new["spec"].get("ports") or []:
        if item.get("targetPort") == LISTEN_PORT and _key(item) in remembered:
            original = remembered[_key(item)]
            if original is None:
                del item["targetPort"]
            else:
                item["targetPort"] = original
    _withdraw(new)
    del new["metadata"]["annotations"][ORIGINAL_TARGET_PORTS]
    if not new["metadata"]["annotations"]:
        del new["metadata"]["annotations"]
    return new


def _key(port: Object) -> str:
    return f"{port['port']}/{port.get('protocol', 'TCP')}"
