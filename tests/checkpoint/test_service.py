"""Checkpoints in a whole ambassador: what goes wrong is said, the application goes on, and nothing is trimmed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from interceptor.checkpoint.options import CheckpointOptions
from interceptor.errors import ConfigurationError
from interceptor.retention import Retention
from storage_backends.file.facts import CHECKSUM_KEY
from tests.interceptor.fakes import ok, until
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection

SEGMENTS = {"segment_bytes_max": 1}


class Stateful:
    """A scripted target that hands out what it is told to."""

    def __init__(self) -> None:
        self.answer = ok(b"the state")
        self.asked: list[str] = []
        self.stuck = asyncio.Event()

    async def script(self, connection: Connection) -> None:
        while True:
            (request,) = await connection.requests()
            self.asked.append(request)
            if request == "GET /state":
                if self.answer == b"":
                    await self.stuck.wait()
                connection.write(self.answer)
            else:
                connection.write(ok(request.split(" ")[1].encode()))


@asynccontextmanager
async def checkpointing(
    target: Stateful, tmp_path: Path, *, retain: str = "all", app_version: str | None = None, **settings: Any
) -> AsyncIterator[Running]:
    options = CheckpointOptions("http", "/state", app_version=app_version)
    async with running(
        target.script, log_url=f"file:{tmp_path}/log", checkpoint=options, retention=Retention.parse(retain),
        log_options=SEGMENTS, **settings,
    ) as made:  # fmt: skip
        yield made


async def test_the_catalogue_over_its_life(tmp_path: Path) -> None:
    target = Stateful()
    async with checkpointing(target, tmp_path) as at:
        await at.send("/a", "/b")
        first = (await at.control("POST", "/checkpoint")).json
        assert (first["id"], first["version"], first["verified"], first["size_bytes"]) == ("http-1", 2, True, 9)
        assert set(first["phases_s"]) == {"drain", "freeze", "resume"}
        assert first["blackout_s"] == pytest.approx(sum(first["phases_s"].values()), abs=1e-4)
        await at.send("/c")
        await at.control("POST", "/checkpoint")
        assert (await at.control("POST", "/checkpoint?id=http-1&do=pin")).json["pinned"]
        assert (await at.control("DELETE", "/checkpoint?id=http-1")).status == 409
        assert (await at.control("POST", "/checkpoint?id=http-1&do=unpin")).status == 200
        assert (await at.control("DELETE", "/checkpoint?id=http-1")).status == 200
        assert [entry["id"] for entry in (await at.control("GET", "/checkpoint")).json] == ["http-2"]
        directory = tmp_path / "log" / "checkpoints"
        assert not (directory / "http-1").exists()
        assert (await at.control("GET", "/checkpoint?id=http-1")).status == 404
        (directory / "http-2").write_bytes(b"the stale")
        answer = await at.control("POST", "/checkpoint?id=http-2&do=verify")
        assert (answer.status, "is not what was stored" in answer.text) == (409, True)
        assert not (await at.control("GET", "/checkpoint?id=http-2")).json["verified"]
        for query, status in (("id=http-2&do=x", 400), ("do=verify", 400), ("id=none&do=pin", 404)):
            assert (await at.control("POST", f"/checkpoint?{query}")).status == status
        state = (await at.control("GET", "/state")).json
        assert state["checkpoints"]["engine"] == "http"
        assert state["checkpoints"]["recovery_estimate_s"] > 0
        assert (await at.metrics())["interceptor_checkpoints_total"] == 2
        assert (await at.control("DELETE", "/checkpoint?id=http-2")).status == 200
    async with checkpointing(target, tmp_path) as at:
        # Images and failures are remembered by it.
        assert (await at.control("POST", "/checkpoint")).json["id"] == "http-3", "an id is given once"


async def test_checkpoints_outlive_a_lost_catalogue(tmp_path: Path) -> None:
    """Rule 8: what the facts named may be the only copy of a state; they can be found again."""
    target = Stateful()
    facts, aside = tmp_path / "log" / "FACTS.json", tmp_path / "FACTS.json"
    async with checkpointing(target, tmp_path) as at:
        await at.send("/a")
        await at.control("POST", "/checkpoint")
    facts.rename(aside)
    async with checkpointing(target, tmp_path) as at:
        assert (await at.control("GET", "/checkpoint")).json == []
    aside.rename(facts)
    async with checkpointing(target, tmp_path) as at:
        assert (await at.control("POST", "/checkpoint?id=http-1&do=verify")).json["verified"]


async def test_what_is_asked_for_while_we_stop_is_refused(tmp_path: Path) -> None:
    target = Stateful()
    async with checkpointing(target, tmp_path) as at:
        await at.send("/a")
        checkpoints = at.ambassador.checkpoints
        await checkpoints.stop()
        answer = await at.control("POST", "/checkpoint")
        assert (answer.status, "is stopping" in answer.text) == (409, True)


async def test_a_state_that_is_not_to_be_had_changes_nothing(tmp_path: Path) -> None:
    """Each a clear error; the application goes on, and nothing is trimmed."""
    target = Stateful()
    async with checkpointing(target, tmp_path, retain="checkpoints:1") as at:
        await at.send("/a")
        for status in (b"404 Not Found", b"500 Internal Server Error"):
            target.answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno"
            answer = await at.control("POST", "/checkpoint")
            assert answer.status == 409
            assert f"GET /state at {at.target.address} was answered {status.decode()}" in answer.text
            assert (await at.send("/b")).startswith(b"HTTP/1.1 200")
        assert (await at.control("GET", "/checkpoint")).json == []
        assert at.ambassador.journal.backend.first_version == 1
        assert [path.name for path in (tmp_path / "log" / "checkpoints").iterdir()] == ["OWNER"]


async def test_a_target_that_dies_while_its_state_is_taken(tmp_path: Path) -> None:
    """Rule 4: half a state is none."""
    target = Stateful()
    target.answer = b""
    async with checkpointing(target, tmp_path) as at:
        await at.send("/a")
        taking = asyncio.create_task(at.control("POST", "/checkpoint"))
        await until(lambda: "GET /state" in target.asked)
        recovery = at.ambassador.recovery
        recovery.confirm = lambda: False  # type: ignore[method-assign]
        recovery._detector.look = lambda: "another"  # type: ignore[method-assign]
        recovery._suspect("the test says so")
        answer = await taking
        assert (answer.status, "died" in answer.text) == (409, True)
        target.stuck.set()
        assert (await at.control("GET", "/checkpoint")).json == []


async def test_a_target_in_doubt_is_not_checkpointed(tmp_path: Path) -> None:
    """Rule 4: nobody knows whether its state holds exactly 1…n."""
    async with checkpointing(Stateful(), tmp_path) as at:
        await at.send("/a", "/b")
        at.ambassador.recovery.standing.doubt(2, 2, 1)
        answer = await at.control("POST", "/checkpoint")
        assert (answer.status, "events 2 to 2 is unknown" in answer.text) == (409, True)


async def test_the_log_is_trimmed_behind_checkpoints_and_then_needs_them(tmp_path: Path) -> None:
    """Rule 8: after trimming, a projection from 1 is refused with the reason."""
    target = Stateful()
    async with checkpointing(target, tmp_path, retain="checkpoints:2") as at:
        for number in range(4):
            await at.send("/a")
            await at.control("POST", "/checkpoint")
            assert at.ambassador.journal.backend.first_version == max(1, number + 1)
        assert [entry["id"] for entry in (await at.control("GET", "/checkpoint")).json] == ["http-3", "http-4"]
        assert sorted(path.name for path in (tmp_path / "log" / "checkpoints").glob("http*")) == ["http-3", "http-4"]
        scratch = await at.control("POST", "/reproject?target=http://127.0.0.1:9&from=1")
        assert (scratch.status, "begins at version 4" in scratch.text) == (409, True)
        await at.send("/a")
        assert (await at.control("DELETE", "/checkpoint?id=http-3")).status == 200
        last = await at.control("DELETE", "/checkpoint?id=http-4")
        assert (last.status, "only checkpoint left" in last.text) == (409, True)


async def test_a_checkpoint_of_another_version_of_the_application_is_not_restored(tmp_path: Path) -> None:
    """And where the log was trimmed behind it, the recovery says so instead of guessing."""
    target = Stateful()
    async with checkpointing(target, tmp_path, retain="checkpoints:1", app_version="1") as at:
        await at.send("/a", "/b")
        await at.control("POST", "/checkpoint")
        assert at.ambassador.journal.backend.first_version == 3
    async with checkpointing(target, tmp_path, retain="checkpoints:1", app_version="2", wait=False) as at:
        standing = at.ambassador.recovery.standing
        await until(lambda: standing.problem is not None)
        assert standing.problem is not None
        assert "begins at version 3" in standing.problem
        assert "version 1 of the application, and this is 2" in standing.problem


@pytest.mark.parametrize(
    ("facts_gone", "words"),
    [
        ([], r"ends at version 1, but held the events up to 2 when it was closed.*interceptor log repair"),
        (["clean_stop"], r"ends at version 1.*http-1 holds the events up to 2"),
    ],
)
async def test_a_log_that_is_shorter_than_its_clean_stop_or_its_checkpoint_is_refused(
    facts_gone: list[str], words: str, tmp_path: Path
) -> None:
    """Rule 8: from the segments alone the loss of the last one can't be seen."""
    target = Stateful()
    async with checkpointing(target, tmp_path) as at:
        await at.send("/a")
        await at.send("/b")
        await at.control("POST", "/checkpoint")
    for segment in sorted((tmp_path / "log").glob("*.log"))[1:]:
        segment.unlink()
    path = tmp_path / "log" / "FACTS.json"
    facts = json.loads(path.read_bytes())
    path.write_text(json.dumps({name: fact for name, fact in facts.items() if name not in [*facts_gone, CHECKSUM_KEY]}))
    with pytest.raises(ConfigurationError, match=words):
        async with checkpointing(target, tmp_path):
            pass


@pytest.mark.parametrize(
    ("options", "log", "words"),
    [
        (CheckpointOptions("mark", idle_after_s=1.0), "file:{}/log", "--idle-checkpoint-after: the engine mark"),
        (CheckpointOptions("nonsense"), "file:{}/log", "known are criu, http, kubelet, mark"),
        (CheckpointOptions("http"), "file:{}/log", "--checkpoint-path"),
        (CheckpointOptions("http", "/state"), "memory:", "--checkpoint-dir"),
        (CheckpointOptions(recovery_time_objective_s=2), "file:{}/log", "holds no state"),
    ],
)
async def test_options_that_can_not_work_are_refused_at_the_start(
    tmp_path: Path, options: CheckpointOptions, log: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        async with running(log_url=log.format(tmp_path), checkpoint=options):
            pass
