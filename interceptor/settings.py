"""What an ambassador is told at its start: the options of `interceptor run`, checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from interceptor.address import Address, TargetAddress, UnixAddress
from interceptor.checkpoint.options import CheckpointOptions
from interceptor.divergence import OnDivergence
from interceptor.divergence_report import SECRET_FIELDS
from interceptor.errors import ConfigurationError
from interceptor.incident import OnUnclean
from interceptor.journal import Durability
from interceptor.limits import Limits
from interceptor.order import Order
from interceptor.pipelining import Pipelining
from interceptor.retention import Retention
from interceptor.server_tls import TlsFiles
from interceptor.target.local_address import is_loopback
from interceptor.target.whereabouts import is_local
from interceptor.target_tls import TargetTls


class Detection(Enum):
    """How the death of a target that we did not start is told from a closed connection."""

    PROCESS = "process"
    LISTENER = "listener"
    CONNECTION = "connection"
    BOOT_ID = "http:PATH"


def parse_detection(text: str) -> tuple[Detection, str | None]:
    """Read `--detect`: the way, and the path of the boot id where that is the way.  Raises ConfigurationError."""
    kind, colon, path = text.partition(":")
    if kind == "http" and colon:
        if not re.fullmatch("/[!-~]*", path):
            raise ConfigurationError(f"--detect {text}: a path begins with /, as in --detect http:/boot-id")
        return Detection.BOOT_ID, path
    if text not in (Detection.PROCESS.value, Detection.LISTENER.value, Detection.CONNECTION.value):
        raise ConfigurationError(f"--detect {text}: expected process, listener, connection or http:PATH")
    return Detection(text), None


@dataclass(frozen=True)
class Settings:
    """`admin` is None where the control endpoints share the listener's port.  `command` starts the target.

    `compat`: the prototype's controllers may drive us, which know neither a token nor that reading changes nothing.
    """

    target: TargetAddress
    listen: Address | UnixAddress
    admin: Address | UnixAddress | None
    log_url: str
    admin_token: str | None = None
    admin_tls: TlsFiles | None = None
    compat: bool = False
    target_tls: TargetTls | None = None
    listen_tls: TlsFiles | None = None
    listen_unix_mode: int = 0o660
    proxy_protocol: bool = False
    durability: Durability = Durability.STRICT
    record_all: bool = True
    order: Order = field(default_factory=Order)
    lanes: int | None = None
    pipelining: Pipelining = Pipelining.AUTO
    bypass: Sequence[str] = ()
    detection: Detection | None = None
    boot_id_path: str | None = None
    on_unclean: OnUnclean = OnUnclean.ASSUME_APPLIED
    ready_path: str | None = None
    tag_requests: bool = False
    hold_dry_run: bool = False
    on_divergence: OnDivergence = OnDivergence.REPORT
    divergence_ignore: Sequence[str] = ()
    redact_headers: Sequence[str] = SECRET_FIELDS
    command: Sequence[str] = ()
    retention: Retention = field(default_factory=Retention)
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)
    limits: Limits = field(default_factory=Limits)
    log_options: dict[str, int] = field(default_factory=dict)
    log_key_file: Path | None = None
    log_compression: str = "none"
    log_lock_wait_s: float = 0.0

    def lane_count(self) -> int:
        """Return how many lanes to use.  Raises ConfigurationError where so many can't be."""
        return self.order.lanes(self.lanes, self.limits.lanes_max)

    def check_admin(self) -> None:
        """Control from elsewhere asks for a token.  Raises ConfigurationError."""
        if self.compat and self.admin is not None:
            raise ConfigurationError("--compat goes with --admin same: the prototype's controllers ask port 8001")
        address = self.admin or self.listen
        if self.compat or self.admin_token is not None or isinstance(address, UnixAddress) or is_loopback(address.host):
            return
        option = f"--admin {address}" if self.admin is not None else f"--admin same with --listen {address}"
        raise ConfigurationError(
            f"{option}: whoever reaches that could control us: give --admin-token-file, or choose a loopback address"
        )

    def effective_detection(self) -> Detection:
        """Return how deaths are detected; by the listening socket where the target is local.

        Raises ConfigurationError where the listening socket was asked for and can't be seen.
        """
        local = is_local(self.target)
        if self.command and self.detection is not None:
            raise ConfigurationError(
                "--detect goes without a COMMAND: the death of a supervised target is seen by its process"
            )
        if self.detection in (Detection.LISTENER, Detection.PROCESS) and not local:
            raise ConfigurationError(
                f"--detect {self.detection.value}: {self.target} is not an address of this machine; use --detect "
                "connection, or http:PATH where the application reports a boot id"
            )
        return self.detection or (Detection.PROCESS if local else Detection.CONNECTION)
