"""The image, built once for all tests here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for what all tests here share

from engine import Engine, missing
from pod import RunningPod, playing


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The tools; skipped without them."""
    if reason := missing():
        pytest.skip(reason)
    return Engine()


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The name of the image, which buildah has built from the Containerfile."""
    return engine.build()


@pytest.fixture
def pod(engine: Engine, image: str, tmp_path: Path) -> Iterator[RunningPod]:
    """The chart's Pod, ready."""
    assert image
    with playing(engine, tmp_path) as running:
        yield running
