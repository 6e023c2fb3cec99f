"""The image: built without a registry, and what the Containerfile promises of it."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from engine import ROOT, Engine

pytestmark = pytest.mark.timeout(1200)  # a build from nothing


def test_it_is_not_root_and_says_what_it_is(engine: Engine, image: str) -> None:
    (described,) = json.loads(engine.run("podman", "image", "inspect", image))
    config, labels = described["Config"], described["Labels"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["interceptor"]
    assert labels["org.opencontainers.image.title"] == "interceptor"
    assert labels["org.opencontainers.image.revision"] == "abc"
    assert labels["org.opencontainers.image.base.name"] == "localhost/interceptor-runtime-base:bookworm"


def test_it_runs_compiled_on_a_read_only_root(engine: Engine, image: str) -> None:
    run = ("podman", "run", "--rm", "--network=none", "--read-only", "--cap-drop=all")
    assert "hot path compiled" in engine.run(*run, image, "--version")
    controller = engine.run(*run, "--entrypoint=python", image, "-c", "import kopf; print('controller')")
    assert controller == "controller\n"


def test_it_holds_nothing_to_build_with(engine: Engine, image: str) -> None:
    look = "import shutil, importlib.util as u; print([shutil.which('gcc'), u.find_spec('mypyc'), u.find_spec('pip')])"
    run = ("podman", "run", "--rm", "--network=none", "--entrypoint=python", image, "-c", look)
    assert engine.run(*run) == "[None, None, None]\n"


def test_the_pinned_packages_are_all_that_are_needed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"].get("controller", ())]
    pinned = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE)
    )
    for requirement in wanted:
        name, least = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        assert _numbers(pinned[name.lower()]) >= _numbers(least), f"{requirement}: see docs/kubernetes.md, The image"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
