"""Engines of third parties: a package that registers one is all it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from interceptor.checkpoint.options import CheckpointOptions
from interceptor.checkpoint.registry import known_engines
from interceptor.errors import ConfigurationError
from tests.interceptor.running import running

MODULE = """
from interceptor.checkpoint.mark import MarkEngine

class OurEngine(MarkEngine):
    name = "ours"

    def __init__(self, context):
        self.target = str(context.target)

    def describe(self):
        return {"at": self.target}
"""


def install(directory: Path, package: str, value: str) -> None:
    """What an installer leaves behind."""
    info = directory / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[interceptor.checkpoint_engines]\nours = {value}\n")
    (directory / f"{package}.py").write_text(MODULE)


async def test_an_installed_engine_is_known_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "our_engines", "our_engines:OurEngine")
    monkeypatch.syspath_prepend(tmp_path)
    assert {"http", "mark", "ours"} <= set(known_engines())
    options = CheckpointOptions("ours", directory=tmp_path / "checkpoints")
    async with running(checkpoint=options) as at:
        await at.send("/a")
        assert (await at.control("POST", "/checkpoint")).json["id"] == "ours-1"
        assert (await at.control("GET", "/state")).json["checkpoints"]["at"] == str(at.target.address)


@pytest.mark.parametrize(
    ("value", "words"), [("our_engines:Nothing", "can't be loaded"), ("nowhere:X", "can't be loaded")]
)
async def test_an_engine_that_can_not_be_loaded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    install(tmp_path, "our_engines", value)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=words):
        async with running(checkpoint=CheckpointOptions("ours", directory=tmp_path / "checkpoints")):
            pass


async def test_a_name_that_two_packages_claim_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "our_engines", "our_engines:OurEngine")
    install(tmp_path, "other_engines", "other_engines:OurEngine")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="several packages claim"):
        async with running(checkpoint=CheckpointOptions("ours", directory=tmp_path / "checkpoints")):
            pass
