"""Addresses as people type them."""

from __future__ import annotations

import pytest

from interceptor.address import Address, HttpsAddress, UnixAddress, parse_listen, parse_target
from interceptor.errors import ConfigurationError
from interceptor.target_tls import TargetTls


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("http://127.0.0.1:8000", Address("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://app/", Address("app", 80), "app:80"),
        ("HTTP://App:1", Address("app", 1), "app:1"),
        ("http://[::1]:8000", Address("::1", 8000), "[::1]:8000"),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock"), "unix:/run/app.sock"),
        ("unix:///run/../run/app.sock", UnixAddress("/run/app.sock"), "unix:/run/app.sock"),
        ("https://app", HttpsAddress("app", 443, TargetTls()), "https://app:443"),
        ("https://[::1]:8443", HttpsAddress("::1", 8443, TargetTls()), "https://[::1]:8443"),
    ],
)
def test_targets(url: str, address: Address | UnixAddress | HttpsAddress, shown: str) -> None:
    assert parse_target(url) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000", "unix:app.sock", "unix:", "unix:/", f"unix:/{107 * 'x'}",
        "http://", "http://:80", "", "http://app/path", "http://app?x=1", "http://app#f",
        "http://user@app", "http://user:secret@app", "http://:secret@app", "http://app:99999", "http://app:x",
        "http://app:0", "http://[::1", "http://[zz]:80", "ftp://app", "http:app",
    ],
)  # fmt: skip
def test_targets_that_are_none(url: str) -> None:
    """Rule 8: refused by a sentence that names the option."""
    with pytest.raises(ConfigurationError, match="--target"):
        parse_target(url)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8001", Address("0.0.0.0", 8001)),
        (":8001", Address("0.0.0.0", 8001)),
        ("[::1]:8001", Address("::1", 8001)),
        ("[::]:0", Address("::", 0)),
        ("localhost:65535", Address("localhost", 65535)),
    ],
)
def test_listen_addresses(text: str, address: Address) -> None:
    assert parse_listen(text, "--listen") == address


@pytest.mark.parametrize(
    "text",
    ["8001", "", "host", "host:", "host:x", "host:-1", "host:65536", "::1:8001", "host:\uff18", "host:²", "[::1]"],
)
def test_listen_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--admin"):
        parse_listen(text, "--admin")
