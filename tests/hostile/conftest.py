"""Proxies in front of recording targets, shared by all cases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))

from support import Processes


@pytest.fixture(scope="session")
def hostile_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts processes that all cases share."""
    started = Processes(tmp_path_factory.mktemp("hostile"))
    yield started
    started.end_all()
