"""What `interceptor run` is told about the kubelet: where it is, which container is meant, and who we are to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from interceptor.address import Address
from interceptor.checkpoint.errors import EngineUnusableError

DEFAULT_PORT = 10250

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a container's token, the cluster's CA and the Pod's namespace."""

# RFC 1123 labels, joined by dots in the names of Pods: nothing that would be another path.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class KubeletOptions:
    """`node` is HOST or HOST:PORT.  `archive_dir` is where the node's directory of archives is mounted for us."""

    node: str | None = None
    namespace: str | None = None
    pod: str | None = None
    container: str | None = None
    token_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    ca_file: Path | None = None
    server_name: str | None = None
    archive_dir: Path | None = None
    restore: bool = False

    def completed(self, service_account: Path = SERVICE_ACCOUNT) -> KubeletOptions:
        """Return them with what the service account brings.  Raises EngineUnusableError for what is missing."""
        options = self
        if options.namespace is None and (service_account / "namespace").exists():
            options = replace(options, namespace=(service_account / "namespace").read_text().strip())
        if options.ca_file is None and (service_account / "ca.crt").exists():
            options = replace(options, ca_file=service_account / "ca.crt")
        if options.token_file is None and options.client_cert is None:
            options = replace(options, token_file=service_account / "token")
        options._check()
        return options

    @property
    def address(self) -> Address:
        """Where the kubelet listens.  Raises EngineUnusableError."""
        text = self.node or ""
        host, colon, port = text.rpartition(":")
        if not colon or "]" in port or (text.count(":") > 1 and not text.startswith("[")):
            host, port = text, str(DEFAULT_PORT)
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise EngineUnusableError(f"--kubelet-node {text}: write HOST or HOST:PORT")
        return Address(host, int(port))

    def _check(self) -> None:
        for name, value in (
            ("node", self.node), ("namespace", self.namespace), ("pod", self.pod), ("container", self.container),
        ):  # fmt: skip
            if not value:
                raise EngineUnusableError(
                    f"--checkpoint-engine kubelet: --kubelet-{name} is missing (INTERCEPTOR_KUBELET_{name.upper()}; "
                    "node and Pod come from the downward API)"
                )
            if name != "node" and not _NAME.fullmatch(value):
                raise EngineUnusableError(f"--kubelet-{name} {value}: that is no name in Kubernetes")
        _ = self.address
        if (self.client_cert is None) != (self.client_key is None):
            raise EngineUnusableError("--kubelet-client-cert and --kubelet-client-key go together")
        if self.restore and self.archive_dir is None:
            raise EngineUnusableError(
                "--kubelet-restore: the log is trimmed only behind archives that were read back, so name the mounted "
                "directory of the node's archives: --kubelet-archive-dir"
            )
        if self.archive_dir is not None and not self.archive_dir.is_dir():
            raise EngineUnusableError(f"--kubelet-archive-dir {self.archive_dir}: there is no such directory")
