"""URLs and options: what can't be used is refused before anything is touched."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from storage_backends import open_log, registry
from storage_backends.errors import LogConfigurationError
from storage_backends.file.directory import path_of_url
from storage_backends.memory import MemoryLog


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LogConfigurationError, match=r"file:.*memory:"):
        open_log("carrier-pigeon://coop")


@pytest.mark.parametrize("url", ["", "memory", "/var/log"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(LogConfigurationError, match="known schemes"):
        open_log(url)


@pytest.mark.parametrize("options", [{"ring_events_max": 0}, {"ring_bytes_max": -1}, {"colour": 3}])
def test_a_bad_option_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(LogConfigurationError):
        open_log("memory:", **options)


def test_built_in_schemes_work_without_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_: [])
    assert isinstance(open_log("memory:"), MemoryLog)
    assert registry.known_schemes() == ["file", "memory", "postgres", "postgresql"]


def test_a_third_party_adds_a_scheme_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "storage_backends.memory:open_memory_log", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [entry])
    assert open_log("mine:x").url == "mine:x"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b", "/a/b"),
        ("file://localhost/a", "/a"),
        ("file:a/b", "a/b"),
        ("file://./a", "a"),
        ("file://../a", "../a"),
        ("file:///a%20b", "/a b"),
        ("file:///[a/b]", "/[a/b]"),
    ],
)
def test_a_file_url_names_a_directory(url: str, path: str) -> None:
    assert path_of_url(url) == Path(path)


@pytest.mark.parametrize("url", ["file:", "file://", "file://data/log", "file:///a?b=c", "file:///a#b", "file://[a"])
def test_an_ambiguous_file_url_is_refused(url: str) -> None:
    with pytest.raises(LogConfigurationError):
        path_of_url(url)
