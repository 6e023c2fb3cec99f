"""What `interceptor run` is told about checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interceptor.errors import ConfigurationError


@dataclass(frozen=True)
class CheckpointOptions:
    """`directory` is None for the usual place beside a file log.  Every trigger that is None or False is off."""

    engine: str = "mark"
    path: str | None = None
    directory: Path | None = None
    app_version: str | None = None
    interval_s: float | None = None
    every_events: int | None = None
    recovery_time_objective_s: float | None = None
    on_stop: bool = False
    criu_binary: str = "criu"

    def check_triggers(self, *, holds_state: bool) -> None:
        """Raise ConfigurationError for an objective that no checkpoint of this engine could serve."""
        if self.recovery_time_objective_s is not None and not holds_state:
            raise ConfigurationError(
                f"--recovery-time-objective: the engine {self.engine} holds no state, so no recovery gets shorter by "
                "its checkpoints; choose another --checkpoint-engine"
            )
