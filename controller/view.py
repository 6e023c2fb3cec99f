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
        found = [each for each in self.indices[kind].get((namespace, name), ()) if _uid(each) not in vanished]
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

    def uids(self, kind: str) -> dict[str, tuple[str, str]]:
        """Return namespace and name of all that kopf has, by uid."""
        index = self.indices[kind]
        return {_uid(each): key for key in list(index) if isinstance(key, tuple) for each in index[key]}

    def all(self, kind: str, namespace: str) -> Iterator[Object]:
        """Return the objects of a namespace."""
        for each in list(self.indices[kind].get(namespace, ())):
            name = each["metadata"]["name"]
            found = self.get(kind, namespace, name) if self.seen(kind, namespace, name) is each else None
            if found is not None:
                yield found

    def workloads(self, namespace: str) -> Iterator[Object]:
        """Return its Deployments and StatefulSets."""
        yield from self.all("Deployment", namespace)
        yield from self.all("StatefulSet", namespace)


API_VERSIONS = {
    "Deployment": "apps/v1", "StatefulSet": "apps/v1", "Service": "v1", "Pod": "v1", "Checkpoint": "crsc.io/v1alpha1",
}  # fmt: skip


def _uid(seen: Object) -> str:
    return str(seen["metadata"].get("uid"))


def _typed(kind: str, found: Object) -> Object:
    """Objects of a list come without their type."""
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, **found}
