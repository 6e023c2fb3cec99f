"""Asking a kubelet: each refusal is one clear sentence, what goes away is tried again, TLS is verified."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from interceptor.checkpoint.errors import CheckpointError, EngineUnusableError
from interceptor.checkpoint.kubelet_client import ATTEMPTS_MAX, KubeletClient
from interceptor.checkpoint.kubelet_options import KubeletOptions
from tests.certificates import Authority
from tests.checkpoint.kubelet_double import FORBIDDEN_TOKEN, TOKEN, KubeletDouble, RuntimeRefusesError, running_kubelet

ARCHIVE = "/var/lib/kubelet/checkpoints/checkpoint-one_default-app-2026-11-22T00:00:00Z.tar"
IN_FLIGHT = "Error (criu/sk-inet.c:191): inet: In-flight connections can be ignored with the --skip-in-flight option."


class Rig:
    """A kubelet with a certificate of our own authority, and what reaches it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self.double = KubeletDouble(lambda _container, _timeout_s: ARCHIVE)
        self.token_file = directory / "token"
        self.token_file.write_text(f"{TOKEN}\n")

    def context(self, *names: str) -> ssl.SSLContext:
        context = self.authority.server_context("kubelet", *(names or ("127.0.0.1",)))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(self.authority.ca_file)
        return context

    def options(self, **changes: object) -> KubeletOptions:
        options = KubeletOptions(
            node=f"127.0.0.1:{self.double.port}", namespace="default", pod="one", container="app",
            token_file=self.token_file, ca_file=self.authority.ca_file,
        )  # fmt: skip
        return replace(options, **changes).completed(self.directory / "none")  # type: ignore[arg-type]

    async def ask(self, **changes: object) -> str:
        return await KubeletClient(self.options(**changes), 5.0, 9.5).checkpoint()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_the_archive_and_the_timeout(rig: Rig) -> None:
    seen: list[tuple[str, int]] = []

    def runtime(container: str, timeout_s: int) -> str:
        seen.append((container, timeout_s))
        return ARCHIVE

    rig.double.runtime = runtime
    async with running_kubelet(rig.double, rig.context()):
        assert await rig.ask() == ARCHIVE
    assert seen == [("default/one/app", 10)], "whole seconds, rounded up"


async def test_a_token_that_the_cluster_has_renewed_is_read_again(rig: Rig) -> None:
    async with running_kubelet(rig.double, rig.context()):
        client = KubeletClient(rig.options(), 5.0, 10.0)
        rig.token_file.write_text("old")
        with pytest.raises(CheckpointError, match="401"):
            await client.checkpoint()
        rig.token_file.write_text(TOKEN)
        assert await client.checkpoint() == ARCHIVE


async def test_a_client_certificate_in_place_of_a_token(rig: Rig) -> None:
    certificate, key = rig.authority.sign("client")
    async with running_kubelet(rig.double, rig.context()):
        assert await rig.ask(token_file=None, client_cert=certificate, client_key=key) == ARCHIVE


@pytest.mark.parametrize(
    ("token", "pod", "enabled", "words"),
    [
        ("nobody", "one", True, r"does not know us \(401\)"),
        (FORBIDDEN_TOKEN, "one", True, r"403: Forbidden .*grant `create` on `nodes/checkpoint`"),
        (TOKEN, "two", True, r"no container default/two/app \(404: pod does not exist\): check --kubelet-namespace"),
        (TOKEN, "one", False, r"has no checkpoints \(404\): turn the feature gate ContainerCheckpoint on"),
    ],
)
async def test_a_kubelet_that_refuses_is_asked_once_and_its_reason_is_said(
    rig: Rig, token: str, pod: str, enabled: bool, words: str
) -> None:
    rig.token_file.write_text(token)
    rig.double.checkpoints_enabled = enabled
    async with running_kubelet(rig.double, rig.context()):
        with pytest.raises(CheckpointError, match=words):
            await rig.ask(pod=pod)
    assert len(rig.double.calls) == 1


async def test_what_the_runtime_says_is_passed_on_and_not_tried_again(rig: Rig) -> None:
    def runtime(_container: str, _timeout_s: int) -> str:
        raise RuntimeRefusesError("criu binary not found in shim path or system PATH")

    rig.double.runtime = runtime
    async with running_kubelet(rig.double, rig.context()):
        with pytest.raises(CheckpointError, match=r"criu binary not found.* It needs CRIU on the node"):
            await rig.ask()
    assert len(rig.double.calls) == 1


@pytest.mark.parametrize(
    "reason",
    [
        IN_FLIGHT,
        "Error (criu/cr-dump.c:1779): Timeout reached. Try to interrupt: 0",
        "criu failed: type NOTIFY errno 0",
    ],
)
async def test_what_goes_away_by_itself_is_tried_again(rig: Rig, reason: str) -> None:
    def runtime(_container: str, _timeout_s: int) -> str:
        if len(rig.double.calls) < 3:
            raise RuntimeRefusesError(reason)
        return ARCHIVE

    rig.double.runtime = runtime
    async with running_kubelet(rig.double, rig.context()):
        assert await rig.ask() == ARCHIVE
    assert len(rig.double.calls) == 3


async def test_what_does_not_go_away_is_given_up(rig: Rig) -> None:
    def runtime(_container: str, _timeout_s: int) -> str:
        raise RuntimeRefusesError(IN_FLIGHT)

    rig.double.runtime = runtime
    async with running_kubelet(rig.double, rig.context()):
        with pytest.raises(CheckpointError, match=r"In-flight.*Is somebody else connected"):
            await rig.ask()
    assert len(rig.double.calls) == ATTEMPTS_MAX


async def test_a_cancelled_call_leaves_nothing_behind(rig: Rig) -> None:
    """The taker's limit `checkpoint_timeout_s` and a dying target both cancel it."""
    asked, enough = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def runtime(_container: str, _timeout_s: int) -> str:
        loop.call_soon_threadsafe(asked.set)
        enough.wait(10.0)
        return ARCHIVE

    rig.double.runtime = runtime
    async with running_kubelet(rig.double, rig.context()):
        call = asyncio.create_task(rig.ask())
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        enough.set()


async def test_a_certificate_of_another_authority_or_for_another_name_is_never_taken(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Authority(tmp_path_factory.mktemp("other"))
    async with running_kubelet(rig.double, rig.context()):
        with pytest.raises(CheckpointError, match=r"not trusted.*--kubelet-ca-file"):
            await rig.ask(ca_file=other.ca_file)
        with pytest.raises(CheckpointError, match=r"not trusted"):
            await rig.ask(ca_file=None)
    async with running_kubelet(rig.double, rig.context("node-7")):
        with pytest.raises(CheckpointError, match=r"not trusted.*--kubelet-server-name"):
            await rig.ask()
        assert await rig.ask(server_name="node-7") == ARCHIVE
    assert len(rig.double.calls) == 1, "nobody who was not verified has seen the token"


async def test_a_kubelet_that_is_away(rig: Rig) -> None:
    async with running_kubelet(rig.double, rig.context()):
        pass
    with pytest.raises(CheckpointError, match=r"can't be asked for a checkpoint.*--kubelet-node"):
        await rig.ask()


@pytest.mark.parametrize("items", ['{"items": []}', '{"items": ["relative.tar"]}', '{"items": [7]}', "[]", "fine"])
async def test_an_answer_without_an_archive_is_no_checkpoint(rig: Rig, items: str) -> None:
    client = KubeletClient(rig.options(node="127.0.0.1:1"), 5.0, 10.0)
    with pytest.raises(CheckpointError, match="answered 200"):
        client._judge(200, items)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"node": None}, "--kubelet-node is missing"),
        ({"node": "10.0.0.1:x"}, "HOST or HOST:PORT"),
        ({"namespace": None}, "--kubelet-namespace is missing"),
        ({"pod": "../../etc"}, "no name in Kubernetes"),
        ({"container": "a/b"}, "no name in Kubernetes"),
        ({"client_cert": Path("c.pem")}, "go together"),
        ({"restore": True}, "--kubelet-archive-dir"),
        ({"archive_dir": Path("/nonexistent")}, "no such directory"),
    ],
)
def test_options_that_can_not_work_are_refused_at_the_start(rig: Rig, changes: dict[str, object], words: str) -> None:
    with pytest.raises(EngineUnusableError, match=words):
        rig.options(**{"node": "10.0.0.1", **changes})


def test_files_that_can_not_be_read_are_refused_at_the_start(rig: Rig, tmp_path: Path) -> None:
    missing, text = tmp_path / "missing", tmp_path / "text"
    text.write_text("two words")
    for changes in ({"ca_file": missing}, {"ca_file": text}, {"token_file": missing}, {"token_file": text}):
        with pytest.raises(EngineUnusableError, match=f"{next(iter(changes)).replace('_', '-')} {tmp_path}"):
            KubeletClient(rig.options(node="10.0.0.1", **changes), 5.0, 10.0).check()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1", "10.0.0.1", 10250),
        ("node:7", "node", 7),
        ("fd00::1", "fd00::1", 10250),
        ("[fd00::1]:7", "fd00::1", 7),
    ],
)
def test_the_address_of_a_node(text: str, host: str, port: int) -> None:
    address = KubeletOptions(node=text).address
    assert (address.host, address.port) == (host, port)


def test_what_the_service_account_brings_is_taken_unless_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("shop\n")
    (tmp_path / "ca.crt").write_text("")
    options = KubeletOptions(node="n", pod="one", container="app").completed(tmp_path)
    assert (options.namespace, options.ca_file, options.token_file) == ("shop", tmp_path / "ca.crt", tmp_path / "token")
    own = KubeletOptions(node="n", pod="one", container="app", namespace="x", token_file=Path("t"), ca_file=Path("c"))
    assert own.completed(tmp_path) == own
