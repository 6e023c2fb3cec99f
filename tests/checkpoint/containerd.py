"""A containerd of our own for tests: Pods, containers, checkpoints and restores over CRI, as the kubelet has them.

`scripts/containerd.sh` (`make containerd`) brings the parts.  Everything is kept in one folder and ends with it.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.checkpoint.registry import Registry

ROOT = Path(__file__).parents[2]
PARTS = ROOT / ".containerd"
GATEWAY = "10.213.7.1"
"""Where a Pod reaches this machine."""

# The example without uvloop, which the image's Python has not.
COUNTER = """
import asyncio, sys
sys.path.insert(0, "/srv")
from bench.counter.application import Application
from bench.counter.server import listen
from bench.counter.state import Counters

async def serve():
    server = await listen(Application(Counters(journal=True)), "0.0.0.0", 8000)
    await server.serve_forever()

asyncio.run(serve())
"""
START_S = 20.0
CALL_S = 60.0

_CONFIG = """
version = 3
root = "{root}/root"
state = "{root}/state"
[grpc]
address = "{root}/socket"
[ttrpc]
address = "{root}/ttrpc"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{image}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{root}/hosts"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{parts}/cni"]
conf_dir = "{root}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{parts}/bin/runc"
SystemdCgroup = false
"""
_NETWORK = {
    "cniVersion": "1.0.0",
    "name": "tests",
    "plugins": [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.213.7.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}


def missing() -> str | None:
    """Return why there can be no containerd here, None if there can."""
    if os.geteuid() != 0:
        return "containerd needs root"
    if not (PARTS / "complete").exists():
        return "no containerd: run `make containerd`"
    if shutil.which("iptables-restore") is None:
        return "no iptables, which CRIU locks the network with"
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, timeout=CALL_S).returncode:
        return "this machine lets nobody make namespaces"
    if importlib.util.find_spec("grpc_tools") is None:
        return "no grpcio-tools: install the extra `dev`"
    return None


class Containerd:
    """One running containerd.  Only what a kubelet asks of it."""

    def __init__(self, root: Path, image: str) -> None:
        """image: what sandboxes are made of, and containers unless they say otherwise; from a registry."""
        self.root = root
        self._image = image
        self._api: Any = None
        self._services: Any = None
        self._channel: Any = None
        self._runtime: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        self._sandboxes: dict[str, Any] = {}

    def start(self) -> None:
        root = self.root
        (root / "cni").mkdir(parents=True)
        (root / "config.toml").write_text(_CONFIG.format(root=root, parts=PARTS, image=self._image))
        host = self._image.partition("/")[0]
        (root / "hosts" / host).mkdir(parents=True)
        (root / "hosts" / host / "hosts.toml").write_text(f'server = "http://{host}"\n')
        network = json.loads(json.dumps(_NETWORK))
        network["plugins"][0]["ipam"]["dataDir"] = str(root / "ipam")
        (root / "cni" / "10-tests.conflist").write_text(json.dumps(network))
        environment = {**os.environ, "PATH": f"{PARTS}/bin:{os.environ['PATH']}"}
        with (root / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [PARTS / "bin" / "containerd", "--config", root / "config.toml"],
                env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._connect()
        self.pull(self._image)

    def stop(self) -> None:
        for sandbox in list(self._sandboxes):
            self.remove_pod(sandbox)
        if self._process is not None:
            self._process.terminate()
            self._process.wait(CALL_S)

    def pull(self, image: str) -> None:
        api = self._api
        images = self._services.ImageServiceStub(self._channel)
        images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=image)), timeout=CALL_S)

    def run_pod(self, name: str) -> tuple[str, str]:
        """Return the sandbox's id and IP address."""
        api = self._api
        config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=name, uid=name, namespace="default"), hostname=name,
            log_directory=str(self.root / "logs" / name), linux=api.LinuxPodSandboxConfig(),
        )  # fmt: skip
        sandbox = self._call("RunPodSandbox", config=config).pod_sandbox_id
        self._sandboxes[sandbox] = config
        return sandbox, self._call("PodSandboxStatus", pod_sandbox_id=sandbox).status.network.ip

    def network_namespace(self, sandbox: str) -> str:
        """Return its path."""
        status = self._call("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
        return f"/proc/{json.loads(status.info['info'])['pid']}/ns/net"

    def run_container(self, sandbox: str, name: str, image: str | None = None, command: tuple[str, ...] = ()) -> str:
        """Return the container's id.  `image` may be the path of a checkpoint archive."""
        api = self._api
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name), image=api.ImageSpec(image=image or self._image), command=command,
            log_path=f"{name}.log", linux=api.LinuxContainerConfig(),
        )  # fmt: skip
        created = self._call(
            "CreateContainer", pod_sandbox_id=sandbox, config=config, sandbox_config=self._sandboxes[sandbox]
        )
        self._call("StartContainer", container_id=created.container_id)
        return str(created.container_id)

    def checkpoint(self, container: str, archive: Path, timeout_s: int = 0) -> None:
        self._call("CheckpointContainer", container_id=container, location=str(archive), timeout=timeout_s)

    def remove_pod(self, sandbox: str) -> None:
        self._sandboxes.pop(sandbox)
        self._call("StopPodSandbox", pod_sandbox_id=sandbox)
        self._call("RemovePodSandbox", pod_sandbox_id=sandbox)

    def _call(self, method: str, **fields: Any) -> Any:
        request = getattr(self._api, f"{method}Request")(**fields)
        return getattr(self._runtime, method)(request, timeout=CALL_S)

    def _connect(self) -> None:
        import grpc  # noqa: PLC0415

        api, services = _stubs(self.root / "stubs")
        deadline = time.monotonic() + START_S
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.root / "socket")) == 0:
                    break
            assert time.monotonic() < deadline, (self.root / "log").read_text()[-4000:]
            time.sleep(0.02)
        channel = grpc.insecure_channel(f"unix:{self.root}/socket")
        grpc.channel_ready_future(channel).result(timeout=START_S)
        self._api, self._services, self._channel = api, services, channel
        self._runtime = services.RuntimeServiceStub(channel)


@contextmanager
def running_containerd(registry: Registry) -> Iterator[Containerd]:
    """A containerd in a folder of its own; its path is short, because sockets are in it."""
    root = Path(tempfile.mkdtemp(prefix="cd", dir="/tmp"))
    write_base_image(root / "base")
    registry.images["base"] = root / "base"
    made = Containerd(root, f"{registry.host}/base:1")
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(root, ignore_errors=True)


def write_base_image(layout: Path) -> None:
    """Write an OCI layout: a Python, which sleeps unless a container says otherwise, and in /srv the example."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    plain = [(PARTS / "rootfs.tar").read_bytes(), _example()]
    layers = [blob("layer.v1.tar+gzip", gzip.compress(layer, 1)) for layer in plain]
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/python3", "-c", "import signal; signal.pause()"],
            "Env": ["PATH=/usr/bin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in plain]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", json.dumps(config).encode()),
        "layers": layers,
    }
    described = blob("manifest.v1+json", json.dumps(manifest).encode())
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))


def _example() -> bytes:
    """Return a layer with the example application."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for source in [ROOT / "bench" / "__init__.py", *sorted((ROOT / "bench" / "counter").glob("*.py"))]:
            tar.add(source, f"srv/{source.relative_to(ROOT)}")
    return content.getvalue()


def _stubs(folder: Path) -> tuple[Any, Any]:
    """Return the CRI's messages and services, made from its definition."""
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PARTS}", f"--python_out={folder}",
         f"--grpc_python_out={folder}", "api.proto"],
        check=True, timeout=CALL_S,
    )  # fmt: skip
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("api_pb2"), importlib.import_module("api_pb2_grpc")
    finally:
        sys.path.remove(str(folder))
