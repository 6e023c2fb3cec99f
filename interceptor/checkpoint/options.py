"""What `interceptor run` is told about checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from interceptor.checkpoint.kubelet_options import KubeletOptions
from interceptor.errors import ConfigurationError


@dataclass(frozen=True)
class CheckpointOptions:
    """`restored`: the checkpoint, id or version, whose image every incarnation of the target comes from.

    `directory` is None for the usual place beside a file log.  Every trigger that is None or False is off."""

    engine: str = "mark"
    path: str | None = None
    directory: Path | None = None
    app_version: str | None = None
    interval_s: float | None = None
    every_events: int | None = None
    recovery_time_objective_s: float | None = None
    on_stop: bool = False
    criu_binary: str = "criu"
    compression: str = "none"
    idle_after_s: float | None = None
    kubelet: KubeletOptions = field(default_factory=KubeletOptions)
    restored: str | None = None

    def check_triggers(self, *, holds_state: bool, starts_target: bool) -> None:
        """Raise ConfigurationError for what no checkpoint of this engine could serve."""
        if self.idle_after_s is not None and not starts_target:
            raise ConfigurationError(
                f"--idle-checkpoint-after: the engine {self.engine} can't bring a stopped target back; choose "
                "--checkpoint-engine criu"
            )
        if self.compression != "none" and not starts_target:
            raise ConfigurationError(
                f"--checkpoint-compression: the engine {self.engine} has no images to compress; choose "
                "--checkpoint-engine criu, or let the application compress what it hands out"
            )
        if self.recovery_time_objective_s is not None and not holds_state:
            raise ConfigurationError(
                f"--recovery-time-objective: the engine {self.engine} holds no state, so no recovery gets shorter by "
                "its checkpoints; choose another --checkpoint-engine"
            )
