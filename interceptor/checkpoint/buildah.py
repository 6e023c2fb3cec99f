"""Bringing an image layout into the local storage of buildah, podman and CRI-O, from where it is pushed or run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from interceptor.checkpoint.errors import ImageError

TIMEOUT_S = 600.0


def import_layout(buildah: str, layout: Path, name: str) -> None:
    """Make the layout's image known under its name.  Raises ImageError."""
    image = _run(buildah, "pull", "--quiet", f"oci:{layout}").split()[-1]
    _run(buildah, "tag", image, name)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{' '.join(command[:2])}: {error}") from error
    if done.returncode or (not done.stdout.strip() and command[1] == "pull"):
        said = (done.stderr.strip() or "it says nothing").splitlines()[-1]
        raise ImageError(f"{' '.join(command[:2])} failed: {said}. By --output the image is written without it")
    return done.stdout
