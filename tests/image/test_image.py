"""The image: built without a registry, what the Containerfile promises of it, and the chart's Pod with it.

One file, so that one process of the tests builds it, once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import tomllib

import pytest
from engine import ROOT, Engine
from pod import POD, RunningPod

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


def test_the_state_outlives_the_applications_container(pod: RunningPod) -> None:
    for expected in (1, 2, 3):
        status, content = pod.request("POST", "/counters/cart")
        assert (status, json.loads(content)["value"]) == (200, expected)

    first = pod.pid("application")
    os.kill(first, signal.SIGKILL)
    status, content = pod.request("POST", "/counters/cart")

    assert (status, json.loads(content)["value"]) == (200, 4)
    assert pod.pid("application") != first
    assert pod.ready()


def test_the_metrics_are_shown_to_who_has_the_token(pod: RunningPod) -> None:
    os.kill(pod.pid("application"), signal.SIGKILL)
    assert pod.request("POST", "/counters/cart")[0] == 200
    read = "print(open('/etc/interceptor/admin/token').read())"
    token = pod.engine.run("podman", "exec", f"{POD}-interceptor", "python", "-c", read).strip()

    assert pod.request("GET", "/metrics", 8002)[0] == 401
    status, metrics = pod.request("GET", "/metrics", 8002, Authorization=f"Bearer {token}")
    assert status == 200
    assert "\ninterceptor_recoveries_total 1.0\n" in metrics
    assert '\ninterceptor_state{state="active"} 1.0\n' in metrics
    assert 'hot_path="compiled"' in metrics


def test_the_sidecar_is_confined(pod: RunningPod) -> None:
    look = (
        "import os, re; status = open('/proc/1/status').read(); "
        "print(os.getuid(), re.search('CapBnd:\\t0*(\\w)', status)[1], re.search('NoNewPrivs:\\t(.)', status)[1]); "
        "open('/x', 'w')"
    )
    command = [
        "podman",
        "exec",
        f"{POD}-interceptor",
        "python",
        "-c",
        f"try:\n exec({look!r})\nexcept OSError as e: print(e)",
    ]
    assert pod.engine.run(*command) == "65532 0 1\n[Errno 30] Read-only file system: '/x'\n"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
