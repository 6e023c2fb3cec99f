"""buildah and podman where no registry is reached: a storage of their own, and bases made of Debian packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path.home() / ".cache" / "interceptor" / "image"
TOOLS = ("buildah", "podman", "mmdebstrap", "runc", "catatonit")
# The Python of the bases; the wheels have to be for the same one.
SUITE, PYTHON = "bookworm", (3, 11)
RUNTIME_PACKAGES = "python3-minimal,libpython3-stdlib,libstdc++6,ca-certificates"
BUILD_PACKAGES = f"{RUNTIME_PACKAGES},python3-venv,python3-dev,gcc,libc6-dev,dash,coreutils,grep"
IMAGE = "localhost/interceptor:test"
BUILD_TIMEOUT_S = 900.0
COMMAND_TIMEOUT_S = 120.0

CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORAGE_CONF = f"""
[storage]
driver = "overlay"
graphroot = "{CACHE}/graph"
runroot = "/run/interceptor-image-tests"
"""


class EngineError(Exception):
    """A command has failed; the text is the end of what it said."""


def missing() -> str | None:
    """Return why images can't be built here, None if they can."""
    if os.geteuid() != 0:
        return "building and running images needs root here"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(absent)} (Debian's packages of these names)"
    if sys.version_info[:2] != PYTHON:
        return f"the base images have Python {PYTHON[0]}.{PYTHON[1]}, and the wheels are fetched with another"
    return None


class Engine:
    """Runs the tools with the storage and the configuration that suit them here."""

    def __init__(self) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "containers.conf").write_text(CONTAINERS_CONF)
        (CACHE / "storage.conf").write_text(STORAGE_CONF)
        self._environment: Mapping[str, str] = {
            **os.environ,
            "CONTAINERS_CONF": str(CACHE / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(CACHE / "storage.conf"),
        }

    def run(self, *command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Return what a command prints.  Raises EngineError."""
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT, env=self._environment
        )
        if done.returncode:
            raise EngineError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-4000:]}")
        return done.stdout

    def build(self) -> str:
        """Build the Containerfile without any registry; return the image's name.  Raises EngineError."""
        base, build_base = self._base("runtime", RUNTIME_PACKAGES), self._base("build", BUILD_PACKAGES)
        wheels = self._wheels()
        arguments = {
            "BASE": base, "BUILD_BASE": build_base, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "REVISION": "abc",
        }  # fmt: skip
        self.run(
            "buildah", "bud", "--layers", "--isolation=chroot", "--pull-never", f"--volume={wheels}:/wheels:ro",
            *(f"--build-arg={name}={value}" for name, value in arguments.items()), f"--tag={IMAGE}", ".",
            timeout_s=BUILD_TIMEOUT_S,
        )  # fmt: skip
        # Housekeeping: what a build that was broken off has left may hold images.
        with suppress(EngineError):
            self.run("podman", "image", "prune", "--force")
        return IMAGE

    def _base(self, name: str, packages: str) -> str:
        """Return an image with a root file system of just these packages."""
        image, archive = f"localhost/interceptor-{name}-base:{SUITE}", CACHE / f"{name}.tar"
        if image not in self.run("podman", "images", "--format={{.Repository}}:{{.Tag}}"):
            bootstrap = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--include={packages}"]
            self.run(*bootstrap, SUITE, str(archive), timeout_s=BUILD_TIMEOUT_S)
            self.run("podman", "import", "--quiet", str(archive), image)
            archive.unlink()
        return image

    def _wheels(self) -> Path:
        """Return a folder with the packages that requirements/ names, each checked by its digest."""
        folder = CACHE / "wheels"
        files = [f"--requirement={ROOT}/requirements/{name}.txt" for name in ("build", "runtime")]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:"]
        self.run(*pip, f"--dest={folder}", *files, timeout_s=BUILD_TIMEOUT_S)
        return folder
