"""The command itself: a process with a kubeconfig, a real interceptor before a real application, an API server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench.processes import free_port
from controller.workload import admin_token
from tests.controller.cluster import KEY, LEASE, Cluster, until
from tests.controller.test_pods import OWNER, create_pod, dead, serving

PYTHON = sys.executable


def kubeconfig(at: Path, cluster: Cluster) -> Path:
    path, info = at / "kubeconfig", cluster.controller_info
    here = {"server": info.server, **({"certificate-authority": info.ca_path} if info.ca_path else {})}
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": here}],
        "users": [{"name": "me", "user": {"token": info.token} if info.token else {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    return path


async def start(*command: str, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        PYTHON, "-m", *command, stdout=PIPE, stderr=STDOUT, env={**os.environ, **environment}
    )


async def end(process: Process) -> str:
    """Return what it has said; a process that has to be killed fails the test."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        return await end_by_itself(process)
    except TimeoutError:
        process.kill()
        raise


async def test_the_controller_and_the_interceptor_as_processes(cluster: Cluster, tmp_path: Path) -> None:
    """The sidecar's port is fixed in a Pod, so this Pod's address is a loopback address of its own."""
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "token").write_text(admin_token(KEY, cluster.namespace, OWNER))
    port = free_port()
    address = f"127.{os.getpid() % 250 + 1}.77.9"
    target = await start("bench.counter", "--port", str(port))
    sidecar = await start(
        "interceptor", "run", f"--target=http://127.0.0.1:{port}", f"--listen={address}:8001",
        f"--admin={address}:8002", f"--admin-token-file={tmp_path / 'token'}", "--log=memory://",
    )  # fmt: skip
    controller = await start(
        "controller.main", "--sidecar-image=i", f"--key-file={tmp_path / 'key'}", "--metrics=127.0.0.1:0",
        f"--namespace={cluster.namespace}", f"--lease-namespace={cluster.namespace}", f"--lease-name={LEASE}",
        KUBECONFIG=str(kubeconfig(tmp_path, cluster)),
    )  # fmt: skip
    try:
        headers = {"Authorization": f"Bearer {(tmp_path / 'token').read_text()}"}

        async def state() -> dict[str, Any]:
            try:
                async with cluster.session.get(f"http://{address}:8002/state", headers=headers) as answer:
                    return dict(await answer.json())
            except aiohttp.ClientError:
                return {"state": "", "holds": []}

        async def active() -> bool:
            return (await state())["state"] == "Active"

        async def held() -> bool:
            return (await state())["holds"] == ["controller"]

        await until(active, 30)
        await create_pod(cluster, {**dead(), "podIP": address})
        await until(held, 30)
        assert await cluster.get("Lease", LEASE) is not None
        await cluster.set_status("Pod", "shop-1", {**serving(), "podIP": address})
        await until(active, 30)
        await cluster.said("Reprojected", "shop-1")
        output = await end(controller)
        assert controller.returncode == 0, output
        assert "Traceback" not in output, output
    finally:
        await asyncio.gather(*(end(process) for process in (controller, sidecar, target)))


async def test_what_is_wrong_with_its_options_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"short")
    for options, words in (
        (["--key-file", str(tmp_path / "none")], "No such file"),
        (["--key-file", str(tmp_path / "short")], "at least 16"),
    ):
        process = await start("controller.main", "--sidecar-image=i", *options)
        output = await end_by_itself(process)
        assert process.returncode == 2
        assert words in output
        assert "Traceback" not in output


async def end_by_itself(process: Process) -> str:
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    return output.decode()
