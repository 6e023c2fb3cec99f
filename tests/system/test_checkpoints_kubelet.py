"""The engine `kubelet` in a Pod of a real containerd, with CRIU: a double passes the kubelet's calls on over CRI."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from counting import Clients, applied, apply, digest_of, start_counter
from support import PYTHON, ROOT, Processes, RunningInterceptor, Server, accepts, wait_until

from interceptor.checkpoint.kubelet_client import ATTEMPTS_MAX
from tests.certificates import Authority
from tests.checkpoint.containerd import COUNTER, GATEWAY, Containerd, missing, running_containerd
from tests.checkpoint.kubelet_double import TOKEN, KubeletDouble, RuntimeRefusesError, running_kubelet
from tests.checkpoint.registry import Registry, running_registry

ADMIN_TOKEN = "let-me-in"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry() as made:
        yield made


@pytest.fixture
def containerd(registry: Registry) -> Iterator[Containerd]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with running_containerd(registry) as made:
        yield made


class Pod:
    """A sandbox, the application's container in it, and an interceptor beside it in the same network namespace."""

    def __init__(self, containerd: Containerd, name: str) -> None:
        self.containerd = containerd
        self.sandbox, self.ip = containerd.run_pod(name)
        self.application = Server(self.ip, 8000)
        self.container = ""

    def run_application(self, image: str | None = None) -> None:
        command = () if image else ("/usr/bin/python3", "-c", COUNTER)
        self.container = self.containerd.run_container(self.sandbox, "app", image, command)
        wait_until(lambda: accepts(self.ip, 8000), "the application")

    def run_interceptor(self, processes: Processes, directory: Path, *options: str) -> RunningInterceptor:
        token_file = directory / "admin-token"
        token_file.write_text(ADMIN_TOKEN)
        process, output = processes.start(
            ["nsenter", f"--net={self.containerd.network_namespace(self.sandbox)}",
             PYTHON, "-m", "interceptor", "run", "--target", "http://127.0.0.1:8000", "--listen", f"{self.ip}:8001",
             "--admin", f"{self.ip}:8002", "--admin-token-file", str(token_file), "--log", f"file://{directory}/log",
             *options],
            name="interceptor",
        )  # fmt: skip
        served = RunningInterceptor(self.ip, 8001, process, output, Server(self.ip, 8002))

        def active() -> bool:
            assert process.poll() is None, output.read_text()
            return accepts(self.ip, 8002) and ask(served, "GET", "/state")["state"] == "Active"

        wait_until(active, f"the interceptor; {output}")
        return served


def ask(interceptor: RunningInterceptor, method: str, path: str) -> Any:
    """Ask the admin."""
    request = urllib.request.Request(
        f"{interceptor.admin_url}{path}", method=method, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=60.0) as answer:
        return json.load(answer)


def refusal(interceptor: RunningInterceptor) -> str:
    """Return why no checkpoint was taken."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        ask(interceptor, "POST", "/checkpoint")
    with raised.value as answer:
        return str(json.load(answer)["detail"])


def build_image(interceptor: RunningInterceptor, directory: Path, layout: Path, name: str) -> None:
    """Make an image of the last checkpoint, from the command line."""
    assert interceptor.admin is not None
    subprocess.run(
        [PYTHON, "-m", "interceptor", "checkpoint", "build-image", "kubelet-20", "--tag", name, "--output", str(layout),
         "--archive", str(directory / "log" / "checkpoints" / "kubelet-20"),
         "--admin", interceptor.admin.authority, "--admin-token-file", str(directory / "admin-token")],
        check=True, cwd=ROOT, timeout=60.0,
    )  # fmt: skip


def kubelet_options(directory: Path, authority: Authority, port: int, archives: Path) -> list[str]:
    token_file = directory / "token"
    token_file.write_text(TOKEN)
    return [
        "--checkpoint-engine", "kubelet", "--kubelet-node", f"{GATEWAY}:{port}", "--kubelet-namespace", "default",
        "--kubelet-pod", "one", "--kubelet-container", "app", "--kubelet-token-file", str(token_file),
        "--kubelet-ca-file", str(authority.ca_file), "--kubelet-archive-dir", str(archives), "--kubelet-restore",
    ]  # fmt: skip


@pytest.mark.timeout(240)
async def test_20_checkpoints_under_load_and_the_last_restored_into_a_new_pod(
    processes: Processes, containerd: Containerd, registry: Registry, tmp_path: Path
) -> None:
    """Rules 3 and 4: all succeed, no client sees an error; the new Pod gets the tail alone, and its state is exact."""
    import grpc  # noqa: PLC0415

    one = Pod(containerd, "one")
    one.run_application()
    archives = tmp_path / "archives"
    archives.mkdir()

    def runtime(_container: str, timeout_s: int) -> str:
        archive = archives / f"checkpoint-one_default-app-{len(double.calls)}.tar"
        try:
            containerd.checkpoint(one.container, archive, timeout_s)
        except grpc.RpcError as error:
            raise RuntimeRefusesError(error.details()) from error  # type: ignore[attr-defined]
        return str(archive)

    double = KubeletDouble(runtime)
    authority = Authority(tmp_path)
    async with running_kubelet(double, authority.server_context("kubelet", GATEWAY), "0.0.0.0"):
        options = kubelet_options(tmp_path, authority, double.port, archives)
        interceptor = await asyncio.to_thread(
            one.run_interceptor, processes, tmp_path, *options, "--retain", "checkpoints:2"
        )
        clients = Clients(interceptor, 10)
        for number in range(1, 21):
            await clients.acknowledged(50)
            entry = await asyncio.to_thread(ask, interceptor, "POST", "/checkpoint")
            assert (entry["id"], entry["verified"]) == (f"kubelet-{number}", True)
        await clients.acknowledged(50)
        seen = await clients.finish()
        with socket.create_connection((one.ip, 8000)):
            refused = await asyncio.to_thread(refusal, interceptor)
    assert "Is somebody else connected to the application?" in refused, "CRIU keeps no connection: this is what helped"
    assert (seen.refused, seen.broken, seen.wrong) == ([], [], [])
    assert len(double.calls) == 20 + ATTEMPTS_MAX, "none of the 20 was tried twice"
    layout = tmp_path / "image"
    await asyncio.to_thread(build_image, interceptor, tmp_path, layout, f"{registry.host}/app:20")
    registry.images["app"] = layout

    assert interceptor.process is not None
    interceptor.process.terminate()
    await asyncio.to_thread(interceptor.process.wait, 30.0)
    await asyncio.to_thread(containerd.remove_pod, one.sandbox)
    await asyncio.to_thread(containerd.pull, f"{registry.host}/app:20")
    two = Pod(containerd, "two")
    await asyncio.to_thread(two.run_application, f"{registry.host}/app:20")
    interceptor = await asyncio.to_thread(
        two.run_interceptor, processes, tmp_path, *options, "--restored-checkpoint", entry["id"]
    )
    recovery = (await asyncio.to_thread(ask, interceptor, "GET", "/state"))["last_recovery"]
    assert recovery["from"] == entry["version"] + 1
    assert recovery["divergences"] == 0
    operations = await asyncio.to_thread(applied, two.application)
    assert sorted(operations) == sorted(seen.acknowledged)
    undisturbed = start_counter(processes)
    await asyncio.to_thread(apply, undisturbed, operations)
    assert await asyncio.to_thread(digest_of, two.application) == await asyncio.to_thread(digest_of, undisturbed)
