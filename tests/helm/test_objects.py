"""Every documented mode of the chart: helm renders it, and each object fits the published OpenAPI schema."""

from __future__ import annotations

import json
from pathlib import Path

import kubernetes_validate
import pytest
from rendering import CHART, Chart, Object, container, only, pod_spec

KUBERNETES_VERSIONS = ("1.30", kubernetes_validate.latest_version())
CUSTOM_GROUPS = ("monitoring.coreos.com/", "crsc.io/")

MODES = {
    "default": (),
    "ordinary container": ("interceptor.sidecar=container", "options.checkpoint-on-stop=true"),
    "claim": (
        "log.type=persistentVolumeClaim", "workload=StatefulSet", "log.persistentVolumeClaim.storageClassName=fast",
    ),
    "claim that exists": ("log.type=persistentVolumeClaim", "log.persistentVolumeClaim.existingClaim=mine"),
    "database": ("log.type=postgresql", "log.postgresql.existingSecret=database", "options.durability=relaxed"),
    "distributed log": ("log.type=url", "log.url.value=quorum://log", "log.url.distributed=true", "replicas=3"),
    "memory": ("log.emptyDir.medium=Memory", "log.emptyDir.sizeLimit=1Gi"),
    "monitoring": (
        "serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true",
        "options.checkpoint-interval=60", "options.recovery-time-objective=2", "options.admin-tls-cert=/tls/crt",
        "options.admin-tls-key=/tls/key",
    ),
    "everything else": (
        "application.image=registry.example/shop:1", "application.readinessPath=/ready", "application.command={shop}",
        "application.env[0].name=A", "application.env[0].value=b", "application.livenessProbe.httpGet.path=/live",
        "application.livenessProbe.httpGet.port=8000", "interceptor.livenessProbe.tcpSocket.port=8001",
        "podDisruptionBudget.enabled=true", "service.type=NodePort", "service.nodePort=30001",
        "service.annotations.a=b",
        "networkPolicy.clients[0].podSelector.matchLabels.a=b", "networkPolicy.admin[0].ipBlock.cidr=10.0.0.0/8",
        "shareProcessNamespace=true", "priorityClassName=high", "nodeSelector.disk=ssd", "commonLabels.team=a",
        "tolerations[0].key=a", "tolerations[0].operator=Exists", "imagePullSecrets[0].name=registry",
        "extraVolumes[0].name=keys", "extraVolumes[0].secret.secretName=keys", "interceptor.volumeMounts[0].name=keys",
        "interceptor.volumeMounts[0].mountPath=/keys", "admin.existingSecret=token", "serviceAccount.create=false",
        "interceptor.env[0].name=PGPASSWORD", "interceptor.env[0].value=secret",
    ),
    "the prototype's controllers": ("options.compat=true", "serviceMonitor.enabled=true"),
    "controller": ("mode=controller", "serviceMonitor.enabled=true", "controller.namespaces={shop}"),
}  # fmt: skip


def validate(item: Object) -> None:
    """Check an object of Kubernetes' own against its published schema, in which no unknown field is allowed."""
    if item["apiVersion"].startswith(CUSTOM_GROUPS):
        return
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("mode", MODES)
def test_each_object_fits_the_published_schema(chart: Chart, mode: str) -> None:
    objects = chart.render(*MODES[mode])
    assert objects
    for item in objects:
        validate(item)
        assert len(item["metadata"]["name"]) <= 63
        assert item["metadata"].get("labels"), item["metadata"]["name"]


def test_the_validation_sees_a_wrong_field(chart: Chart) -> None:
    workload = only(chart.render(), "Deployment")
    workload["spec"]["template"]["spec"]["initContainers"][0]["restartPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(workload)


def test_the_chart_is_clean_for_a_strict_linter(chart: Chart) -> None:
    assert "0 chart(s) failed" in chart.run("lint", "--strict", str(CHART))


@pytest.mark.parametrize("mode", ["default", "controller"])
def test_an_installation_is_planned_without_a_cluster(chart: Chart, mode: str) -> None:
    settings = [f"--set={value}" for value in MODES[mode]]
    planned = chart.run("install", "demo", str(CHART), "--namespace=shop", "--dry-run=client", *settings)
    assert "NOTES:" in planned


def test_the_defaults_need_no_operator(chart: Chart) -> None:
    assert not [each["kind"] for each in chart.render() if each["apiVersion"].startswith("monitoring.coreos.com/")]


def test_the_sidecar_is_native_and_has_no_startup_probe(chart: Chart) -> None:
    (sidecar,) = pod_spec(chart.render())["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert "startupProbe" not in sidecar


def test_the_service_leads_to_the_sidecar_and_to_no_control(chart: Chart) -> None:
    objects = chart.render("admin.port=9002")
    (port,) = only(objects, "Service")["spec"]["ports"]
    ports = {each["name"]: each["containerPort"] for each in container(pod_spec(objects), "interceptor")["ports"]}
    assert (port["port"], port["targetPort"], ports) == (8001, "http", {"http": 8001, "admin": 9002})


def test_the_service_leads_to_a_pod_whose_application_is_down(chart: Chart) -> None:
    # ContainersReady is false while any container is down (Kubernetes, "Pod conditions"): without this new clients are
    # refused for as long as the kubelet backs off, and nobody is held.
    assert only(chart.render(), "Service")["spec"]["publishNotReadyAddresses"] is True
    several = only(chart.render(*MODES["distributed log"]), "Service")["spec"]
    assert "publishNotReadyAddresses" not in several


@pytest.mark.parametrize(
    ("version", "hook"),
    [("1.20.2", {"exec": {"command": ["sleep", "30"]}}), ("1.30.0", {"sleep": {"seconds": 30}})],
)
def test_an_old_cluster_gets_what_it_knows(chart: Chart, version: str, hook: Object) -> None:
    values = ("interceptor.sidecar=container", "application.image=registry.example/shop:1")
    spec = pod_spec(chart.render(*values, version=version))
    assert container(spec, "application")["lifecycle"]["preStop"] == hook
    assert "initContainers" not in spec
    assert "restartPolicy" not in container(spec, "interceptor")


def test_readiness_is_the_sidecars_and_liveness_the_applications(chart: Chart) -> None:
    spec = pod_spec(chart.render("application.readinessPath=/ready", "application.livenessProbe.tcpSocket.port=8000"))
    sidecar, application = container(spec, "interceptor"), container(spec, "application")
    assert sidecar["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin", "scheme": "HTTP"}
    assert "--ready-path=/ready" in sidecar["args"]
    assert "readinessProbe" not in application
    assert "livenessProbe" not in sidecar
    assert "livenessProbe" in application


@pytest.mark.parametrize("mode", ["default", "ordinary container", "controller"])
def test_each_container_is_confined(chart: Chart, mode: str) -> None:
    spec = pod_spec(chart.render(*MODES[mode]))
    for each in [*spec.get("initContainers", ()), *spec["containers"]]:
        context = each["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_admin_port_is_for_the_controller_and_prometheus(chart: Chart) -> None:
    objects = chart.render()
    policy = only(objects, "NetworkPolicy")["spec"]
    peers = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["ingress"]}
    assert peers["http"] is None
    assert [peer["podSelector"]["matchLabels"] for peer in peers["admin"]] == [
        {"app.kubernetes.io/component": "controller", "app.kubernetes.io/part-of": "interceptor"},
        {"app.kubernetes.io/name": "prometheus"},
    ]
    controller = only(chart.render("mode=controller"), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert peers["admin"][0]["podSelector"]["matchLabels"].items() <= controller.items()


def test_the_prototypes_controllers_find_control_on_the_clients_port(chart: Chart) -> None:
    objects = chart.render(*MODES["the prototype's controllers"])
    sidecar = container(pod_spec(objects), "interceptor")
    assert {"--admin=same", "--compat"} <= set(sidecar["args"])
    assert sidecar["readinessProbe"]["httpGet"]["port"] == "http"
    assert only(objects, "Service", "-metrics")["spec"]["ports"][0]["targetPort"] == "http"
    assert not [each for each in objects if each["kind"] == "Secret"]


def test_the_old_pod_leaves_the_log_before_the_new_one_takes_it(chart: Chart) -> None:
    assert only(chart.render(), "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("values", "waits"),
    [
        ((), []),
        (("log.type=persistentVolumeClaim",), ["--log-lock-wait-s=40"]),
        (("log.type=persistentVolumeClaim", "options.log-lock-wait-s=7"), ["--log-lock-wait-s=7"]),
    ],
)
def test_the_successor_of_a_deleted_pod_waits_for_the_log(
    chart: Chart, values: tuple[str, ...], waits: list[str]
) -> None:
    # Recreate is for rollouts: a Pod that is deleted or evicted gets its successor at once, beside it.
    arguments = container(pod_spec(chart.render(*values)), "interceptor")["args"]
    assert [each for each in arguments if each.startswith("--log-lock-wait-s")] == waits


def test_a_claim_outlives_the_release(chart: Chart) -> None:
    claim = only(chart.render(*MODES["claim"]), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_databases_url_stays_in_its_secret(chart: Chart) -> None:
    spec = pod_spec(chart.render(*MODES["database"]))
    assert "--log-url-file=/etc/interceptor/log/url" in container(spec, "interceptor")["args"]
    (volume,) = (each for each in spec["volumes"] if each["name"] == "log-url")
    assert volume["secret"]["secretName"] == "database"


def test_the_spool_is_bounded_before_the_kubelet_would_evict_the_pod(chart: Chart) -> None:
    (volume,) = (each for each in pod_spec(chart.render())["volumes"] if each["name"] == "spool")
    assert volume["emptyDir"] == {"sizeLimit": "1024Mi"}


def test_the_dashboard_is_json_with_a_panel_for_each_query(chart: Chart) -> None:
    board = json.loads(only(chart.render(*MODES["monitoring"]), "ConfigMap")["data"]["interceptor.json"])
    assert board["title"] == "Interceptor"
    assert all(panel["targets"] for panel in board["panels"] if panel["type"] != "row")


def test_the_example_values_render(chart: Chart) -> None:
    files = sorted((Path(CHART).parents[1] / "examples").glob("values-*.yaml"))
    assert files
    for file in files:
        for item in chart.render(files=(file,)):
            validate(item)
