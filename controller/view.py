"""The objects as kopf has last seen them.  Its indices are filled before the first handler is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


class View:
    """Looks objects up by kind, namespace and name; a controller that starts has all of them before it acts."""

    def __init__(self) -> None:
        self.indices: dict[str, Any] = {}
        # What our own requests were answered with, until kopf has seen it: before and after.
        self._answers: dict[tuple[str, str, str], tuple[Object, Object]] = {}

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, None if there is none."""
        for seen in self.indices[kind].get((namespace, name), ()):
            before, after = self._answers.get((kind, namespace, name), (None, None))
            if after is not None and before is seen:
                return _typed(kind, after)
            self._answers.pop((kind, namespace, name), None)
            return _typed(kind, seen)
        self._answers.pop((kind, namespace, name), None)
        return None

    def note(self, kind: str, answer: Object) -> None:
        """Take what a request of ours was answered with for the object, until kopf sees it change."""
        namespace, name = answer["metadata"]["namespace"], answer["metadata"]["name"]
        for seen in self.indices[kind].get((namespace, name), ()):
            self._answers[kind, namespace, name] = (seen, answer)

    def all(self, kind: str, namespace: str) -> Iterator[Object]:
        """Return the objects of a namespace."""
        for key in list(self.indices[kind]):
            found = self.get(kind, *key) if key[0] == namespace else None
            if found is not None:
                yield found

    def workloads(self, namespace: str) -> Iterator[Object]:
        """Return its Deployments and StatefulSets."""
        yield from self.all("Deployment", namespace)
        yield from self.all("StatefulSet", namespace)


API_VERSIONS = {
    "Deployment": "apps/v1", "StatefulSet": "apps/v1", "Service": "v1", "Pod": "v1", "Checkpoint": "crsc.io/v1alpha1",
}  # fmt: skip


def _typed(kind: str, found: Object) -> Object:
    """Objects of a list come without their type."""
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, **found}
