"""Clusters that differ: each a value of the chart, taken and refused (docs/clusters.md)."""

import re
from typing import Any

import pytest
import yaml

from countersign.settings import read
from tests.chart.rendering import CHART, NAMED, OUT_OF_CLUSTER, Chart, Refused
from tests.chart.test_availability import deployment, selector
from tests.chart.test_processes import PROCESSES, container, pod
from tests.controlplane.paths import ROOT
from tests.docs.pages import Block, page

ON_NODES: dict[str, Any] = {"webhook": {"hostNetwork": True, "port": 10260}}


# --- from where the API server reaches the webhook ------------------------------------------------


@pytest.mark.parametrize("port", [1024, 8443, 10250, 65535])
def test_the_port_of_the_pods_is_ones_own(chart: Chart, port: int) -> None:
    values = {"webhook": {"port": port}}
    only = container(chart, "webhook", values)
    assert only["ports"] == [{"name": "https", "containerPort": port, "protocol": "TCP"}]
    assert {"name": "COUNTERSIGN_LISTEN", "value": f"*:{port}"} in only["env"]
    assert only["readinessProbe"]["httpGet"]["port"] == "https"
    policy = chart.find("NetworkPolicy", "countersign-webhook", {**NAMED, **values})
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": port, "protocol": "TCP"}]
    (served,) = chart.find("Service", "countersign-webhook", {**NAMED, **values})["spec"]["ports"]
    assert (served["port"], served["targetPort"]) == (443, "https"), "what the webhook configuration names stays"


def test_on_the_nodes_own_network(chart: Chart) -> None:
    spec = pod(chart, "webhook", ON_NODES)
    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert spec["affinity"]["podAntiAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector("webhook")},
        ]
    }
    # With as many nodes as replicas a new one would wait for ever for a port to become free.
    assert deployment(chart, "webhook", ON_NODES)["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert container(chart, "webhook", ON_NODES)["ports"][0]["containerPort"] == 10260


def test_the_operator_is_never_on_the_nodes_network(chart: Chart) -> None:
    assert "hostNetwork" not in pod(chart, "operator", ON_NODES)
    for process in PROCESSES:
        assert "hostNetwork" not in pod(chart, process)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(("address", "all_of_its_family"), [("10.244.0.7", "0.0.0.0"), ("fd00:10:244::7", "::")])
def test_a_cluster_of_ipv6_alone(chart: Chart, process: str, address: str, all_of_its_family: str) -> None:
    pod_sees = {"metadata.namespace": "countersign", "metadata.name": "pod-1", "status.podIP": address}
    entries = container(chart, process)["env"]
    environment = {
        each["name"]: each["value"] if "value" in each else pod_sees[each["valueFrom"]["fieldRef"]["fieldPath"]] for each in entries
    }
    settings = read({**environment, "KUBERNETES_SERVICE_HOST": address}, listen="127.0.0.1:1")
    assert settings.listen_host == all_of_its_family
    assert settings.listen_port == container(chart, process)["ports"][0]["containerPort"]


# --- meshes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES)
def test_meshes_are_kept_out_as_shipped(chart: Chart, process: str) -> None:
    template = deployment(chart, process)["template"]["metadata"]
    assert {"sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none"}.items() <= template["labels"].items()
    assert template["annotations"] == {"linkerd.io/inject": "disabled"}


@pytest.mark.parametrize("process", PROCESSES)
def test_other_labels_and_annotations_of_pods(chart: Chart, process: str) -> None:
    values = {process: {"podLabels": {"kuma.io/sidecar-injection": "disabled"}, "podAnnotations": {"a.example.com/b": "c d"}}}
    template = deployment(chart, process, values)["template"]["metadata"]
    assert template["labels"]["kuma.io/sidecar-injection"] == "disabled"
    assert template["annotations"] == {"linkerd.io/inject": "disabled", "a.example.com/b": "c d"}
    assert deployment(chart, process, values)["selector"] == selector(process)


def test_what_keeps_a_mesh_out_can_be_taken_away(chart: Chart) -> None:
    values: dict[str, Any] = {"webhook": {"podAnnotations": {"linkerd.io/inject": None}, "podLabels": {"sidecar.istio.io/inject": None}}}
    template = deployment(chart, "webhook", values)["template"]["metadata"]
    assert "annotations" not in template
    assert "sidecar.istio.io/inject" not in template["labels"]


# --- labels of a team -----------------------------------------------------------------------------


def test_common_labels_are_on_everything_and_select_nothing(chart: Chart) -> None:
    everything: dict[str, Any] = {**NAMED, **AUTO, "commonLabels": {"team": "platform", "example.com/cost": "42"}}
    objects = chart.objects(everything)
    assert {obj["kind"] for obj in objects} > {"Deployment", "ClusterRole", "ProtectedEnvironment", "PodMonitor", "PrometheusRule"}
    for obj in objects:
        assert {"team": "platform", "example.com/cost": "42"}.items() <= obj["metadata"]["labels"].items(), obj["metadata"]["name"]
    for process in PROCESSES:
        spec = deployment(chart, process, everything)
        assert spec["template"]["metadata"]["labels"]["team"] == "platform"
        assert spec["selector"] == selector(process), "it cannot be changed later"


@pytest.mark.parametrize(
    "label",
    [
        "app.kubernetes.io/name",
        "app.kubernetes.io/component",
        "helm.sh/chart",
        "rbac.authorization.k8s.io/aggregate-to-admin",
        "kube-countersign.dev/aggregate-to-webhook",
        "x.kube-countersign.dev/y",
        "two words",
        "-a",
    ],
)
def test_labels_that_others_go_by_are_refused(chart: Chart, label: str) -> None:
    """An aggregating one would hand the operator's rights to every admin of a namespace."""
    for values in (
        {"commonLabels": {label: "true"}},
        {"webhook": {"podLabels": {label: "true"}}},
        {"podMonitor": {"labels": {label: "true"}}},
    ):
        with pytest.raises(Refused, match=f"invalid propertyName '{re.escape(label)}'"):
            chart.objects({**NAMED, **values})


# --- Prometheus -----------------------------------------------------------------------------------

AUTO: dict[str, Any] = {
    "podMonitor": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}},
}
ALERTS = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]


def test_without_the_prometheus_operator_nothing_of_it_is_there(chart: Chart) -> None:
    assert not {kind for kind, _ in chart.names()} & {"PodMonitor", "ServiceMonitor", "PrometheusRule"}


def test_with_it_both_processes_are_read(chart: Chart) -> None:
    for process, port in (("webhook", "https"), ("operator", "http")):
        monitor = chart.find("PodMonitor", f"countersign-{process}", {**NAMED, **AUTO})
        assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
        assert monitor["spec"]["selector"] == selector(process)
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] == container(chart, process)["ports"][0]["name"] == port
        assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "30s")
    assert "tlsConfig" not in chart.find("PodMonitor", "countersign-operator", {**NAMED, **AUTO})["spec"]["podMetricsEndpoints"][0]


def test_the_webhooks_port_is_verified(chart: Chart) -> None:
    (endpoint,) = chart.find("PodMonitor", "countersign-webhook", {**NAMED, **AUTO})["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"] == {
        "serverName": "countersign-webhook.countersign.svc",
        "ca": {"secret": {"name": "countersign-webhook-tls", "key": "ca.crt"}},
    }
    own: dict[str, Any] = {**NAMED, "podMonitor": {"enabled": True, "interval": "1m", "tlsConfig": {"insecureSkipVerify": True}}}
    (endpoint,) = chart.find("PodMonitor", "countersign-webhook", own)["spec"]["podMetricsEndpoints"]
    assert (endpoint["tlsConfig"], endpoint["interval"]) == ({"insecureSkipVerify": True}, "1m")


def test_the_rule_is_the_file(chart: Chart) -> None:
    rule = chart.find("PrometheusRule", "countersign", {**NAMED, **AUTO})
    assert rule["spec"] == ALERTS
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert ("PrometheusRule", "countersign") in chart.names({**OUT_OF_CLUSTER, **AUTO})


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_is_of_metrics_that_there_are(rule: dict[str, Any]) -> None:
    sources = "".join(file.read_text() for file in (ROOT / "controller").rglob("*.py"))
    named = set(re.findall(r"countersign_[a-z_]+", rule["expr"]))
    assert named or "up{" in rule["expr"], rule["expr"]
    for name in named:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert f'"{family}"' in sources, f"{name} is no metric of ours"
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description"} <= set(rule["annotations"])


def test_alerts_have_names_of_their_own() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 3


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"webhook": {"port": 443}}, "/webhook/port"),
        ({"webhook": {"port": "8443"}}, "/webhook/port"),
        ({"webhook": {"hostNetwork": True, "port": 10250}}, "webhook.port: 10250 is the kubelet's"),
        ({"webhook": {"hostNetwork": "yes"}}, "/webhook/hostNetwork"),
        ({"operator": {"hostNetwork": True}}, "hostNetwork"),
        ({"webhook": {"podAnnotations": {"a": True}}}, "/webhook/podAnnotations/a"),
        ({"webhook": {"podLabels": {"a": "two words"}}}, "/webhook/podLabels/a"),
        ({"podMonitor": {"interval": "0s"}}, "/podMonitor/interval"),
        ({"podMonitor": {"enabled": "true"}}, "/podMonitor/enabled"),
        ({"prometheusRule": {"rules": []}}, "rules"),
        ({"serviceMonitor": {"enabled": True}}, "serviceMonitor"),
    ],
)
def test_refused(chart: Chart, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        chart.objects({**NAMED, **values})


@pytest.mark.parametrize(
    ("values", "reference"),
    [
        ({"image": {"repository": "registry.example.com:5000/mirror/countersign"}}, "registry.example.com:5000/mirror/countersign:0.1.0"),
        (
            {"image": {"repository": "registry.example.com/countersign", "digest": "sha256:" + "a" * 64}},
            f"registry.example.com/countersign@sha256:{'a' * 64}",
        ),
    ],
)
def test_a_registry_without_the_internet(chart: Chart, values: dict[str, Any], reference: str) -> None:
    """There is one image in the whole chart, whatever is switched on: to mirror it is to have all of it."""
    everything: dict[str, Any] = {**NAMED, **AUTO, **values, "imagePullSecrets": [{"name": "mirror"}]}
    text = yaml.safe_dump(chart.objects(everything))
    assert set(re.findall(r"^ *-? *image: (.*)$", text, re.MULTILINE)) == {reference}
    for process in PROCESSES:
        assert pod(chart, process, everything)["imagePullSecrets"] == [{"name": "mirror"}]


def test_processors_of_another_kind(chart: Chart) -> None:
    for process in PROCESSES:
        spec = pod(chart, process, {process: {"nodeSelector": {"kubernetes.io/arch": "arm64"}}})
        assert spec["nodeSelector"] == {"kubernetes.io/arch": "arm64"}


# --- the page -------------------------------------------------------------------------------------

PAGE = page("docs/clusters.md").blocks("yaml")


@pytest.mark.parametrize("block", PAGE, ids=[f"line {block.line}" for block in PAGE])
def test_what_the_page_says_is_rendered(chart: Chart, block: Block) -> None:
    values = yaml.safe_load(block.text)
    assert chart.objects({**NAMED, **values}) != chart.objects()


def test_the_page_has_a_block_for_each() -> None:
    text = "".join(block.text for block in PAGE)
    for value in (
        "port",
        "hostNetwork",
        "repository",
        "imagePullSecrets",
        "kubernetes.io/arch",
        "podLabels",
        "podMonitor",
        "autoscaling",
        "commonLabels",
    ):
        assert f"{value}:" in text, value
