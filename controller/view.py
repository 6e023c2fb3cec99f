"""The objects as kopf has last seen them.  Its indices are filled before the first handler is called.

Who belongs together is found by labels and owners.  Looking through all of a namespace for each of its objects would
take a controller of some thousand so long that it lost its Lease meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from controller.names import INJECTED, WORKLOADS
from controller.service import selects
from controller.template import injected_facts

Object = dict[str, Any]


class ByName(NamedTuple):
    """Where the object is found."""

    namespace: str
    name: str


class ByLabel(NamedTuple):
    """Where names are found: of Pods, and of workloads whose Pods have this label."""

    namespace: str
    label: str
    value: str


class BySelector(NamedTuple):
    """Where names are found: of Services that select by exactly this."""

    namespace: str
    selector: tuple[tuple[str, str], ...]


class SelectorsOf(NamedTuple):
    """Where the labels are found that Services of a namespace select by; many of them by the same."""

    namespace: str


class ByOwner(NamedTuple):
    """Where names are found: of Pods with our sidecar, and of Checkpoints, by their workload (`Deployment/shop`)."""

    namespace: str
    owner: str


def index_entries(kind: str, body: Mapping[str, Any]) -> dict[Any, Any]:
    """Return under what an object is to be found."""
    namespace, name = str(body["metadata"].get("namespace")), str(body["metadata"]["name"])
    entries: dict[Any, Any] = {ByName(namespace, name): _kept(kind, body)}
    if kind == "Service" and (selector := _selector(body)):
        entries[BySelector(namespace, selector)] = name
        entries[SelectorsOf(namespace)] = tuple(label for label, _ in selector)
    if kind == "Pod" or kind in WORKLOADS:
        labels = _labels(body["spec"]["template"] if kind in WORKLOADS else body)
        entries |= {ByLabel(namespace, label, value): name for label, value in labels.items()}
    owner = _owner(kind, body)
    return entries if owner is None else {**entries, ByOwner(namespace, owner): name}


def _kept(kind: str, body: Mapping[str, Any]) -> Object:
    """Return what is looked at: of all Pods of a cluster the status and a few names are enough, and fit into memory."""
    kept = {field: value for field, value in body.items() if kind != "Pod" or field not in ("spec", "metadata")}
    dropped = ("managedFields", "annotations") if kind == "Pod" else ("managedFields",)
    kept["metadata"] = {field: value for field, value in body["metadata"].items() if field not in dropped}
    if kind == "Pod":
        annotations = body["metadata"].get("annotations") or {}
        kept["metadata"]["annotations"] = {name: value for name, value in annotations.items() if name == INJECTED}
        if not kept["metadata"]["annotations"]:
            kept["status"] = {"phase": (body.get("status") or {}).get("phase")}
    return kept


def _selector(service: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(((service.get("spec") or {}).get("selector") or {}).items()))


def _labels(labelled: Mapping[str, Any]) -> dict[str, str]:
    return (labelled.get("metadata") or {}).get("labels") or {}


def _owner(kind: str, body: Mapping[str, Any]) -> str | None:
    if kind == "Checkpoint":
        return target_of(body)
    facts = injected_facts(body["metadata"].get("annotations")) if kind == "Pod" else None
    return str(facts["workload"]) if facts else None


def target_of(checkpoint: Mapping[str, Any]) -> str:
    """Return whose checkpoints it asks for, as Pods name their workload."""
    target = (checkpoint.get("spec") or {}).get("target") or {}
    return f"{target.get('kind', 'Deployment')}/{target.get('name')}"


class View:
    """Looks objects up by kind, namespace and name; a controller that starts has all of them before it acts."""

    def __init__(self) -> None:
        self.indices: dict[str, Any] = {}
        # What our own requests were answered with, until kopf has seen it: before and after.
        self._answers: dict[tuple[str, str, str], tuple[Object, Object]] = {}
        # By kind the uids of objects that kopf still has and the API server has not (controller/sweep.py).
        self._vanished: dict[str, set[str]] = {}

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, None if there is none."""
        key, seen = (kind, namespace, name), self.seen(kind, namespace, name)
        before, after = self._answers.get(key, (None, None))
        if after is not None and before is seen:
            return _typed(kind, after)
        self._answers.pop(key, None)
        return None if seen is None else _typed(kind, seen)

    def seen(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return the object as kopf has seen it last; of two of the same name the one that was made later."""
        vanished = self._vanished.get(kind, ())
        found = [each for each in self.indices[kind].get(ByName(namespace, name), ()) if _uid(each) not in vanished]
        return found[-1] if found else None

    def note(self, kind: str, before: Object | None, answer: Object) -> None:
        """Take what a request of ours was answered with for the object, until kopf sees it change.

        `before`: what was `seen` when the request was sent.  Has kopf seen another since, then that may be the newer.
        """
        namespace, name = answer["metadata"]["namespace"], answer["metadata"]["name"]
        if before is not None and self.seen(kind, namespace, name) is before:
            self._answers[kind, namespace, name] = (before, answer)

    def forget_vanished(self, kind: str, uids: set[str]) -> None:
        """Take these for gone, and no others that kopf still has."""
        self._vanished[kind] = uids

    def by_uid(self, kind: str) -> dict[str, Object]:
        """Return all that kopf has, by uid."""
        index = self.indices[kind]
        return {_uid(each): each for key in list(index) if isinstance(key, ByName) for each in index[key]}

    def selecting(self, namespace: str, labelled: Object) -> Iterator[Object]:
        """Return the Services that select a Pod, or the Pods of a template."""
        labels = _labels(labelled)
        for names in set(self.indices["Service"].get(SelectorsOf(namespace), ())):
            if labels.keys() >= set(names):
                selector = tuple((name, labels[name]) for name in names)
                yield from self._found("Service", namespace, BySelector(namespace, selector))

    def selected(self, service: Object) -> Iterator[Object]:
        """Return the Deployments and StatefulSets whose Pods a Service selects."""
        for kind in WORKLOADS:
            for workload in self._with_rarest_label(kind, service):
                if selects(service, workload["spec"]["template"]):
                    yield workload

    def selected_pods(self, service: Object) -> Iterator[Object]:
        """Return the Pods that a Service selects."""
        return (pod for pod in self._with_rarest_label("Pod", service) if selects(service, pod))

    def owned(self, kind: str, namespace: str, owner: str) -> Iterator[Object]:
        """Return the Pods or Checkpoints of a workload."""
        return self._found(kind, namespace, ByOwner(namespace, owner))

    def _with_rarest_label(self, kind: str, service: Object) -> Iterator[Object]:
        """Return those that have the label, of all in the selector, that the fewest have."""
        namespace, index = service["metadata"]["namespace"], self.indices[kind]
        keys = [ByLabel(namespace, label, value) for label, value in _selector(service)]
        if keys:
            yield from self._found(kind, namespace, min(keys, key=lambda key: len(index.get(key, ()))))

    def _found(self, kind: str, namespace: str, key: NamedTuple) -> Iterator[Object]:
        for name in set(self.indices[kind].get(key, ())):
            found = self.get(kind, namespace, name)
            if found is not None:
                yield found


API_VERSIONS = {
    "Deployment": "apps/v1", "StatefulSet": "apps/v1", "Service": "v1", "Pod": "v1", "Checkpoint": "crsc.io/v1alpha1",
}  # fmt: skip


def _uid(seen: Object) -> str:
    return str(seen["metadata"].get("uid"))


def _typed(kind: str, found: Object) -> Object:
    """Objects of a list come without their type."""
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, **found}
