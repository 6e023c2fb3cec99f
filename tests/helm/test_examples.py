"""The examples are valid Kubernetes objects, and the sidecar in them is one that `interceptor run` takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from rendering import ROOT, container

from interceptor.cli.run import run_command

EXAMPLES = sorted((ROOT / "examples").glob("[!v]*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_each_example_fits_the_published_schema(file: Path) -> None:
    objects = list(yaml.safe_load_all(file.read_text()))
    assert objects
    for item in objects:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_kubectl_reads_each_example(file: Path, kubectl: str) -> None:
    # Without a cluster nothing can be created, but labels are set on the client's side, by its own types.
    done = subprocess.run(
        [kubectl, "label", "--local", "-f", str(file), "a=b", "-o", "name"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_pods_sidecar_takes_its_arguments() -> None:
    pod = next(yaml.safe_load_all((ROOT / "examples" / "pod.yaml").read_text()))
    arguments = container(pod["spec"], "interceptor")["args"]
    options = run_command.make_context("run", arguments[1:]).params
    slept_s = container(pod["spec"], "application")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] >= slept_s + options["drain_timeout_s"] + 10 + 5


def test_the_pods_service_leads_to_it_while_a_container_is_down() -> None:
    _, service = yaml.safe_load_all((ROOT / "examples" / "pod.yaml").read_text())
    assert service["spec"]["publishNotReadyAddresses"] is True
