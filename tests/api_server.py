"""A real kube-apiserver on a real etcd, from the folder that KUBEBUILDER_ASSETS names (setup-envtest's convention).

RBAC is on, and there is an audit log; there are no controllers, so nothing makes Pods, service accounts or endpoints.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.processes import free_port
from tests.certificates import Authority

Object = dict[str, Any]

ADMIN_TOKEN = "of-the-cluster-administrator"
# Where other builds of the machine or of CI take the processor.
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0
HOW = "set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd, of setup-envtest or `make kube-apiserver`"

# Who has asked for what; bodies are not needed.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata"}],
}  # fmt: skip


def assets() -> Path | None:
    """Return the folder, None where there is none."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if not named:
        return None
    folder = Path(named).resolve()
    return folder if all(os.access(folder / name, os.X_OK) for name in ("kube-apiserver", "etcd")) else None


class ApiServer:
    """Both processes; `restart` kills the API server and starts it again on the same etcd."""

    def __init__(self, folder: Path, directory: Path) -> None:
        self._folder = folder
        self._directory = directory
        self._authority = Authority(directory)
        self._certificate = self._authority.sign("apiserver", "127.0.0.1", "localhost", "kubernetes.default.svc")
        self._etcd_port, self._peer_port, self.port = free_port(), free_port(), free_port()
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca_file = self._authority.ca_file
        self.version: tuple[int, int] = (0, 0)
        self.audit_log = directory / "audit.log"
        self._defined = False
        self._write_files()

    def __enter__(self) -> Self:
        try:
            self._etcd = self._run(
                "etcd", f"--data-dir={self._directory / 'etcd'}", "--unsafe-no-fsync",
                f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
                f"--advertise-client-urls=http://127.0.0.1:{self._etcd_port}",
                f"--listen-peer-urls=http://127.0.0.1:{self._peer_port}",
            )  # fmt: skip
            self.start()
            said = self.ask("GET", "/version")
            self.version = (int(said["major"]), int(re.sub(r"\D.*", "", said["minor"])))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._etcd is not None:
            _end(self._etcd, signal.SIGTERM)

    def start(self) -> None:
        """Return once it is ready."""
        directory, (certificate, key) = self._directory, self._certificate
        self._server = self._run(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self._etcd_port}", f"--secure-port={self.port}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
            f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}", "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.43.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={directory / 'accounts.key'}",
            f"--service-account-key-file={directory / 'accounts.key'}",
            f"--token-auth-file={directory / 'tokens.csv'}", f"--audit-policy-file={directory / 'audit.json'}",
            f"--audit-log-path={self.audit_log}", "--audit-log-mode=blocking",
            # Nothing makes the account `default` of a namespace, without which it would let no Pod in.
            "--disable-admission-plugins=ServiceAccount",
        )  # fmt: skip
        self._wait_until_ready()

    def kill(self) -> None:
        """End the API server as a crash does; etcd stays."""
        if self._server is not None:
            _end(self._server, signal.SIGKILL)
            self._server = None

    def restart(self) -> None:
        """Kill it and start it again, on the same port and etcd."""
        self.kill()
        self.start()

    def ask(self, method: str, path: str, content: Object | None = None) -> Object:
        """Return the answer to the administrator."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"}
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        context = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return dict(json.loads(answer.read()))

    def define_checkpoints(self, crd: str) -> None:
        """Have the definition of Checkpoints in place, once."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        if not self._defined:
            self.ask("POST", path, yaml.safe_load(crd))
            self._defined = True
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            found = self.ask("GET", f"{path}/checkpoints.crsc.io").get("status", {}).get("conditions") or []
            if any(each["type"] == "Established" and each["status"] == "True" for each in found):
                return
            time.sleep(0.1)
        raise RuntimeError(f"Checkpoints are not established: {found}")

    def kubeconfig(self, path: Path, token: str = ADMIN_TOKEN, namespace: str = "default") -> Path:
        """Write a kubeconfig."""
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": cluster}], "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": namespace}}],
        }  # fmt: skip
        path.write_text(json.dumps(content))
        return path

    def _write_files(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self._directory / "accounts.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
        (self._directory / "tokens.csv").write_text(f'{ADMIN_TOKEN},administrator,0,"system:masters"\n')
        (self._directory / "audit.json").write_text(json.dumps(AUDIT_POLICY))

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [str(self._folder / name), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self._directory, start_new_session=True,
            )  # fmt: skip

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            assert self._server is not None
            if self._server.poll() is not None or time.monotonic() > deadline:
                said = (self._directory / "kube-apiserver.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"kube-apiserver is not ready: {said}")
            try:
                # Not /readyz: what it still waits for in a new etcd takes seconds, and no test needs it.
                self.ask("GET", "/api/v1/namespaces/kube-system")
                self.ask("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin")
                self.ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
                return
            except OSError:
                time.sleep(0.1)


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    # etcd of PyPI is a script that starts the program: end both.
    try:
        os.killpg(process.pid, number)
        process.wait(STOP_TIMEOUT_S)
    except ProcessLookupError:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)
