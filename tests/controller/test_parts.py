"""The controller's own machinery: its view of the cluster, its queue, its Lease, the names that it makes."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from controller.errors import ApiError
from controller.events import Events
from controller.lease import Lease, LeaseLostError
from controller.metrics import Metrics
from controller.queue import WORKERS_OTHERWISE, Key, WorkQueue
from controller.service import selects
from controller.template import injected_facts, with_sidecar
from controller.view import View, index_entries
from controller.workload import derived_name
from tests.controller.cluster import template
from tests.controller.test_decisions import ADDED, Wanted

# RFC 1123, as Kubernetes wants names of most objects.
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAMED = ("Deployment", "shop-1", "shop")


def seen(uid: str, version: str = "1") -> dict[str, Any]:
    metadata = {"namespace": "shop-1", "name": "shop", "uid": uid, "resourceVersion": version}
    return {"metadata": metadata, "spec": {"template": {"metadata": {"labels": {"app": "shop"}}}}}


def view_of(*objects: dict[str, Any]) -> View:
    view = View()
    view.indices = {"Deployment": indexed("Deployment", *objects), "StatefulSet": {}}
    return view


def indexed(kind: str, *objects: dict[str, Any]) -> dict[Any, list[Any]]:
    """What kopf keeps of them."""
    index: dict[Any, list[Any]] = {}
    for each in objects:
        for key, value in index_entries(kind, each).items():
            index.setdefault(key, []).append(value)
    return index


def test_an_answer_that_kopf_is_ahead_of_is_not_taken() -> None:
    """The watch may tell of our change and of the next one before the request is answered."""
    before, later = seen("a", "1"), seen("a", "3")
    view = view_of(before)
    view.indices = view_of(later).indices
    view.note("Deployment", before, seen("a", "2"))
    found = view.get(*NAMED)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "3"


def test_an_answer_stands_until_kopf_has_seen_it() -> None:
    view = view_of(seen("a", "1"))
    before = view.seen(*NAMED)
    view.note("Deployment", before, seen("a", "2"))
    found = view.get(*NAMED)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "2"


def test_of_two_of_a_name_the_later_one_is_there() -> None:
    """Deleted and made again while nobody watched: kopf keeps both."""
    view = view_of(seen("old"), seen("new"))
    front = {"metadata": {"namespace": "shop-1", "name": "front"}, "spec": {"selector": {"app": "shop"}}}
    for _ in range(2):
        assert [each["metadata"]["uid"] for each in view.selected(front)] == ["new"]
        view.forget_vanished("Deployment", {"old"})
    view.forget_vanished("Deployment", {"old", "new"})
    assert view.get(*NAMED) is None
    assert list(view.selected(front)) == []


def test_who_belongs_together_is_found_without_looking_at_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand in a namespace, looking at all for each kept the Lease from being renewed."""
    looked_at: list[Any] = []

    def counted(service: dict[str, Any], labelled: dict[str, Any]) -> bool:
        looked_at.append(service)
        return selects(service, labelled)

    monkeypatch.setattr("controller.view.selects", counted)
    metadata = [{"namespace": "shop-1", "name": f"shop-{number}"} for number in range(100)]
    # The first label is all of theirs, as with a chart's.
    labels = [{"app": "shop", "instance": each["name"]} for each in metadata]
    workloads = [
        {"metadata": each, "spec": {"template": {"metadata": {"labels": label}}}}
        for each, label in zip(metadata, labels, strict=True)
    ]
    services = [{"metadata": each, "spec": {"selector": label}} for each, label in zip(metadata, labels, strict=True)]
    pods = [{"metadata": {**each, "labels": label}} for each, label in zip(metadata, labels, strict=True)]
    view = View()
    view.indices = {
        "Deployment": indexed("Deployment", *workloads), "StatefulSet": {}, "Service": indexed("Service", *services),
        "Pod": indexed("Pod", *pods),
    }  # fmt: skip
    found = view.selecting("shop-1", workloads[7]["spec"]["template"])
    assert [each["metadata"]["name"] for each in found] == ["shop-7"]
    assert [each["metadata"]["name"] for each in view.selected(services[8])] == ["shop-8"]
    assert [each["metadata"]["name"] for each in view.selected_pods(services[9])] == ["shop-9"]
    assert len(looked_at) == 2


def test_a_service_without_a_selector_is_in_front_of_nothing() -> None:
    view = view_of(seen("a"))
    for spec in ({}, {"selector": None}, {"selector": {}}):
        service = {"metadata": {"namespace": "shop-1", "name": "front"}, "spec": spec}
        assert list(view.selected(service)) == []
        assert list(index_entries("Service", service)) == [("shop-1", "front")]


async def test_pods_that_do_not_answer_keep_no_workload_waiting() -> None:
    """Rule 6: nobody stalls the others."""
    done = asyncio.Event()

    async def look(key: Key) -> None:
        if key.kind == "Pod":
            await asyncio.Future[None]()
        done.set()

    queue = WorkQueue(look, Metrics(), ("Pod", "Deployment"))
    for number in range(10 * WORKERS_OTHERWISE):
        queue.add(Key("Pod", "shop", str(number)))
    queue.add(Key("Deployment", "shop", "shop"))
    running = asyncio.create_task(queue.run())
    await asyncio.wait_for(done.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Leases:
    """An API that holds one Lease; `failures` are raised first."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.failures: list[ApiError] = []
        self.silent = False

    async def get(self, *_: str) -> dict[str, Any]:
        if self.silent:
            await asyncio.Future[None]()
        if self.failures:
            raise self.failures.pop()
        if self.lease is None:
            raise ApiError(404, "none")
        return self.lease

    async def create(self, _group: str, _resource: str, _namespace: str, content: dict[str, Any]) -> None:
        self.lease = content

    async def patch(self, *given: Any) -> None:
        assert self.lease is not None
        self.lease = {**self.lease, "spec": {**self.lease["spec"], **given[-1]["spec"]}}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.lease.RENEW_S", 0.01)
    monkeypatch.setattr("controller.lease.RETRY_S", 0.01)


@pytest.mark.usefixtures("quick")
async def test_a_server_that_does_not_answer_ends_who_holds_the_lease() -> None:
    """Before another one may take it: a request that hangs is no reason to go on."""
    leases = Leases()
    lease = Lease(leases, "shop", "lease", "first", lease_s=1)  # type: ignore[arg-type]
    await lease.acquire()
    leases.silent = True
    with pytest.raises(LeaseLostError, match="in time"):
        await asyncio.wait_for(lease.renew(), 10)


@pytest.mark.usefixtures("quick")
async def test_a_conflict_is_no_loss_of_the_lease() -> None:
    """Somebody has labelled it between reading and writing."""
    leases = Leases()
    lease = Lease(leases, "shop", "lease", "first")  # type: ignore[arg-type]
    await lease.acquire()
    leases.failures = [ApiError(409, "the object has been modified")]
    await lease._renew_once()
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == "first"


async def test_a_lease_given_back_is_free_at_once() -> None:
    leases = Leases()
    first, second = (Lease(leases, "shop", "lease", name) for name in ("first", "second"))  # type: ignore[arg-type]
    assert await first._try()
    assert not await second._try()
    await second.release()
    assert not await second._try()
    await first.release()
    assert await second._try()


@pytest.mark.parametrize("name", ["a" * 199 + "-" + "b" * 40, "a" * 188 + "." + "b" * 60, "a.b"])
async def test_names_made_of_names_are_names(name: str) -> None:
    """RFC 1123: what is cut off may leave a hyphen or a dot at the end."""
    posted: list[str] = []

    class Api:
        async def create(self, *given: Any) -> None:
            posted.append(given[-1]["metadata"]["name"])

    about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}}
    await Events(Api(), lambda: 0.0).normal(about, "Held", "words")  # type: ignore[arg-type]
    for made in (*posted, derived_name({**about, "kind": "Deployment"}, "-interceptor-token")):
        assert SUBDOMAIN.fullmatch(made), made
        assert len(made) <= 253


def test_a_probe_that_comes_back_is_moved_again() -> None:
    """`kubectl apply` of the original manifest gives it back, and leaves the sidecar alone."""
    probe = {"httpGet": {"path": "/ready", "port": "web"}}
    injected = with_sidecar(template(readinessProbe=probe), Wanted(), **ADDED)
    injected["spec"]["containers"][0]["readinessProbe"] = probe
    again = with_sidecar(injected, Wanted(), **ADDED)
    assert "readinessProbe" not in again["spec"]["containers"][0]
    facts = injected_facts(again["metadata"]["annotations"])
    assert facts is not None
    assert facts["readinessProbe"] == probe
    assert with_sidecar(again, Wanted(), **ADDED) is again


def test_a_volume_that_was_taken_away_is_given_back() -> None:
    injected = with_sidecar(template(), Wanted(), **ADDED)
    whole = [*injected["spec"]["volumes"]]
    injected["spec"]["volumes"] = whole[1:]
    assert with_sidecar(injected, Wanted(), **ADDED)["spec"]["volumes"] == whole
