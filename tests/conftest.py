"""Tests import the sources: they put fakes where compiled code insists on the real classes.

Processes that tests start run as a user's do, compiled where the installation has compiled (see `hotpath`).
"""

import os
from collections.abc import Iterator

os.environ["INTERCEPTOR_COMPILED"] = "0"
import hotpath  # noqa: F401

del os.environ["INTERCEPTOR_COMPILED"]

import pytest

from tests.api_server import HOW, ApiServer, assets


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real Kubernetes API server, the same for all tests of this process."""
    folder = assets()
    if folder is None:
        pytest.skip(HOW)
    with ApiServer(folder, tmp_path_factory.mktemp("api-server")) as server:
        yield server
