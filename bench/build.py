"""Which interceptor is measured: the hot path compiled, or read from source, which costs about twice the CPU."""

import os
import subprocess
import sys

from bench.processes import ROOT

COMPILED = "hot path compiled"
_TIMEOUT_S = 30.0


class BuildError(Exception):
    """What would be measured is not what an installation runs."""


def interceptor_build() -> str:
    """What `interceptor --version` says. Raises BuildError."""
    command = [sys.executable, "-m", "interceptor", "--version"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{' '.join(command)} failed: {error}") from error
    return done.stdout.strip()


def require_compiled() -> str:
    """Return the build that is about to be measured.

    Raises BuildError for an interpreted one, unless INTERCEPTOR_COMPILED=0 asks for exactly that.
    """
    build = interceptor_build()
    if COMPILED not in build and os.environ.get("INTERCEPTOR_COMPILED") != "0":
        raise BuildError(
            f"{build}: these would be the figures of a debugging aid. `make compile` (or python setup.py build_ext "
            "--inplace) compiles it; INTERCEPTOR_COMPILED=0 measures the sources on purpose"
        )
    return build
