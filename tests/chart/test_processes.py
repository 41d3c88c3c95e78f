"""Deployments, Service and budgets: how the two processes run, and that they are left out where they run elsewhere."""

from typing import Any

import pytest

from countersign.domain.profile import Profile
from countersign.settings import read
from tests.chart.rendering import NAMED, NAMESPACE, OUT_OF_CLUSTER, Chart
from tests.support.pems import Authority

PROCESSES = ("webhook", "operator")
RUNNING = {
    ("Deployment", "countersign-webhook"),
    ("Deployment", "countersign-operator"),
    ("Service", "countersign-webhook"),
    ("PodDisruptionBudget", "countersign-webhook"),
    ("PodDisruptionBudget", "countersign-operator"),
    ("NetworkPolicy", "countersign-webhook"),
    ("NetworkPolicy", "countersign-operator"),
    ("ResourceQuota", "countersign-critical-pods"),
}


def pod(chart: Chart, process: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    deployment = chart.find("Deployment", f"countersign-{process}", {**NAMED, **(values or {})})
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def container(chart: Chart, process: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    (only,) = pod(chart, process, values)["containers"]
    assert isinstance(only, dict)
    return only


def test_out_of_the_cluster_leaves_out_what_runs_and_nothing_else(chart: Chart) -> None:
    inside, outside = chart.names(NAMED), chart.names(OUT_OF_CLUSTER)
    assert inside - outside == RUNNING
    assert outside < inside


def test_no_namespace_is_made_and_no_hook_is_needed(chart: Chart) -> None:
    objects = chart.objects()
    assert not [obj for obj in objects if obj["kind"] in {"Namespace", "Pod", "Job"}]
    assert {obj["metadata"]["annotations"]["helm.sh/hook"] for obj in chart.hooks()} == {"test"}, (
        "none at installing, upgrading, uninstalling"
    )
    assert {obj["metadata"].get("namespace", NAMESPACE) for obj in objects} == {NAMESPACE}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_pod_passes_the_restricted_standard(chart: Chart, process: str) -> None:
    spec, only = pod(chart, process), container(chart, process)
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "volumes" not in spec, "no Secret is ever mounted"
    assert not spec.get("hostNetwork")
    assert only["resources"]["limits"]["memory"]


@pytest.mark.parametrize("process", PROCESSES)
def test_the_environment_is_one_that_the_process_understands(chart: Chart, process: str) -> None:
    values: dict[str, object] = {"requestTTL": "5s", "coolOff": "2s", "keepEnded": "3s", "staleAfter": "4s", "logLevel": "debug"}
    values |= {"maxOpenRequests": 7}
    values |= {"namespaceOwners": ["capsule.clastix.io/Tenant", "a.b/C"], "profile": "hardened"}
    entries = container(chart, process, values)["env"]
    fields = {"metadata.namespace": NAMESPACE, "metadata.name": "pod-1", "status.podIP": "10.244.0.7"}
    environment = {
        entry["name"]: entry["value"] if "value" in entry else fields[entry["valueFrom"]["fieldRef"]["fieldPath"]] for entry in entries
    }
    settings = read({**environment, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, listen="127.0.0.1:1")
    assert (settings.cluster_name, settings.namespace, settings.replica) == ("prod-eu-1", NAMESPACE, "pod-1")
    durations = (settings.request_ttl, settings.cool_off, settings.keep_ended, settings.stale_after)
    assert [int(duration.total_seconds()) for duration in durations] == [5, 2, 3, 4]
    assert settings.max_open_requests == 7
    assert settings.log_level == "debug"
    assert settings.profile is Profile.HARDENED
    assert settings.namespace_owners == ("capsule.clastix.io/Tenant", "a.b/C")
    assert settings.listen_port == container(chart, process)["ports"][0]["containerPort"]


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_has_its_own_account_and_command(chart: Chart, process: str) -> None:
    assert pod(chart, process)["serviceAccountName"] == f"countersign-{process}"
    assert container(chart, process)["args"] == [process]
    assert chart.find("ServiceAccount", f"countersign-{process}")["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("process", "port", "scheme"), [("webhook", 8443, "HTTPS"), ("operator", 8080, "HTTP")])
def test_probes(chart: Chart, process: str, port: int, scheme: str) -> None:
    only = container(chart, process)
    (listening,) = only["ports"]
    assert listening["containerPort"] == port
    for probe, path in (("startupProbe", "/livez"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert only[probe]["httpGet"] == {"path": path, "port": listening["name"], "scheme": scheme}


def test_the_service_reaches_the_webhook_and_only_it(chart: Chart) -> None:
    service = chart.find("Service", "countersign-webhook")
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (443, "https")
    labels = {name: chart.find("Deployment", name)["spec"]["template"]["metadata"]["labels"] for _, name in RUNNING if _ == "Deployment"}
    reached = {name for name, held in labels.items() if service["spec"]["selector"].items() <= held.items()}
    assert reached == {"countersign-webhook"}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_deployment_and_its_budget_select_its_own_pods(chart: Chart, process: str) -> None:
    name = f"countersign-{process}"
    deployment, budget = chart.find("Deployment", name), chart.find("PodDisruptionBudget", name)
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector == budget["spec"]["selector"]["matchLabels"]
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    other = chart.find("Deployment", f"countersign-{'operator' if process == 'webhook' else 'webhook'}")
    assert not selector.items() <= other["spec"]["template"]["metadata"]["labels"].items()
    assert deployment["spec"]["replicas"] == 2


@pytest.mark.parametrize("process", PROCESSES)
def test_one_replica_has_no_budget_that_would_stop_a_drain(chart: Chart, process: str) -> None:
    assert ("PodDisruptionBudget", f"countersign-{process}") not in chart.names({**NAMED, process: {"replicas": 1}})


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "countersign/countersign:0.1.0"),
        ({"tag": "main"}, "countersign/countersign:main"),
        ({"repository": "registry.example.com/x", "tag": "1"}, "registry.example.com/x:1"),
        ({"tag": "main", "digest": "sha256:" + "0" * 64}, "countersign/countersign@sha256:" + "0" * 64),
    ],
)
@pytest.mark.parametrize("process", PROCESSES)
def test_the_image(chart: Chart, process: str, image: dict[str, str], reference: str) -> None:
    assert container(chart, process, {"image": image})["image"] == reference


@pytest.mark.parametrize("process", PROCESSES)
def test_placement_reaches_the_pod(chart: Chart, process: str) -> None:
    placement = {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "p"}
    spec = pod(chart, process, {process: placement, "imagePullSecrets": [{"name": "s"}]})
    assert {name: spec[name] for name in placement} == placement
    assert spec["imagePullSecrets"] == [{"name": "s"}]


def test_who_may_ask_the_webhook_is_told_to_it_alone(chart: Chart) -> None:
    authority = Authority().pem.decode()
    values: dict[str, Any] = {"apiServerClient": {"ca": authority, "commonNames": ["kube-apiserver", "other"]}}
    told = {entry["name"]: entry.get("value") for entry in container(chart, "webhook", values)["env"]}
    assert (told["COUNTERSIGN_CLIENT_CA"], told["COUNTERSIGN_CLIENT_NAMES"]) == (authority, "kube-apiserver,other")
    for process, given in (("operator", values), ("webhook", {})):
        assert "COUNTERSIGN_CLIENT_CA" not in {entry["name"] for entry in container(chart, process, given)["env"]}
