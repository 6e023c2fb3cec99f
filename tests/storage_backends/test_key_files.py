"""Key files: which are taken, which are refused, and that no message shows what is in them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from storage_backends import open_log
from storage_backends.errors import LogConfigurationError
from storage_backends.secrets import load_keyring
from tests.storage_backends.sealing import (
    KeyFile,
    make_key_file,  # noqa: F401
)


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o644, 0o444])
def test_a_key_file_that_others_can_read_is_refused(key_file: KeyFile, mode: int) -> None:
    path = key_file("k1")
    path.chmod(mode)
    with pytest.raises(
        LogConfigurationError, match=rf"can be read by everybody or written by others \(mode {mode:04o}\): chmod 600"
    ):
        load_keyring(path)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_a_group_may_read_it_as_kubernetes_mounts_secrets(key_file: KeyFile, mode: int) -> None:
    path = key_file("k1")
    path.chmod(mode)
    assert load_keyring(path) is not None


SHORT = base64.b64encode(b"s" * 31).decode()
FULL = base64.b64encode(b"f" * 32).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        ("# only a comment\n\n", "holds no key"),
        (f"k1 {SHORT}", "line 1: expected"),
        (f"k1 {FULL}\nk2 {FULL[:-1]}", "line 2: expected"),
        (f"{FULL}", "line 1: expected"),
        (f"k/1 {FULL}", "line 1: expected"),
        (f"k1 {FULL} more", "line 1: expected"),
        (f"k1 {FULL}\nk1 {FULL}", "line 2: this key id stands there twice"),
        (f"k1 {FULL[:-4]}ü===", "line 1: expected"),
    ],
)
def test_a_bad_key_file_is_refused_and_never_quoted(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(LogConfigurationError, match=says) as caught:
        load_keyring(path)
    assert "c3Nz" not in str(caught.value)
    assert "ZmZm" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogConfigurationError, match=r"nowhere can't be read: No such file"):
        load_keyring(tmp_path / "nowhere")


def test_a_keyring_does_not_show_its_keys(key_file: KeyFile) -> None:
    path = key_file("k1")
    text = path.read_text().split()[1]
    ring = load_keyring(path)
    shown = repr(ring) + repr(vars(ring)) + str(ring)
    assert text not in shown
    assert repr(base64.b64decode(text)) not in shown


def test_a_backend_that_can_not_encrypt_takes_no_key_file(monkeypatch: pytest.MonkeyPatch, key_file: KeyFile) -> None:
    monkeypatch.setattr("storage_backends.registry._opener_path", lambda scheme: "mine:opener")
    monkeypatch.setattr("storage_backends.registry.load_opener", lambda url: pytest.fail)
    with pytest.raises(LogConfigurationError, match="can't encrypt"):
        open_log("mine:x", key_file=key_file("k1"))
