"""The commands on a sealed log, with its key, with another one, and without."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from interceptor.cli import run as run_module
from interceptor.cli.main import cli
from storage_backends import codec
from storage_backends.conformance import event
from storage_backends.errors import LogConfigurationError, LogKeyError
from storage_backends.records import Outcome
from storage_backends.secrets import load_keyring
from tests.storage_backends.sealing import (
    MARKER,
    SECRET,
    KeyFile,
    filled,
    frame_at,
    make_key_file,  # noqa: F401
    refreshed,
)


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["log", *arguments])


@pytest.fixture
def sealed(tmp_path: Path, key_file: KeyFile) -> tuple[str, str]:
    """A sealed log and its keys, as given on the command line."""
    filled(tmp_path / "log", [SECRET, Outcome(1, 200, 3, 4), event(2)], key_file("k1"))
    return f"file:{tmp_path}/log", str(key_file("k1"))


@pytest.mark.parametrize("command", ["show", "export", "stats", "tail"])
def test_commands_read_with_the_key_and_name_it_without(sealed: tuple[str, str], command: str) -> None:
    url, keys = sealed
    good = ask(command, "--log", url, "--log-key-file", keys)
    assert good.exit_code == 0
    assert "/login" in good.output
    bad = ask(command, "--log", url)
    assert isinstance(bad.exception, LogKeyError)
    assert "event 1 is sealed with the key 'k1'" in str(bad.exception)
    assert "/login" not in bad.output


def test_verify_checks_what_it_can(sealed: tuple[str, str], key_file: KeyFile, tmp_path: Path) -> None:
    url, keys = sealed
    whole = ask("verify", "--log", url, "--log-key-file", keys)
    assert (whole.exit_code, "not looked into" in whole.output) == (0, False)
    without = ask("verify", "--log", url)
    assert without.exit_code == 0
    assert "not looked into, for want of a key: 2 with the key 'k1'" in without.output
    other = ask("verify", "--log", url, "--log-key-file", str(key_file("k2")))
    assert "2 with the key 'k1'" in other.output
    (segment,) = (tmp_path / "log").glob("*.log")
    data = segment.read_bytes()
    payload = codec._unpack(frame_at(data, 1)[12:])
    payload[5] = payload[5][:-1] + bytes([payload[5][-1] ^ 1])
    segment.write_bytes(data.replace(frame_at(data, 1), refreshed(codec._pack(payload))))
    assert ask("verify", "--log", url).exit_code == 0
    changed = ask("verify", "--log", url, "--log-key-file", keys)
    assert changed.exit_code == 1
    assert "event 1 can't be opened" in changed.output


def test_ls_and_repair_need_no_key(sealed: tuple[str, str]) -> None:
    url, keys = sealed
    for options in ((), ("--log-key-file", keys)):
        assert "2 events, 3 records" in ask("ls", "--log", url, *options).output
        assert "nothing to repair" in ask("repair", "--log", url, *options).output


def test_an_export_becomes_a_sealed_log_again(sealed: tuple[str, str], tmp_path: Path) -> None:
    url, keys = sealed
    file = tmp_path / "export.jsonl"
    assert ask("export", "--show-secrets", "--log", url, "--log-key-file", keys, "--output", str(file)).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    result = ask("import", "--log", f"file:{tmp_path}/copy", "--log-key-file", keys, str(file))
    assert result.exit_code == 0, result.output
    assert MARKER not in b"".join(path.read_bytes() for path in (tmp_path / "copy").iterdir())
    shown = ask("show", "--log", f"file:{tmp_path}/copy", "--log-key-file", keys, "--body", "--show-secrets")
    assert "hunter2-body" in shown.output


def test_new_key_prints_a_line_that_can_be_used(tmp_path: Path) -> None:
    named = ask("new-key", "primary")
    assert re.fullmatch(r"primary [A-Za-z0-9+/]{43}=\n", named.output)
    path = tmp_path / "keys"
    path.write_text(ask("new-key").output + named.output)
    path.chmod(0o600)
    assert load_keyring(path) is not None
    assert isinstance(ask("new-key", "two words").exception, LogConfigurationError)


def test_run_takes_a_key_file(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(run_module, "run_ambassador", lambda settings: seen.append(settings.log_key_file))
    monkeypatch.setattr(run_module, "configure_logging", lambda level, *, as_json: None)
    target = ("run", "--target", "http://127.0.0.1:9")
    runner = CliRunner()
    runner.invoke(cli, [*target, "--log-key-file", "/k"], catch_exceptions=False)
    runner.invoke(cli, [*target], env={"INTERCEPTOR_LOG_KEY_FILE": "/e"}, catch_exceptions=False)
    runner.invoke(cli, [*target], catch_exceptions=False)
    assert seen == [Path("/k"), Path("/e"), None]
