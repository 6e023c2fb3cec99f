"""The sidecar's container and volumes, as they are added to a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controller.annotations import Wanted
from controller.names import ADMIN_PORT, LISTEN_PORT, LOG_DIRECTORY, SIDECAR, TOKEN_DIRECTORY

SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


@dataclass(frozen=True)
class SidecarPlace:
    """Where the sidecar stands: before `port` of the Pod; `token_secret` has the admin's token."""

    port: int
    token_secret: str
    default_image: str
    ready_path: str | None = None


def sidecar_container(wanted: Wanted, place: SidecarPlace) -> dict[str, Any]:
    """Return the init container, or the ordinary one where that is asked for.

    It has no startupProbe: with one, Kubernetes 1.35 does not restart an application that crashed beside it.  It
    answers the Pod's readiness, since a Pod that is not ready gets no requests, and then nobody could be held.
    """
    container: dict[str, Any] = {
        "name": SIDECAR,
        "image": wanted.image or place.default_image,
        **({"restartPolicy": "Always"} if wanted.native else {}),
        "args": _arguments(wanted, place),
        "ports": [
            {"name": "interceptor", "containerPort": LISTEN_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": ADMIN_PORT},
            "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 3,
        },
        "resources": RESOURCES,
        "securityContext": SECURITY,
        "volumeMounts": [
            {"name": "interceptor-token", "mountPath": TOKEN_DIRECTORY, "readOnly": True},
            {"name": "interceptor-log", "mountPath": LOG_DIRECTORY},
            {"name": "interceptor-spool", "mountPath": "/tmp"},
        ],
    }  # fmt: skip
    environment = _environment(wanted)
    if environment:
        container["env"] = environment
    return container


def sidecar_volumes(wanted: Wanted, place: SidecarPlace) -> list[dict[str, Any]]:
    """Return the volumes of its mounts."""
    log: dict[str, Any] = {"emptyDir": {}}
    if wanted.log_claim is not None:
        log = {"persistentVolumeClaim": {"claimName": wanted.log_claim}}
    return [
        {"name": "interceptor-token", "secret": {"secretName": place.token_secret}},
        {"name": "interceptor-log", **log},
        {"name": "interceptor-spool", "emptyDir": {}},
    ]


def _arguments(wanted: Wanted, place: SidecarPlace) -> list[str]:
    given = {argument.partition("=")[0] for argument in wanted.arguments}
    arguments = [
        "run", f"--target=http://127.0.0.1:{place.port}", f"--listen=0.0.0.0:{LISTEN_PORT}",
        f"--admin=0.0.0.0:{ADMIN_PORT}", f"--admin-token-file={TOKEN_DIRECTORY}/token",
    ]  # fmt: skip
    if "--log" not in given:
        arguments.append(f"--log=file://{LOG_DIRECTORY}/log")
    if "--ready-path" not in given and place.ready_path is not None:
        arguments.append(f"--ready-path={_literal(place.ready_path)}")
    # Shorter than the Pod's usual grace period of 30 s.
    if "--drain-timeout-s" not in given:
        arguments.append("--drain-timeout-s=20")
    # A Pod that is deleted has it for the grace period, beside its successor.
    if wanted.log_outlives_pod and "--log-lock-wait-s" not in given:
        arguments.append("--log-lock-wait-s=60")
    return arguments + [
        argument if argument.startswith("--log=") else _literal(argument) for argument in wanted.arguments
    ]


def _literal(argument: str) -> str:
    """Keep the kubelet from replacing `$(NAME)`."""
    return argument.replace("$(", "$$(")


def _environment(wanted: Wanted) -> list[dict[str, Any]]:
    environment: list[dict[str, Any]] = []
    if wanted.log is not None and "$(POD_NAME)" in wanted.log:
        environment.append({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    if wanted.log_password_secret is not None:
        reference = {"name": wanted.log_password_secret, "key": "password"}
        environment.append({"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": reference}})
    return environment
