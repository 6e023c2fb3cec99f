"""Bad values are refused with a sentence that names the value; nothing is rendered."""

from __future__ import annotations

import pytest
from rendering import Chart, RefusedError


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("replicas=2",), "2 Pods would each have a log and a state of their own"),
        (
            ("replicas=2", "log.type=postgresql", "log.postgresql.existingSecret=a"),
            "log.type postgresql has one writer",
        ),
        (("replicas=2", "log.type=url", "log.url.value=x:y"), "or a distributed log"),
        (("log.type=postgresql",), "name the Secret that has the database's URL"),
        (("log.type=url",), "log.type is url, so say which"),
        (("options.checkpoint-on-stop=true",), "set interceptor.sidecar to container"),
        (("application.port=8002",), "the application listens on 8002 already"),
        (("application.port=8001",), "8001 is where the sidecar listens"),
        (("prometheusRule.enabled=true",), "set serviceMonitor.enabled as well"),
        (("mode=both",), "at '/mode'"),
        (("application.port=80000",), "at '/application/port'"),
        (("application.readinessPath=ready",), "at '/application/readinessPath'"),
        (("log.type=disk",), "at '/log/type'"),
        (("image.digest=abc",), "at '/image/digest'"),
        (("shutdown.drainSeconds=0",), "at '/shutdown/drainSeconds'"),
        (("replica=1",), "additional properties 'replica' not allowed"),
        (("options.hold-request-max=1",), "additional properties 'hold-request-max' not allowed"),
        (("options.admin=0.0.0.0:1",), "additional properties 'admin' not allowed"),
        (("options.hold-requests-max=0",), "at '/options/hold-requests-max'"),
        (("options.durability=lax",), "at '/options/durability'"),
        (("prometheusRule.targetDownFor=1 minute",), "at '/prometheusRule/targetDownFor'"),
    ],
)
def test_bad_values_are_refused(chart: Chart, values: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(RefusedError) as refused:
        chart.render(*values)
    assert sentence in str(refused.value)


def test_an_old_cluster_is_refused(chart: Chart) -> None:
    with pytest.raises(RefusedError, match=r"requires kubeVersion: >=1\.20"):
        chart.render(version="1.19.0")


def test_a_native_sidecar_is_refused_where_it_would_be_an_init_container_that_never_ends(chart: Chart) -> None:
    with pytest.raises(RefusedError, match=r"Kubernetes v1\.28\.9 knows no native sidecars .* set it to container"):
        chart.render(version="1.28.9")
    assert chart.render("mode=controller", version="1.28.9")
