"""The decisions, as functions of objects."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.annotations import Wanted, read_wanted
from controller.checkpoint import due_in_s, read_spec, surplus
from controller.durations import parse_duration_s
from controller.errors import RefusedError
from controller.main import in_cluster_server
from controller.merge import merge_patch
from controller.options import option_table
from controller.pod import Condition, Health, pod_health
from controller.recovery import Step, next_step
from controller.service import pointed_at_sidecar, pointed_back, published, selects
from controller.template import named_ports, with_sidecar, without_sidecar
from controller.workload import check_replicas, rolled_out
from interceptor.cli.option_table import option_table as options_of_the_command
from interceptor.order import Order
from interceptor.retention import Retention
from interceptor.routing import parse_route
from tests.controller.cluster import ON, service, template

ADDED = {"image": "i:1", "token_secret": "s", "token_digest": "t", "owner": "Deployment/shop"}


def test_the_table_of_options_is_that_of_the_command() -> None:
    """Made anew by `python -m interceptor.cli.option_table > controller/options.json`."""
    assert option_table() == json.loads(json.dumps(options_of_the_command()))


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("10min", 600), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "often", "0", "0s", "-1s", "5m!", "m", "1e3", "٣s", "5 m", "9" * 5000])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration_s(text)


@given(
    st.dictionaries(st.sampled_from(sorted(option_table())).map(lambda name: f"crsc.io/{name}"), st.text(max_size=20))
)
@settings(max_examples=60, deadline=None)
def test_any_annotation_is_read_or_refused_by_name(annotations: dict[str, str]) -> None:
    """Rule 8; and what is read never names what the controller sets itself."""
    try:
        wanted = read_wanted({**ON, **annotations})
    except RefusedError as error:
        named = [name for name in annotations if name in str(error)]
        assert named
    else:
        assert wanted is not None
        assert not any(argument.startswith(("--admin", "--listen=", "--target=")) for argument in wanted.arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [("order", "key:nothing"), ("order", "sorted"), ("bypass", "GET"), ("bypass", "GET:/a /b"), ("retain", "often")],
)
def test_what_the_sidecar_would_not_start_with_is_refused_before(name: str, value: str) -> None:
    """And said by an Event, instead of by a container that ends again and again."""
    with pytest.raises(RefusedError, match=f"crsc.io/{name}.*expected"):
        read_wanted({**ON, f"crsc.io/{name}": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", "total"), ("order", "arrival"), ("order", "key:header:X-Room"), ("order", "key:cookie:sid"),
        ("order", "key:path:/rooms/{key}/*"), ("bypass", "GET:/events/* *:/stream"), ("retain", "all"),
        ("retain", "checkpoints:3"), ("retain", "time:36h"), ("retain", "time:7d"),
    ],
)  # fmt: skip
def test_what_the_sidecar_reads_is_taken(name: str, value: str) -> None:
    read = {
        "order": Order.parse, "retain": Retention.parse,
        "bypass": lambda text: [parse_route("--bypass", each) for each in text.split()],
    }  # fmt: skip
    assert read[name](value)
    assert read_wanted({**ON, f"crsc.io/{name}": value})


def test_a_password_in_the_log_annotation_is_refused() -> None:
    with pytest.raises(RefusedError, match="log-password-secret"):
        read_wanted({**ON, "crsc.io/log": "postgresql://me:secret@db/log"})


_json = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(st.text(max_size=2), _json, max_size=4)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396 §2, as the RFC writes it."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


@given(_objects, _objects)
@settings(max_examples=60, deadline=None)
def test_a_merge_patch_makes_one_of_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    """RFC 7396."""
    assert merged(old, merge_patch(old, new)) == new
    assert (merge_patch(old, new) == {}) == (old == new)


PROBES = [
    {},
    {"readinessProbe": {"httpGet": {"path": "/r", "port": 8000}}},
    {"readinessProbe": {"tcpSocket": {"port": "web"}}},
    {"readinessProbe": {"exec": {"command": ["true"]}}},
]


@pytest.mark.parametrize("container", PROBES)
def test_the_sidecar_comes_once_and_goes_without_a_trace(container: dict[str, Any]) -> None:
    original = template(**container)
    original["spec"]["initContainers"] = [{"name": "prepare", "image": "p"}]
    original["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}]
    untouched = deepcopy(original)
    added = with_sidecar(original, Wanted(), **ADDED)
    assert with_sidecar(added, Wanted(), **ADDED) is added
    changed = with_sidecar(added, Wanted(arguments=("--record=unsafe",)), **ADDED)
    assert [each["name"] for each in changed["spec"]["initContainers"]] == ["interceptor", "prepare"]
    assert without_sidecar(changed) == without_sidecar(added) == original == untouched
    moved = "readinessProbe" in container and "exec" not in container["readinessProbe"]
    assert ("readinessProbe" in added["spec"]["containers"][0]) == ("readinessProbe" in container and not moved)


def test_a_template_that_somebody_has_applied_anew_gets_it_again() -> None:
    added = with_sidecar(template(), Wanted(), **ADDED)
    added["spec"]["initContainers"] = []
    assert with_sidecar(added, Wanted(), **ADDED)["spec"]["initContainers"][0]["name"] == "interceptor"


@pytest.mark.parametrize(
    ("container", "wanted", "reason"),
    [
        ({"ports": []}, Wanted(), "PortUnclear"),
        ({"ports": [{"containerPort": 1}, {"containerPort": 2}]}, Wanted(), "PortUnclear"),
        ({"ports": [{"containerPort": 8001}]}, Wanted(target_port=8000), "PortTaken"),
        ({}, Wanted(target_port=8002), "PortTaken"),
        ({"name": "interceptor"}, Wanted(), "SidecarPresent"),
    ],
)
def test_where_there_is_no_place_for_it(container: dict[str, Any], wanted: Wanted, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        with_sidecar(template(**container), wanted, **ADDED)
    assert refused.value.reason == reason


@pytest.mark.parametrize("target", ["web", 8000, None])
def test_a_service_goes_there_and_back(target: Any) -> None:
    front = {"metadata": {"name": "shop"}, **service(target)}
    front["spec"]["ports"].append({"name": "other", "port": 90, "targetPort": 9000})
    if target is None:
        front["spec"]["ports"][0] = {"name": "http", "port": 8000}
    untouched = deepcopy(front)
    pointed = pointed_at_sidecar(front, template(), 8000)
    assert [port.get("targetPort") for port in pointed["spec"]["ports"]] == [8001, 9000]
    assert pointed_at_sidecar(pointed, template(), 8000) is pointed
    assert pointed_back(pointed) == {**untouched, "metadata": {"name": "shop"}}
    assert front == untouched


@pytest.mark.parametrize("users_own", [{}, {"publishNotReadyAddresses": True}])
def test_a_service_leads_to_the_only_pod_also_while_that_is_not_ready(users_own: dict[str, Any]) -> None:
    # A Pod with a container that is down is not ready ("ContainersReady"); nobody could be held behind its Service.
    front = {"metadata": {"name": "shop"}, **service()}
    front["spec"] |= users_own
    untouched = deepcopy(front)
    assert published(front, 1) == untouched
    pointed = pointed_at_sidecar(front, template(), 8000)
    alone = published(pointed, 1)
    assert alone["spec"]["publishNotReadyAddresses"] is True
    assert published(alone, 1) == published(alone, 0) == alone
    # In a rollout the new Pod gets nothing before it is ready.
    assert published(alone, 2) == pointed
    assert pointed_back(alone) == pointed_back(pointed) == untouched


def test_the_successor_of_a_deleted_pod_waits_for_the_log() -> None:
    """An exit would be answered with a back-off that outlasts the Pod that ends."""

    def arguments(wanted: Wanted) -> list[str]:
        sidecar: list[str] = with_sidecar(template(), wanted, **ADDED)["spec"]["initContainers"][0]["args"]
        return [each for each in sidecar if each.startswith("--log-lock-wait-s")]

    assert arguments(Wanted(log_claim="c")) == ["--log-lock-wait-s=60"]
    assert arguments(Wanted(log_claim="c", arguments=("--log-lock-wait-s=5",))) == ["--log-lock-wait-s=5"]
    assert arguments(Wanted()) == []


def test_an_ordinary_container_stands_last_and_goes_without_a_trace() -> None:
    original = template()
    added = with_sidecar(original, Wanted(native=False), **ADDED)
    assert [each["name"] for each in added["spec"]["containers"]] == ["shop", "interceptor"]
    assert "restartPolicy" not in added["spec"]["containers"][1]
    assert "initContainers" not in added["spec"]
    assert with_sidecar(added, Wanted(native=False), **ADDED) is added
    assert named_ports(added) == {"web": 8000}
    native = with_sidecar(added, Wanted(), **ADDED)
    assert native == with_sidecar(original, Wanted(), **ADDED)
    assert without_sidecar(added) == original


@pytest.mark.parametrize(
    ("host", "server"), [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443"), (None, None)]
)
def test_in_a_cluster_the_api_server_is_found_without_dns(
    monkeypatch: pytest.MonkeyPatch, host: str | None, server: str | None
) -> None:
    """The cluster's DNS runs in Pods of its own; the kubelet's variables are always there."""
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    if host is None:
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    else:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    assert in_cluster_server() == server


def test_a_service_without_selector_selects_nothing() -> None:
    assert not selects({"spec": {}}, template())


def container_status(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": {"phase": "Running", "containerStatuses": [{"name": "shop", "state": state, **more}]},
    }


DIED = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-01-01T00:00:10Z"}}


@pytest.mark.parametrize(
    ("pod", "condition", "reason"),
    [
        (container_status(DIED), Condition.FAILED, "OOMKilled"),
        (container_status({"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"reason": "Error"}}),
         Condition.FAILED, "CrashLoopBackOff"),
        (container_status({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=DIED), Condition.FAILED, "OOMKilled"),
        (container_status({"waiting": {"reason": "ContainerCreating"}}), Condition.STARTING, ""),
        (container_status({"running": {"startedAt": "2026-01-01T00:00:00Z"}}, ready=True), Condition.READY, ""),
        (container_status({"running": {"startedAt": "2026-01-01T00:00:00Z"}}), Condition.FAILED, "Unready"),
        (container_status({"running": {}}, ready=False), Condition.STARTING, ""),
        ({"metadata": {}, "status": {"phase": "Failed", "reason": "Evicted"}}, Condition.GONE, "Evicted"),
        ({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}}, Condition.GONE, "Deleted"),
        ({"metadata": {}}, Condition.STARTING, ""),
    ],
)  # fmt: skip
def test_how_a_container_is(pod: dict[str, Any], condition: Condition, reason: str) -> None:
    health = pod_health(pod, "shop", 1767225700.0, 30.0)
    assert (health.condition, health.reason) == (condition, reason)


def said(state: str = "Active", *, holds: tuple[str, ...] = (), since: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "state": state,
        "holds": list(holds),
        "target": {"since": since},
        "problem": None,
        "last_recovery": None,
        **more,
    }


FAILED, READY = Health(Condition.FAILED, "Error", 100.0), Health(Condition.READY)


@pytest.mark.parametrize(
    ("health", "state", "step"),
    [
        (FAILED, said(), Step.HOLD),
        (FAILED, said("Waiting"), Step.RECORD_FAILURE),
        (FAILED, said("Waiting", holds=("controller",)), Step.RECORD_FAILURE),
        (FAILED, said(since=200.0, last_recovery={"events": 1}), Step.RECORD_RECOVERY),
        (FAILED, said(since=200.0), Step.NOTHING),
        (READY, said(), Step.NOTHING),
        (READY, said("Waiting"), Step.WAIT),
        (READY, said("Waiting", holds=("operator",)), Step.NOTHING),
        (READY, said("Waiting", holds=("controller", "operator")), Step.PROJECT),
        (READY, said("Waiting", problem="x"), Step.REPORT_PROBLEM),
        (READY, said(last_recovery={"events": 1}), Step.RECORD_RECOVERY),
        (Health(Condition.STARTING), said("Waiting", holds=("controller",)), Step.NOTHING),
        (Health(Condition.GONE), said(), Step.NOTHING),
    ],
)
def test_the_next_step(health: Health, state: dict[str, Any], step: Step) -> None:
    assert next_step(health, state) is step


def test_replicas_need_a_log_of_their_own() -> None:
    several = {"kind": "StatefulSet", "metadata": {"name": "shop"}, "spec": {"replicas": 2}}
    check_replicas(several, Wanted(log="postgresql://u@db/d?log_name=$(POD_NAME)"))
    for kind, log in (
        ("StatefulSet", "postgresql://u@db/d?log_name=x"),
        ("Deployment", "postgresql://db?l=$(POD_NAME)"),
    ):
        with pytest.raises(RefusedError, match="distributed log"):
            check_replicas({**several, "kind": kind}, Wanted(log=log))


def test_a_rollout_is_done_when_no_old_pod_is_left() -> None:
    done = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    for change, expected in (({}, True), ({"observedGeneration": 1}, False), ({"replicas": 2}, False),
                             ({"readyReplicas": 0}, False)):  # fmt: skip
        assert rolled_out({"metadata": {"generation": 2}, "status": {**done, **change}}) is expected


def test_when_a_checkpoint_is_due() -> None:
    resource = {"metadata": {"creationTimestamp": "1970-01-01T00:01:40Z"}, "spec": {"target": {"name": "shop"}}}
    state = {"checkpoints": {"recovery_estimate_s": 50.0}}

    def due(spec: dict[str, Any], times: list[float]) -> float:
        asked = {**resource, "spec": {**resource["spec"], **spec}}
        return due_in_s(asked, read_spec(asked), [{"time": time} for time in times], state, 200.0)

    assert due({"interval": "60s"}, []) <= 0
    assert due({"interval": "60s"}, [100.0, 190.0]) == 50
    assert due({"objective": "40s"}, [100.0]) <= 0
    assert due({"objective": "40s"}, [190.0]) > 0
    assert due({"objective": "60s"}, [100.0]) > 0
    assert due({}, [90.0]) <= 0
    assert due({}, [110.0]) == float("inf")


def test_retention_keeps_the_newest_and_the_pinned() -> None:
    catalogue = [{"id": str(time), "time": time, "pinned": time == 1} for time in (3, 1, 2, 4)]
    assert surplus(catalogue, 2) == ["2"]
    assert surplus(catalogue, None) == []
