"""The checkpoint engines that can be measured on this machine."""

import os
import shutil
from pathlib import Path

ENGINES = ("criu", "http")
_CRIU_OF_CHECKOUT = Path(__file__).parents[1] / ".criu" / "criu"


class EngineMissingError(Exception):
    """The engine can't be measured here."""


def engine_options(name: str) -> list[str]:
    """Return the options of `interceptor run` that choose an engine for the counter.  Raises EngineMissingError."""
    if name == "http":
        return ["--checkpoint-engine", "http", "--checkpoint-path", "/snapshot"]
    binary = os.environ.get("INTERCEPTOR_CRIU_BINARY")
    binary = binary or (str(_CRIU_OF_CHECKOUT) if _CRIU_OF_CHECKOUT.exists() else shutil.which("criu"))
    if binary is None or os.geteuid() != 0:
        raise EngineMissingError("the engine criu needs root and CRIU (`make criu`)")
    return ["--checkpoint-engine", "criu", "--criu-binary", binary]
