"""What a controller is told at its start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Any

from controller.names import ADMIN_PORT


def admin_url(pod: dict[str, Any]) -> str:
    """Return where a Pod's sidecar listens for control."""
    address = pod["status"]["podIP"]
    return f"http://[{address}]:{ADMIN_PORT}" if ":" in address else f"http://{address}:{ADMIN_PORT}"


@dataclass(frozen=True)
class Config:
    """`key`: what the sidecars' tokens are computed from.  `namespaces`: empty for all."""

    sidecar_image: str
    key: bytes
    namespaces: tuple[str, ...] = ()
    unready_max_s: float = 30.0
    clock: Callable[[], float] = time
    admin_url: Callable[[dict[str, Any]], str] = admin_url
