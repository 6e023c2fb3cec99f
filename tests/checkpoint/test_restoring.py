"""Which checkpoint a recovery begins at: the newest that can be used, and never a guess (rule 8)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interceptor.address import Address, TargetAddress
from interceptor.checkpoint.artefacts import Artefacts
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.errors import RestoreFailedError, RestoreRefusedError
from interceptor.checkpoint.restoring import Restoring
from interceptor.errors import InterceptorError, NotPossibleNowError, TargetLostError
from tests.interceptor.fakes import until


class Engine:
    """Restores unless it is told to fail."""

    name = "http"
    starts_target = False

    def __init__(self) -> None:
        self.errors: dict[str, InterceptorError] = {}
        self.restored: list[str] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def restore(self, checkpoint: Checkpoint, target: TargetAddress) -> None:
        self.restored.append(checkpoint.id)
        await self.may_go_on.wait()
        if checkpoint.id in self.errors:
            raise self.errors[checkpoint.id]


class Rig:
    """A log from `first` to 30, and checkpoints at 10 and 20."""

    def __init__(self, directory: Path, first: int = 1) -> None:
        self.engine = Engine()
        self.entries = [
            Checkpoint(f"http-{number}", 10 * number, "http", 0.0, holds_state=True, verified=True)
            for number in (1, 2)
        ]  # fmt: skip
        journal: Any = SimpleNamespace(backend=SimpleNamespace(first_version=first), last_version=30)
        engine: Any = self.engine
        self.restoring = Restoring(engine, Artefacts(directory), self, journal, Address("h", 1), None)  # type: ignore[arg-type]


async def test_the_newest_is_used(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert await rig.restoring.prepare(None) == 21
    assert rig.engine.restored == ["http-2"]
    assert rig.restoring.last is not None


async def test_what_the_target_refuses_is_skipped_down_to_version_1(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.engine.errors["http-2"] = RestoreRefusedError("404")
    assert await rig.restoring.prepare(None) == 11
    rig.engine.errors["http-1"] = RestoreRefusedError("404")
    assert await rig.restoring.prepare(None) == 1


async def test_a_restore_that_ended_half_way_needs_another_incarnation_and_another_checkpoint(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.engine.errors["http-2"] = RestoreFailedError("500")
    with pytest.raises(TargetLostError, match="500"):
        await rig.restoring.prepare(None)
    assert await rig.restoring.prepare(None) == 11


async def test_a_checkpoint_that_kills_is_tried_twice(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.engine.errors["http-2"] = TargetLostError("gone")
    for _ in range(2):
        with pytest.raises(TargetLostError):
            await rig.restoring.prepare(None)
    assert await rig.restoring.prepare(None) == 11


async def test_a_target_that_is_ready_before_its_engine_is_done_begins_at_the_checkpoint(tmp_path: Path) -> None:
    """Rule 4: what it holds already is not delivered to it a second time."""
    rig = Rig(tmp_path)
    rig.engine.starts_target = True
    rig.engine.may_go_on.clear()
    bringing = asyncio.create_task(rig.restoring.bring_back())
    await until(lambda: rig.engine.restored == ["http-2"])
    preparing = asyncio.create_task(rig.restoring.prepare(None))
    await asyncio.sleep(0)
    rig.engine.may_go_on.set()
    assert await bringing
    assert await preparing == 21


async def test_an_operator_says_from_where(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert await rig.restoring.prepare(1) == 1
    assert await rig.restoring.prepare(11) == 11
    assert rig.engine.restored == ["http-1"]
    with pytest.raises(NotPossibleNowError, match="a checkpoint of this engine at version 14"):
        await rig.restoring.prepare(15)
    with pytest.raises(NotPossibleNowError, match="version 14"):
        rig.restoring.check(15)


async def test_where_the_log_was_trimmed_only_what_reaches_it_counts(tmp_path: Path) -> None:
    rig = Rig(tmp_path, first=15)
    rig.engine.errors["http-2"] = RestoreFailedError("500")
    with pytest.raises(TargetLostError):
        await rig.restoring.prepare(None)
    with pytest.raises(NotPossibleNowError, match=r"begins at version 15.*http-2: giving it back has failed"):
        await rig.restoring.prepare(None)
    rig.engine.errors.clear()
    assert await rig.restoring.prepare(None) == 21, "the next incarnation is given all of them again"
    with pytest.raises(NotPossibleNowError, match="begins at version 15"):
        rig.restoring.check(1)
