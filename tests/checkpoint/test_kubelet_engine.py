"""The engine `kubelet` in a whole ambassador, before a double of the kubelet that stores what it is told to."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from interceptor.address import Address
from interceptor.checkpoint.kubelet_options import KubeletOptions
from interceptor.checkpoint.options import CheckpointOptions
from interceptor.cli.main import cli
from interceptor.errors import ConfigurationError
from interceptor.limits import Limits
from interceptor.retention import Retention
from interceptor.target.open_connections import OpenConnections
from tests.certificates import Authority
from tests.checkpoint.archives import NEEDED, write_archive
from tests.checkpoint.kubelet_double import TOKEN, KubeletDouble, RuntimeRefusesError, running_kubelet
from tests.interceptor.fakes import until
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection

SEGMENTS = {"segment_bytes_max": 1}


@dataclass
class Node:
    """A kubelet before a runtime that writes an archive, and what it saw of the target's connections."""

    directory: Path
    double: KubeletDouble = field(init=False)
    options: CheckpointOptions = field(init=False)
    target_port: int | None = None
    open_connections: list[int] = field(default_factory=list)
    names: tuple[str, ...] | None = NEEDED

    def __post_init__(self) -> None:
        self.double = KubeletDouble(self.checkpoint)

    def checkpoint(self, _container: str, _timeout_s: int) -> str:
        if self.target_port is not None:
            self.open_connections.append(OpenConnections(self.target_port).count())
        path = self.directory / f"checkpoint-one_default-app-{len(self.double.calls)}.tar"
        if self.names is not None:
            write_archive(path, self.names)
        return f"/var/lib/kubelet/checkpoints/{path.name}"


@asynccontextmanager
async def a_node(directory: Path) -> AsyncIterator[Node]:
    archives = directory / "archives"
    archives.mkdir(exist_ok=True)
    authority = Authority(directory)
    (directory / "token").write_text(TOKEN)
    node = Node(archives)
    async with running_kubelet(node.double, authority.server_context("kubelet", "127.0.0.1")):
        kubelet = KubeletOptions(
            node=f"127.0.0.1:{node.double.port}", namespace="default", pod="one", container="app",
            token_file=directory / "token", ca_file=authority.ca_file,
        )  # fmt: skip
        node.options = CheckpointOptions("kubelet", kubelet=kubelet)
        yield node


@asynccontextmanager
async def checkpointing(tmp_path: Path, options: CheckpointOptions, **settings: Any) -> AsyncIterator[Running]:
    async with running(log_url=f"file:{tmp_path}/log", checkpoint=options, log_options=SEGMENTS, **settings) as made:
        yield made


def with_archives(node: Node, *, restore: bool) -> CheckpointOptions:
    kubelet = replace(node.options.kubelet, archive_dir=node.directory, restore=restore)
    return replace(node.options, kubelet=kubelet)


async def test_every_connection_to_the_target_is_closed_before_each_of_20_calls_and_no_client_notices(
    tmp_path: Path,
) -> None:
    """CRIU keeps no established connection: lanes and pool are closed at both ends before the runtime is asked."""
    async with a_node(tmp_path) as node, checkpointing(tmp_path, node.options, record_all=False) as at:
        node.target_port = at.target.address.port
        done = asyncio.Event()
        answers: list[bytes] = []

        async def ask(method: str) -> None:
            while not done.is_set():
                answers.append(await at.send("/a", "/b", method=method))

        clients = [asyncio.create_task(ask(method)) for method in ("GET", "POST", "GET", "POST")]
        for _ in range(20):
            before = len(answers)
            assert (await at.control("POST", "/checkpoint")).status == 201
            await until(lambda before=before: len(answers) > before + 4)  # type: ignore[misc]
        done.set()
        await asyncio.gather(*clients)
        assert node.open_connections == [0] * 20
        assert all(answer.count(b"HTTP/1.1 200 OK") == 2 for answer in answers)
        newest = (await at.control("GET", "/checkpoint?id=kubelet-20")).json
        assert set(newest["phases_s"]) == {"drain", "close", "freeze", "resume"}
        assert newest["detail"]["archive"] == "/var/lib/kubelet/checkpoints/checkpoint-one_default-app-20.tar"
        assert (newest["detail"]["container"], newest["holds_state"]) == ("default/one/app", False)


async def test_a_target_that_does_not_close_is_asked_for_all_the_same(tmp_path: Path) -> None:
    stuck = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.requests()
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await stuck.wait()

    limits = Limits(target_close_timeout_s=0.05)
    async with a_node(tmp_path) as node, checkpointing(tmp_path, node.options, script=script, limits=limits) as at:
        node.target_port = at.target.address.port
        await at.send("/a", method="POST")
        assert (await at.control("POST", "/checkpoint")).status == 201
        assert node.open_connections == [1]
        assert (await at.metrics())["interceptor_limit_reached_total|target_close_timeout_s"] == 1
        stuck.set()


async def test_a_refusal_is_the_answer_and_the_application_goes_on(tmp_path: Path) -> None:
    """Nothing is trimmed, nothing is stored."""

    def runtime(_container: str, _timeout_s: int) -> str:
        raise RuntimeRefusesError("no space left on device")

    async with a_node(tmp_path) as node, checkpointing(tmp_path, node.options) as at:
        node.double.runtime = runtime
        await at.send("/a")
        answer = await at.control("POST", "/checkpoint")
        assert (answer.status, "no space left on device" in answer.text) == (409, True)
        (tmp_path / "token").unlink()
        answer = await at.control("POST", "/checkpoint")
        assert (answer.status, "--kubelet-token-file" in answer.text) == (409, True)
        assert (await at.send("/b")).startswith(b"HTTP/1.1 200")
        assert (await at.control("GET", "/checkpoint")).json == []
        assert at.ambassador.journal.backend.first_version == 1


async def test_an_archive_is_taken_over_where_it_can_be_reached(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node, checkpointing(tmp_path, with_archives(node, restore=False)) as at:
        await at.send("/a")
        entry = (await at.control("POST", "/checkpoint")).json
        artefact = tmp_path / "log" / "checkpoints" / "kubelet-1"
        assert entry["size_bytes"] == artefact.stat().st_size
        assert not list(node.directory.iterdir()), "nobody else would remove it from the node"
        with tarfile.open(artefact) as tar:
            assert tar.getnames() == list(NEEDED)
        node.names = NEEDED[:2]
        answer = await at.control("POST", "/checkpoint")
        assert (answer.status, "no checkpoint/inventory.img in it" in answer.text) == (409, True)
        node.names = None
        answer = await at.control("POST", "/checkpoint")
        assert (answer.status, "does --kubelet-archive-dir show" in answer.text) == (409, True)
        assert len((await at.control("GET", "/checkpoint")).json) == 1


@pytest.mark.parametrize("settings", [{"retention": Retention.parse("checkpoints:1")}, {}])
async def test_without_a_word_that_restoring_works_these_checkpoints_hold_no_state(
    tmp_path: Path, settings: dict[str, Retention]
) -> None:
    """Rule 8: nothing may be trimmed behind what nobody can restore."""
    async with a_node(tmp_path) as node:
        options = node.options if settings else replace(node.options, recovery_time_objective_s=2.0)
        with pytest.raises(ConfigurationError, match=r"not hold the target's state|holds no state"):
            async with checkpointing(tmp_path, options, **settings):
                pass


async def test_a_target_that_comes_from_a_checkpoints_image_gets_what_is_behind_it(tmp_path: Path) -> None:
    """Rule 3: each event once for each incarnation, and none that is in the image already."""
    async with a_node(tmp_path) as node:
        options = with_archives(node, restore=True)
        async with checkpointing(tmp_path, options, retention=Retention.parse("checkpoints:1")) as at:
            await at.send("/1", "/2", "/3")
            assert (await at.control("POST", "/checkpoint")).json["holds_state"]
            assert at.ambassador.journal.backend.first_version == 4
            await at.send("/4", "/5")
        restored = replace(options, restored="kubelet-1")
        async with checkpointing(tmp_path, restored, retention=Retention.parse("checkpoints:1")) as at:
            assert [path for asked in at.target.asked for path in asked] == ["GET /4", "GET /5"]
            await at.send("/6")
            await at.control("POST", "/checkpoint")
            assert at.ambassador.journal.backend.first_version == 4, "the next incarnation comes from it again"
            kept = {entry["id"]: entry["pinned"] for entry in (await at.control("GET", "/checkpoint")).json}
            assert kept["kubelet-1"], "the next start names it again"
        for named, words in (("kubelet-9", "no checkpoint kubelet-9"), ("9", "from 4 to 6"), ("2", "from 4 to 6")):
            with pytest.raises(ConfigurationError, match=words):
                async with checkpointing(tmp_path, replace(options, restored=named)):
                    pass


async def test_a_command_comes_from_no_image(tmp_path: Path) -> None:
    options = CheckpointOptions(restored="0")
    with pytest.raises(ConfigurationError, match="goes without a COMMAND"):
        async with checkpointing(tmp_path, options, command=("true",), at=Address("127.0.0.1", 1)):
            pass


async def test_an_incarnation_from_another_image_is_not_taken_for_restored(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        options = with_archives(node, restore=True)
        async with checkpointing(tmp_path, options) as at:
            await at.send("/1", "/2")
            await at.control("POST", "/checkpoint")
        async with checkpointing(tmp_path, options) as at:
            assert [path for asked in at.target.asked for path in asked] == ["GET /1", "GET /2"]
            scratch = await at.control("POST", "/reproject?target=http://127.0.0.1:9&from_checkpoint=kubelet-1")
            assert (scratch.status, "was not made from its image" in scratch.text) == (409, True)
        async with checkpointing(tmp_path, replace(options, restored="1")) as at:
            assert [path for asked in at.target.asked for path in asked] == ["GET /2"]
            again = await at.control("POST", "/reproject?from=1")
            assert again.status == 409


async def test_an_image_is_built_of_what_this_engine_took(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    write_archive(archive)

    async def build(at: Running, checkpoint_id: str, *words: str) -> Result:
        command = [
            "checkpoint",
            "build-image",
            checkpoint_id,
            "--archive",
            str(archive),
            "--admin",
            str(at.admin.address),
        ]
        return await asyncio.to_thread(CliRunner().invoke, cli, [*command, *words])

    async with a_node(tmp_path) as node, checkpointing(tmp_path, node.options) as at:
        await at.send("/1", "/2")
        await at.control("POST", "/checkpoint")
        output = tmp_path / "image"
        done = await build(at, "kubelet-1", "--tag", "registry/shop/app:7", "--output", str(output))
        assert done.exit_code == 0, done.output
        assert "--restored-checkpoint kubelet-1 (version 2)" in done.output
        annotations = json.loads((output / "index.json").read_bytes())["annotations"]
        assert annotations["crsc.io/checkpoint-version"] == "2"
        assert annotations["crsc.io/log"].endswith(f"{tmp_path}/log")
        assert annotations["org.criu.checkpoint.container.name"] == "app"
        for checkpoint_id, words, reason in (
            ("kubelet-1", ("--tag", "registry/shop/app:7", "--output", str(output)), "is there already"),
            ("kubelet-1", ("--tag", "Not A Name"), "no name of an image"),
            ("kubelet-9", ("--tag", "app"), "no checkpoint kubelet-9"),
        ):
            refused = await build(at, checkpoint_id, *words)
            assert (refused.exit_code, reason in str(refused.exception)) == (1, True), refused.exception
    (tmp_path / "other").mkdir()
    async with checkpointing(tmp_path / "other", CheckpointOptions()) as at:
        await at.control("POST", "/checkpoint")
        refused = await build(at, "mark-1", "--tag", "app")
        assert "only kubelet leaves such archives" in str(refused.exception)
