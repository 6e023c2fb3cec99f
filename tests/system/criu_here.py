"""The CRIU of this machine; a test is skipped where there is none that works."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest
from support import ROOT


@functools.cache
def working_criu() -> str:
    """Return the program; skips the test where it is missing or can't work."""
    candidates = [os.environ.get("INTERCEPTOR_CRIU_BINARY"), str(ROOT / ".criu" / "criu"), shutil.which("criu")]
    for binary in candidates:
        if binary is not None and os.access(binary, os.X_OK):
            checked = subprocess.run([binary, "check"], capture_output=True, text=True, timeout=30.0)
            if checked.returncode == 0:
                return binary
    pytest.skip("no CRIU that works here: `make criu`, as root")


def criu_options() -> tuple[str, ...]:
    """Return what chooses the engine."""
    return ("--checkpoint-engine", "criu", "--criu-binary", working_criu())
