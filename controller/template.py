"""A workload's Pod template with the sidecar, and without it again: functions of objects, nothing is asked or sent."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from typing import Any

from controller.annotations import Wanted
from controller.errors import RefusedError
from controller.names import ADMIN_PORT, INJECTED, LISTEN_PORT, PREFIX, SIDECAR
from controller.sidecar import SidecarPlace, sidecar_container, sidecar_volumes

Template = dict[str, Any]

# What is always noted when the sidecar is added.
FACTS = frozenset({"digest", "container", "port", "workload", "token"})


def injected_facts(annotations: dict[str, str] | None) -> dict[str, Any] | None:
    """Return what was noted when the sidecar was added, None where it was not (or the note is not ours)."""
    try:
        facts = json.loads((annotations or {}).get(INJECTED, "null"))
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and facts.keys() >= FACTS else None


def with_sidecar(
    template: Template, wanted: Wanted, *, image: str, token_secret: str, token_digest: str, owner: str
) -> Template:
    """Return the template with the sidecar; the same one where it is there already as wanted.

    Raises RefusedError where there is no place for it.
    """
    new = without_sidecar(template)
    container = target_container(new, wanted)
    port = target_port(container, wanted)
    _check_ports(new)
    ready_path = _ready_path(container, port)
    place = SidecarPlace(port, token_secret, image, ready_path)
    sidecar, volumes = sidecar_container(wanted, place), sidecar_volumes(wanted, place)
    facts = {"workload": owner, "container": container["name"], "port": port, "token": token_digest}
    if ready_path is not None or _is_plain_probe(container, port):
        facts["readinessProbe"] = container.pop("readinessProbe")
    added = json.dumps([sidecar, volumes, facts], sort_keys=True)
    facts["digest"] = hashlib.sha256(added.encode()).hexdigest()[:16]
    present = injected_facts(template.get("metadata", {}).get("annotations"))
    if present is not None and present["digest"] == facts["digest"] and _is_whole(template, container, volumes):
        return template
    spec = new["spec"]
    if wanted.native:
        # First, so that init containers of the application's are not before it: it is ready to hold when they run.
        spec["initContainers"] = [sidecar, *(spec.get("initContainers") or [])]
    else:
        # Last: the first one is what `kubectl logs` and `kubectl exec` mean.
        spec["containers"] = [*spec["containers"], sidecar]
    spec["volumes"] = [*(spec.get("volumes") or []), *volumes]
    new.setdefault("metadata", {}).setdefault("annotations", {})[INJECTED] = json.dumps(facts, sort_keys=True)
    return new


def check_place(template: Template, wanted: Wanted) -> None:
    """Raise RefusedError where there is no place for the sidecar."""
    bare = without_sidecar(template)
    target_port(target_container(bare, wanted), wanted)
    _check_ports(bare)


def without_sidecar(template: Template) -> Template:
    """Return the template as it was before; a copy of it where there was no sidecar of ours."""
    new = deepcopy(template)
    annotations = new.get("metadata", {}).get("annotations") or {}
    facts = injected_facts(annotations)
    if facts is None:
        return new
    del annotations[INJECTED]
    if not annotations:
        del new["metadata"]["annotations"]
    spec = new["spec"]
    ours = {"interceptor-token", "interceptor-log", "interceptor-spool"}
    for place in ("initContainers", "containers"):
        _keep(spec, place, lambda item: item["name"] != SIDECAR)
    _keep(spec, "volumes", lambda item: item["name"] not in ours)
    for container in spec["containers"]:
        if container["name"] == facts["container"] and "readinessProbe" in facts:
            container.setdefault("readinessProbe", facts["readinessProbe"])
    return new


def target_container(template: Template, wanted: Wanted) -> dict[str, Any]:
    """Return the container to protect.  Raises RefusedError where that is not clear."""
    containers: list[dict[str, Any]] = template["spec"]["containers"]
    names = ", ".join(container["name"] for container in containers)
    if wanted.container is None:
        if len(containers) == 1:
            return containers[0]
        raise RefusedError("ContainerUnclear", f"the Pod has the containers {names}: name one in {PREFIX}container")
    for container in containers:
        if container["name"] == wanted.container:
            return container
    raise RefusedError("ContainerMissing", f"{PREFIX}container: there is no {wanted.container!r}, only {names}")


def target_port(container: dict[str, Any], wanted: Wanted) -> int:
    """Return the port on which it listens.  Raises RefusedError where that is not clear."""
    if wanted.target_port in (LISTEN_PORT, ADMIN_PORT):
        raise RefusedError("PortTaken", f"{PREFIX}target-port: {wanted.target_port} is the sidecar's own port")
    if wanted.target_port is not None:
        return wanted.target_port
    ports = {port["containerPort"] for port in container.get("ports") or [] if port.get("protocol", "TCP") == "TCP"}
    if len(ports) == 1:
        (port,) = ports
        return int(port)
    said = f"names the ports {sorted(ports)}" if ports else "names no port"
    raise RefusedError(
        "PortUnclear", f"the container {container['name']} {said}: say in {PREFIX}target-port where it listens"
    )


def named_ports(template: Template) -> dict[str, int]:
    """Return the ports of the application's containers by name."""
    return {
        port["name"]: port["containerPort"]
        for container in template["spec"]["containers"]
        if container["name"] != SIDECAR
        for port in container.get("ports") or []
        if "name" in port
    }


def _check_ports(template: Template) -> None:
    """Containers of a Pod share its ports."""
    for container in [*template["spec"]["containers"], *(template["spec"].get("initContainers") or [])]:
        if container["name"] == SIDECAR:
            raise RefusedError(
                "SidecarPresent",
                f"the Pod has a container {SIDECAR} that is not the controller's: remove one of the two",
            )
        for port in container.get("ports") or []:
            if port["containerPort"] in (LISTEN_PORT, ADMIN_PORT):
                raise RefusedError(
                    "PortTaken", f"the container {container['name']} uses port {port['containerPort']}, which the "
                    f"sidecar needs ({LISTEN_PORT} and {ADMIN_PORT}): let it listen elsewhere",
                )  # fmt: skip


def _ready_path(container: dict[str, Any], port: int) -> str | None:
    """Return what the application's own probe asks of the target port; the sidecar then asks instead of the kubelet."""
    get = (container.get("readinessProbe") or {}).get("httpGet")
    if not get or get.get("scheme", "HTTP") != "HTTP" or not _leads_to(get.get("port"), container, port):
        return None
    return str(get.get("path") or "/")


def _is_plain_probe(container: dict[str, Any], port: int) -> bool:
    """Whether its probe only connects, which the sidecar does anyway."""
    probe = (container.get("readinessProbe") or {}).get("tcpSocket")
    return probe is not None and _leads_to(probe.get("port"), container, port)


def _leads_to(named: Any, container: dict[str, Any], port: int) -> bool:
    ports = {item.get("name"): item["containerPort"] for item in container.get("ports") or []}
    return bool(ports.get(named, named) == port)


def _is_whole(template: Template, wanted: dict[str, Any], volumes: list[dict[str, Any]]) -> bool:
    """Whether nobody has taken a part of it away, or given the probe back, as `kubectl apply` and `helm upgrade` do.

    What is in the parts is not compared: the API server adds defaults, and admission may have its own wishes.
    """
    spec = template["spec"]
    places = ("initContainers", "containers", "volumes")
    present = {item["name"] for place in places for item in spec.get(place) or []}
    (container,) = (item for item in spec["containers"] if item["name"] == wanted["name"])
    moved = "readinessProbe" in container and "readinessProbe" not in wanted
    return not moved and {SIDECAR, *(volume["name"] for volume in volumes)} <= present


def _keep(spec: dict[str, Any], name: str, wanted: Any) -> None:
    kept = [item for item in spec.get(name) or [] if wanted(item)]
    if kept:
        spec[name] = kept
    else:
        spec.pop(name, None)
