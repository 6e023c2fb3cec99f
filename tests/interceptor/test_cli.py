"""The command line: options, environment and file become settings; what can't be used is one sentence, no traceback."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import click
import pytest
import yaml
from click.core import ParameterSource
from click.testing import CliRunner, Result

from interceptor.cli import run as run_module
from interceptor.cli.main import cli, main
from interceptor.cli.run import run_command
from interceptor.incident import OnUnclean
from interceptor.journal import Durability
from interceptor.log_damage import with_remedy
from interceptor.settings import Detection, Settings
from storage_backends import open_log
from storage_backends.errors import LogDamagedError, LogLockedError
from storage_backends.records import Event

TARGET = ("--target", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No log in the checkout, no log lines, no frozen objects."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "configure_logging", lambda level, *, as_json: None)
    with mock.patch("interceptor.ambassador.gc"):
        yield


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Run `interceptor run` up to its settings."""

    def run(*arguments: str, **environment: str) -> Settings:
        seen: list[Settings] = []
        monkeypatch.setattr(run_module, "run_ambassador", seen.append)
        result = CliRunner().invoke(cli, ["run", *arguments], env=environment, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return seen[0]

    return run


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that can't succeed, as the process would; return what it says."""

    def run(*arguments: str, code: int = 1) -> str:
        monkeypatch.setattr(sys, "argv", ["interceptor", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        assert ended.value.code == code, output.err
        assert "Traceback" not in output.err
        assert output.out == ""
        return output.err

    return run


def one_sentence(text: str) -> None:
    assert text.startswith("interceptor: ")
    assert text.count("\n") == 1


def test_the_defaults_are_those_of_the_design(settings_of: Callable[..., Settings]) -> None:
    settings = settings_of(*TARGET)
    assert (str(settings.listen), str(settings.admin)) == ("0.0.0.0:8001", "127.0.0.1:8002")
    assert settings.log_url == "file:interceptor-log"
    assert settings.durability is Durability.STRICT
    assert settings.record_all
    assert settings.on_unclean is OnUnclean.ASSUME_APPLIED
    assert settings.detection is settings.admin_token is None
    assert (settings.command, settings.bypass) == ((), ())


def test_every_option_arrives(settings_of: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    settings = settings_of(
        *TARGET, "--listen", ":1", "--admin", "same", "--admin-token-file", "token", "--log", "memory:",
        "--durability", "relaxed", "--record", "unsafe", "--bypass", "GET:/a", "--bypass", "*:/b", "--detect",
        "connection", "--on-unclean", "wait", "--hold-time-max-s", "1.5", "--segment-bytes-max", "4096", "--",
        "python", "-m", "app", "--flag",
    )  # fmt: skip
    assert (settings.admin, settings.admin_token) == (None, "s3cret")
    assert (settings.log_url, settings.durability) == ("memory:", Durability.RELAXED)
    assert (settings.record_all, list(settings.bypass)) == (False, ["GET:/a", "*:/b"])
    assert (settings.detection, settings.on_unclean) == (Detection.CONNECTION, OnUnclean.WAIT)
    assert settings.limits.hold_time_max_s == 1.5
    assert settings.log_options["segment_bytes_max"] == 4096
    assert list(settings.command) == ["python", "-m", "app", "--flag"]


def an_environment(option: click.Option) -> str:
    """Return a value that the option takes, and that is not its default."""
    if isinstance(option.type, click.Choice):
        return str(next(choice for choice in option.type.choices if choice != option.default))
    if isinstance(option.type, click.IntRange | click.FloatRange):
        return "7"
    return "1" if option.is_flag else "arrival" if option.name == "order" else "some"


@pytest.mark.parametrize(
    "option",
    [each for each in run_command.params if isinstance(each, click.Option) and each.name != "config"],
    ids=lambda option: str(option.opts[0]),
)
def test_every_option_is_an_environment_variable_of_its_name(
    option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = option.opts[0].removeprefix("--").replace("-", "_").upper()
    monkeypatch.setenv(f"INTERCEPTOR_{name}", an_environment(option))
    arguments = [] if option.name == "target" else [*TARGET]
    context = run_command.make_context("run", arguments, auto_envvar_prefix="INTERCEPTOR")
    assert option.name is not None
    assert context.get_parameter_source(option.name) is ParameterSource.ENVIRONMENT


def test_options_win_over_environment_over_file_over_defaults(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "target": "http://file:1", "log": "memory:", "record": "unsafe", "bypass": ["GET:/file"],
                "hold-requests-max": 1, "hold_bytes_max": 2, "durability": "relaxed",
            }
        )
    )  # fmt: skip
    settings = settings_of(
        "--config", "config.yaml", "--hold-bytes-max", "4",
        INTERCEPTOR_TARGET="http://environment:3", INTERCEPTOR_HOLD_BYTES_MAX="3", INTERCEPTOR_HOLD_REQUESTS_MAX="3",
    )  # fmt: skip
    assert settings.target.host == "environment"
    assert (settings.log_url, settings.record_all, list(settings.bypass)) == ("memory:", False, ["GET:/file"])
    assert settings.durability is Durability.RELAXED
    assert (settings.limits.hold_bytes_max, settings.limits.hold_requests_max) == (4, 3)
    assert settings.limits.hold_time_max_s == 30.0


def test_the_file_may_come_from_the_environment_and_a_list_of_one_may_be_written_plainly(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("target: http://file:1\nbypass: GET:/file\n")
    settings = settings_of(INTERCEPTOR_CONFIG="config.yaml")
    assert (settings.target.host, list(settings.bypass)) == ("file", ["GET:/file"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("tarket: http://x:1", ["config.yaml", "unknown key 'tarket'"]),
        ("config: other.yaml", ["unknown key 'config'"]),
        ("- a list", ["config.yaml", "keys and values"]),
        ("a: [", ["config.yaml"]),
        ("target: http://x:1\nhold_requests_max: many", ["hold-requests-max", "many"]),
        ("target: http://x:1\ndurability: sometimes", ["durability", "sometimes"]),
    ],
)
def test_a_configuration_file_that_cannot_be_used_is_refused(
    fail: Callable[..., str], tmp_path: Path, content: str, words: list[str]
) -> None:
    """Rule 8: a key that is misspelt is not ignored."""
    (tmp_path / "config.yaml").write_text(content)
    text = fail("run", "--config", "config.yaml", code=2)
    for word in words:
        assert word in text


def test_a_configuration_file_that_is_not_there(fail: Callable[..., str]) -> None:
    assert "nowhere.yaml" in fail("run", "--config", "nowhere.yaml", code=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "127.0.0.1:8000"], ["--target", "http://HOST:PORT"]),
        (["--target", "http://[::1"], ["--target"]),
        ([*TARGET, "--listen", "8001"], ["--listen", "HOST:PORT"]),
        ([*TARGET, "--admin", "nowhere"], ["--admin", "HOST:PORT"]),
        ([*TARGET, "--log", "redis://:hunter2@x"], ["redis:", "file:", "memory:"]),
        ([*TARGET, "--log", "memory:", "--bypass", "events"], ["--bypass", "METHOD:GLOB"]),
        ([*TARGET, "--admin-token-file", "nowhere"], ["--admin-token-file", "nowhere"]),
        (["--target", "http://192.0.2.1:9", "--log", "memory:", "--detect", "listener"], ["--detect connection"]),
        ([*TARGET, "--log", "memory:", "--redact-header", "a b"], ["--redact-header a b"]),
        ([*TARGET, "--log", "memory:", "--detect", "http:boot"], ["--detect", "http:/boot-id"]),
        ([*TARGET, "--log", "memory:", "--detect", "http:/boot", "--", "true"], ["--detect", "COMMAND"]),
        ([*TARGET, "--log", "memory:", "--admin", "127.0.0.1:0", "--listen", "192.0.2.1:9"], ["--listen", "192.0.2.1"]),
        ([*TARGET, "--log", "memory:", "--listen", "127.0.0.1:0", "--admin", "192.0.2.1:9"], ["--admin", "192.0.2.1"]),
    ],
)
def test_what_cannot_be_used_is_one_sentence_that_names_it(
    fail: Callable[..., str], arguments: list[str], words: list[str]
) -> None:
    """Rule 8."""
    text = fail("run", *arguments)
    one_sentence(text)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", *TARGET, "--hold-requests-max", "0"], ["run", *TARGET, "--durability", "no"], ["fly"],
     ["run", *TARGET, "--order", "chaos"], ["state", "Asleep"], ["reproject", "--from", "0"]],
)  # fmt: skip
def test_usage_errors_are_exit_code_2(fail: Callable[..., str], arguments: list[str]) -> None:
    assert "Error: " in fail(*arguments, code=2)


def test_an_empty_token_file_is_no_token(fail: Callable[..., str], tmp_path: Path) -> None:
    """Rule 8: not "no token needed"."""
    (tmp_path / "token").write_text("\n")
    assert "empty" in fail("run", *TARGET, "--admin-token-file", "token")


@pytest.mark.parametrize("option", ["--listen", "--admin"])
def test_an_occupied_port_is_said_with_the_option_that_helps(fail: Callable[..., str], option: str) -> None:
    other = "--admin" if option == "--listen" else "--listen"
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        where = f"127.0.0.1:{occupied.getsockname()[1]}"
        text = fail("run", *TARGET, "--log", "memory:", option, where, other, "127.0.0.1:0")
    one_sentence(text)
    assert where in text
    assert f"choose another {option}" in text


def test_a_second_interceptor_on_the_same_log_is_refused(fail: Callable[..., str], tmp_path: Path) -> None:
    """Rule 8: a second writer."""
    url = f"file://{tmp_path}/log"
    first = open_log(url)
    try:
        text = fail("run", *TARGET, "--log", url, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    finally:
        first.close()
    one_sentence(text)
    assert str(tmp_path / "log") in text


def test_a_command_whose_port_somebody_holds_is_not_started(fail: Callable[..., str]) -> None:
    """We would record and replay into a stranger."""
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        target = f"http://127.0.0.1:{occupied.getsockname()[1]}"
        text = fail("run", "--target", target, "--log", "memory:", "--", "true")
    one_sentence(text)
    assert "port" in text


@pytest.mark.parametrize("command", ["state", "checkpoint", "reproject"])
def test_control_without_an_ambassador_says_so(fail: Callable[..., str], command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    text = fail(command, "--admin", nobody)
    one_sentence(text)
    assert nobody in text
    assert "--admin" in text


@pytest.mark.parametrize("admin", ["nonsense", "http://", "127.0.0.1:x", ""])
def test_control_at_an_address_that_is_none(fail: Callable[..., str], admin: str) -> None:
    one_sentence(fail("state", "--admin", admin))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n<html>", b"SSH-2.0-x\r\n", b"HTTP/1.1 404 No\r\n\r\nno"])
def test_control_at_the_port_of_something_else(fail: Callable[..., str], answer: bytes) -> None:
    """The application's own port, say."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def serve() -> None:
            connected, _ = stranger.accept()
            with connected:
                connected.recv(65_536)
                connected.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        text = fail("state", "--admin", f"127.0.0.1:{stranger.getsockname()[1]}")
        thread.join()
    one_sentence(text)


def control(
    monkeypatch: pytest.MonkeyPatch, answer: object, *arguments: str
) -> tuple[Result, list[tuple[object, ...]]]:
    """Run a control command against an ambassador that answers so."""
    asked: list[tuple[object, ...]] = []

    def call(self: object, method: str, path: str, timeout_s: float = 0, **query: object) -> object:
        asked.append((method, path, {name: value for name, value in query.items() if value is not None}))
        return answer

    monkeypatch.setattr("interceptor.cli.control.Control.call", call)
    return CliRunner().invoke(cli, arguments, catch_exceptions=False), asked


STATE = {
    "state": "Active", "reason": "active", "versions": {"last": 3, "durable": 2}, "held": 0, "in_flight": 1,
    "target": {"address": "a:1", "incarnations": 2, "pid": None, "boot_id_problem": "GET /id at a:1: 404"},
    "holds": ["checkpoint", "operator"], "problem": None, "note": "older", "log_unavailable": None,
    "uncertain": [1, 2], "quarantined": [], "last_recovery": None,
    "checkpoints": {"recovery_estimate_s": 1.84},
}  # fmt: skip


def test_state_shows_and_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    result, asked = control(monkeypatch, STATE, "state", "waiting")
    assert asked == [("POST", "/state", {"state": "Waiting"})]
    assert "Active (active)" in result.output
    assert "last 3  durable 2" in result.output
    assert "uncertain [1, 2]" in result.output
    assert "boot_id_problem GET /id at a:1: 404\nnote      older\n" in result.output
    assert "holds     checkpoint, operator" in result.output
    assert "if it died now: 1.8 s" in result.output
    result, asked = control(monkeypatch, STATE, "state", "--json")
    assert asked == [("GET", "/state", {})]
    assert json.loads(result.output) == STATE


def test_checkpoint_takes_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {
        "id": "http-1", "version": 7, "engine": "http", "time": 0, "size_bytes": 9, "blackout_s": 0.1,
        "phases_s": {"drain": 0.02}, "verified": True, "pinned": False,
    }  # fmt: skip
    result, asked = control(monkeypatch, entry, "checkpoint")
    assert asked == [("POST", "/checkpoint", {})]
    line = "http-1     version 7  1970-01-01T00:00:00Z  9 bytes  blackout 0.100 s (drain 0.020)  verified"
    assert line in result.output
    for words, method, query in (
        (("verify", "http-1"), "POST", {"id": "http-1", "do": "verify"}),
        (("pin", "http-1"), "POST", {"id": "http-1", "do": "pin"}),
        (("pin", "--off", "http-1"), "POST", {"id": "http-1", "do": "unpin"}),
        (("rm", "http-1"), "DELETE", {"id": "http-1"}),
        (("show", "http-1"), "GET", {"id": "http-1"}),
    ):
        result, asked = control(monkeypatch, entry, "checkpoint", *words)
        assert asked == [(method, "/checkpoint", query)]
        assert "http-1" in result.output
    result, asked = control(monkeypatch, [], "checkpoint", "--list")
    assert asked == [("GET", "/checkpoint", {})]
    assert result.output == "no checkpoints\n"


def test_reproject_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {
        "from": 2, "to": 5, "events": 4, "seconds": 0.5, "rate": 8.0, "skipped": 0, "divergences": 1,
        "first_divergences": [{"version": 3, "expected": {"status": 200}, "got": {"status": 500}}],
    }  # fmt: skip
    result, asked = control(monkeypatch, answer, "reproject", "--from", "2")
    assert asked == [("POST", "/reproject", {"from": 2})]
    assert "4 events (2 to 5)" in result.output
    assert "event 3: expected" in result.output
    result, _ = control(monkeypatch, {"already_in_step": True, "detail": "holds all"}, "reproject")
    assert result.output == "holds all\n"


def test_the_version_and_the_help_of_every_command() -> None:
    assert CliRunner().invoke(cli, ["--version"]).exit_code == 0
    for name in cli.commands:
        result = CliRunner().invoke(cli, [name, "-h"])
        assert result.exit_code == 0
        assert "Usage:" in result.output


def test_a_damaged_log_is_refused_with_the_commands_that_help(fail: Callable[..., str], tmp_path: Path) -> None:
    """Rule 8: what, where, and what to do."""
    url = f"file:{tmp_path}/log"
    log = open_log(url)
    log.append([Event(version, version, b"GET / HTTP/1.1\r\n\r\n", b"") for version in (1, 2)])
    log.close()
    (segment,) = (tmp_path / "log").glob("*.log")
    data = bytearray(segment.read_bytes())
    data[data.index(b"GET")] ^= 1
    segment.write_bytes(data)
    text = fail("run", *TARGET, "--log", url)
    one_sentence(text)
    for words in (f"{segment} at byte ", f"log verify --log {url}", f"log repair --log {url} --dry-run"):
        assert words in text


def test_what_is_no_damage_keeps_its_words() -> None:
    assert with_remedy(LogLockedError("in use"), "file:x") == "in use"
    damaged = LogDamagedError("bad", place="records", offset_bytes=0)
    text = with_remedy(damaged, "postgresql://ann:hunter2@db/shop?password=hunter2")
    assert "log verify --log postgresql://ann:***@db/shop" in text
    assert "hunter2" not in text
    assert "repair" not in text
