"""One controller at a time: who does not hold the Lease changes nothing, and who ends gives it back first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import controller.main
from controller.admin import Admin
from controller.api import Api
from controller.config import Config
from controller.errors import AdminError, ApiError
from controller.lease import Lease, LeaseLostError
from controller.metrics import Metrics
from tests.controller.cluster import IMAGE, KEY, LEASE, ON, Cluster, deployment, service, until
from tests.controller.test_process import end, end_by_itself, kubeconfig, start


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def opened(cluster: Cluster) -> AsyncIterator[Api]:
    api = Api(lambda: cluster.controller_info, Metrics())
    try:
        yield api
    finally:
        await api.close()


async def test_a_former_holder_sends_nothing(cluster: Cluster) -> None:
    """It was stopped for longer than the Lease holds, and goes on in the middle of its work."""
    clock = Clock()
    async with opened(cluster) as api:
        lease = Lease(api, cluster.namespace, LEASE, "first", clock)
        api.may_write = lease.is_held
        with pytest.raises(ApiError, match="not sent"):
            await api.create("", "events", cluster.namespace, {})
        assert await lease._try()
        clock.now_s += 9
        await api.delete("", "secrets", cluster.namespace, "none")
        clock.now_s += 2
        asked = len(cluster.asked())
        with pytest.raises(ApiError, match="not sent"):
            await api.delete("", "secrets", cluster.namespace, "none")
        assert len(cluster.asked()) == asked
        # Renewed, as it was nobody else's: it goes on.
        assert await lease._try()
        await api.delete("", "secrets", cluster.namespace, "none")


async def test_a_former_holder_tells_sidecars_nothing(cluster: Cluster) -> None:
    """A hold of its would be nobody's to take back."""
    admin = Admin(cluster.session, "http://127.0.0.1:1", "token", Metrics(), lambda: False)
    with pytest.raises(AdminError, match="not sent"):
        await admin.hold("controller")


async def test_a_late_answer_gives_no_more_time(cluster: Cluster) -> None:
    """Others count from when the API server has it, which may be long before its answer is here."""
    clock = Clock()
    async with opened(cluster) as api:
        lease = Lease(api, cluster.namespace, LEASE, "first", clock)
        create = api.create

        async def create_slowly(*given: object) -> None:
            await create(*given)  # type: ignore[arg-type]
            clock.now_s += 20

        api.create = create_slowly  # type: ignore[method-assign,assignment]
        await lease.acquire()
        assert not lease.is_held()


async def test_a_deleted_lease_is_not_taken_before_its_holder_knows(cluster: Cluster) -> None:
    """And a release that is uninstalled leaves no new one behind."""
    clock = Clock()
    async with opened(cluster) as api:
        first, second = (Lease(api, cluster.namespace, LEASE, name, clock) for name in ("first", "second"))
        assert await first._try()
        assert not await second._try()
        await cluster.delete("Lease", LEASE)
        assert not await second._try()
        with pytest.raises(LeaseLostError, match="deleted"):
            await first._renew_once()
        assert await cluster.get("Lease", LEASE) is None
        clock.now_s += 16
        assert await second._try()


async def test_the_chart_s_lease_without_a_holder_is_free(cluster: Cluster) -> None:
    await cluster.create("Lease", LEASE, {})
    async with opened(cluster) as api:
        assert await Lease(api, cluster.namespace, LEASE, "first")._try()


async def test_the_lease_is_given_back_before_kopf_ends(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf takes seconds, and waits for tasks that are not its own."""
    stop, holders = asyncio.Event(), []

    async def operate(config: Config, made: object, stop: asyncio.Event, end_kopf: asyncio.Event) -> None:
        stop.set()
        await end_kopf.wait()
        found = await cluster.get("Lease", LEASE)
        assert found is not None
        holders.append(found["spec"]["holderIdentity"])

    monkeypatch.setattr("controller.main.operate", operate)
    config = Config(IMAGE, KEY, (cluster.namespace,))
    made = controller.main.Controller(config, lambda: cluster.controller_info, cluster.session, Metrics())
    try:
        lease = Lease(made.api, cluster.namespace, LEASE, "first")
        await lease.acquire()
        await controller.main._lead(config, made, stop, lease)
    finally:
        await made.api.close()
    assert holders == [""]


async def test_two_processes_take_turns(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    config = kubeconfig(tmp_path, cluster)

    async def controlling() -> asyncio.subprocess.Process:
        return await start(
            "controller.main", "--sidecar-image=i", f"--key-file={tmp_path / 'key'}", "--metrics=127.0.0.1:0",
            f"--namespace={cluster.namespace}", f"--lease-namespace={cluster.namespace}", f"--lease-name={LEASE}",
            KUBECONFIG=str(config),
        )  # fmt: skip

    async def holder() -> str:
        found = await cluster.get("Lease", LEASE) or {"spec": {}}
        return str(found["spec"].get("holderIdentity", ""))

    def holds(process: asyncio.subprocess.Process) -> str:
        return f"_{process.pid}"

    processes = [await controlling()]
    try:
        first = processes[0]

        async def first_works() -> bool:
            return (await holder()).endswith(holds(first))

        await until(first_works, 30)
        processes.append(second := await controlling())

        async def second_works() -> bool:
            return (await holder()).endswith(holds(second))

        output = await end(first)
        assert first.returncode == 0, output
        assert not (await holder()).endswith(holds(first))
        await until(second_works, 30)
        await cluster.create("Deployment", "shop", *deployment({**ON, "crsc.io/sidecar": "container"}))
        await cluster.create("Service", "shop", service())
        await cluster.said("ServicePointed", timeout_s=30)
        taken = {"holderIdentity": "somebody else", "renewTime": "2000-01-01T00:00:00.000000Z"}
        await cluster.patch("Lease", LEASE, {"spec": taken})
        output = await end_by_itself(second)
        assert second.returncode == 1
        assert "Error: another controller has taken the Lease" in output
        assert "Traceback" not in output
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
