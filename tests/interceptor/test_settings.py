"""Settings and limits: each limit has a meaning, an option and a metric; how deaths are detected."""

from __future__ import annotations

from dataclasses import fields

import pytest

from interceptor.address import Address
from interceptor.cli.run import run_command
from interceptor.errors import ConfigurationError
from interceptor.limits import Limits
from interceptor.settings import Detection, Settings, parse_detection

NAMES = [item.name for item in fields(Limits)]


def settings(host: str, detection: Detection | None = None) -> Settings:
    return Settings(Address(host, 80), Address("127.0.0.1", 0), None, "memory:", detection=detection)


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_says_what_it_bounds_in_which_unit_and_is_an_option(name: str) -> None:
    """Rule 7: a limit, a metric (see test_metrics), and a defined answer when it is full."""
    assert len(Limits.meanings()[name]) > 10
    assert name.endswith(("_max", "_s", "_ms", "_us", "_after", "_per_s_min"))
    (option,) = [parameter for parameter in run_command.params if parameter.name == name]
    assert option.opts == [f"--{name.replace('_', '-')}"]
    assert option.default == getattr(Limits(), name)
    assert option.help == Limits.meanings()[name]  # type: ignore[attr-defined]


def test_times_may_have_fractions_and_counts_may_not() -> None:
    for item in fields(Limits):
        assert isinstance(item.default, float) == item.name.endswith("_s"), item.name
        assert item.default >= 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("listener", (Detection.LISTENER, None)),
        ("http:/boot-id?x=1", (Detection.BOOT_ID, "/boot-id?x=1")),
        ("http:/", (Detection.BOOT_ID, "/")),
    ],
)
def test_the_way_of_detection_is_read(text: str, meant: tuple[Detection, str | None]) -> None:
    assert parse_detection(text) == meant


@pytest.mark.parametrize(
    "text", ["http:", "http:boot", "http:PATH", "http:/a b", "http://host/id\r\n", "http", "pid", ""]
)
def test_another_way_of_detection_is_refused(text: str) -> None:
    """Rule 8."""
    with pytest.raises(ConfigurationError, match="--detect"):
        parse_detection(text)


def test_limits_cannot_be_changed_later() -> None:
    with pytest.raises(AttributeError):
        Limits().hold_requests_max = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("host", "asked", "effective"),
    [
        ("127.0.0.1", None, Detection.PROCESS),
        ("192.0.2.1", None, Detection.CONNECTION),
        ("127.0.0.1", Detection.CONNECTION, Detection.CONNECTION),
        ("127.0.0.1", Detection.LISTENER, Detection.LISTENER),
        ("127.0.0.1", Detection.BOOT_ID, Detection.BOOT_ID),
        ("192.0.2.1", Detection.BOOT_ID, Detection.BOOT_ID),
    ],
)
def test_detection_is_by_the_listening_socket_where_that_can_be_seen(
    host: str, asked: Detection | None, effective: Detection
) -> None:
    assert settings(host, asked).effective_detection() is effective


def test_a_listening_socket_elsewhere_cannot_be_seen() -> None:
    """Rule 8."""
    with pytest.raises(ConfigurationError, match="--detect connection"):
        settings("192.0.2.1", Detection.LISTENER).effective_detection()
