"""Everything that we have an API server take, held against the schemas of every Kubernetes that we support; a field that it would drop is a fault."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from countersign.domain.profile import Profile
from countersign.domain.resources import ProtectFrom
from countersign.wire.guards import Site, guards
from tests.chart import schemas, test_values
from tests.chart.make_schemas import KUBERNETES, custom
from tests.chart.rendering import CHART, NAMED, OUT_OF_CLUSTER, Chart, Refused
from tests.chart.schemas import VERSIONS, Json, faults
from tests.chart.test_clusters import PAGE
from tests.controlplane.binaries import KUBERNETES_VERSION
from tests.support.objects import environment, identity

EVERYTHING: dict[str, Any] = {
    "profile": "hardened",
    "commonLabels": {"team": "platform"},
    "staticManifest": {"enabled": True},
    "authorizer": {"enabled": True, "clusterIP": "10.96.7.7"},
    "networkPolicy": {"from": ["10.0.0.1/32"], "metricsFrom": [{"podSelector": {}}], "apiServer": ["10.0.0.0/24"]},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "webhook": {"autoscaling": {"enabled": True}, "hostNetwork": True},
}
CASES: Mapping[str, dict[str, Any]] = {
    **test_values.ACCEPTED,
    **{f"docs/clusters.md, line {block.line}": yaml.safe_load(block.text) for block in PAGE},
    "everything": EVERYTHING,
    "cert-manager": {"certificates": {"source": "cert-manager"}},
    "cert-manager, with an issuer of one's own": {
        "certificates": {"source": "cert-manager", "certManager": {"issuerRef": {"name": "platform", "kind": "ClusterIssuer"}}}
    },
    "everything, out of the cluster": {**OUT_OF_CLUSTER, "staticManifest": {"enabled": True}, "authorizer": {"enabled": True}},
}
DEFINITIONS = [yaml.safe_load(file.read_text()) for file in sorted((CHART / "crds").glob("*.yaml"))]
OURS = {
    f"{made['spec']['group']}/{version['name']}/{made['spec']['names']['kind']}": custom(version["schema"]["openAPIV3Schema"])
    for made in DEFINITIONS
    for version in made["spec"]["versions"]
}


def all_faults(version: str, documents: list[Json]) -> list[str]:
    return [fault for document in documents for fault in faults(version, document, OURS)]


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_what_the_chart_renders(chart: Chart, values: dict[str, Any]) -> None:
    objects = chart.objects({**NAMED, **values})
    assert {version: found for version in VERSIONS if (found := all_faults(version, objects))} == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_definitions(version: str) -> None:
    assert all_faults(version, DEFINITIONS) == []


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("version", VERSIONS)
def test_the_guards_that_the_operator_writes(version: str, profile: Profile) -> None:
    """By what each serves: MutatingAdmissionPolicy v1 is there from 1.36 on, and without it nothing of that kind is written."""
    mutating = not faults(
        version, {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "x"}}
    )
    assert mutating is (version == "1.36")
    site = Site("uid", "countersign", "", b"PEM", mutating=mutating, profile=profile, jail=True)
    made = [dict(guard.body) for guard in guards(site, [identity("kiro")], [environment(protect_from=ProtectFrom.EVERYONE)])]
    assert {body["kind"] for body in made} >= {"ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "FlowSchema"}
    assert ("MutatingAdmissionPolicy" in {body["kind"] for body in made}) is mutating
    assert all_faults(version, made) == []
    if not mutating:
        newer = [
            dict(guard.body) for guard in guards(Site("uid", "countersign", "", b"", mutating=True), [identity("kiro")], [environment()])
        ]
        assert all_faults(version, newer), "it would be refused there"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_static_manifest(chart: Chart, version: str) -> None:
    made = chart.find("ConfigMap", "countersign-static-manifest", {**NAMED, **EVERYTHING})
    assert all_faults(version, list(yaml.safe_load_all(made["data"]["policies.yaml"]))) == []


# --- that it finds what is wrong ------------------------------------------------------------------


def wrong(path: str, value: Any) -> Json:
    """The webhook's Deployment with something else at a path such as `spec.template.spec.containers.0.image`."""
    document: Json = copy.deepcopy(DEPLOYMENT)
    *parents, last = path.split(".")
    node: Any = document
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value
    return document


DEPLOYMENT: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "x"},
    "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "x"}]}}},
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec.replica", 2, "'replica' was unexpected"),
        ("spec.template.spec.containers.0.imagePolicy", "Always", "'imagePolicy' was unexpected"),
        ("spec.template.spec.containers.0.livenessProbe", {"httpGet": {"path": "/livez"}}, "'port' is a required property"),
        ("spec.replicas", "2", "is not of type 'integer'"),
        ("spec.template.spec.topologySpreadConstraints", [{"maxSkew": 1}], "is a required property"),
        ("metadata.labels", {"a": 1}, "is not of type 'string'"),
        ("apiVersion", "apps/v1beta1", "serves no apps/v1beta1/Deployment"),
    ],
)
def test_a_made_up_field_is_found_wherever_it_stands(version: str, path: str, value: object, message: str) -> None:
    assert faults(version, DEPLOYMENT) == []
    assert message in "; ".join(faults(version, wrong(path, value)))


@pytest.mark.parametrize(
    ("key", "document"),
    [
        (
            "podMetricsEndpoint",
            {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "spec": {"selector": {}, "podMetricsEndpoint": []}},
        ),
        (
            "mod",
            {"apiVersion": "kube-countersign.dev/v1alpha1", "kind": "ProtectedEnvironment", "spec": {"namespaces": {}, "mod": "Audit"}},
        ),
    ],
)
def test_so_it_is_in_kinds_of_others_and_of_our_own(key: str, document: Json) -> None:
    assert f"'{key}' was unexpected" in "; ".join(faults("1.36", {**document, "metadata": {"name": "x"}}, OURS))


def test_a_field_that_only_newer_ones_know_is_found_in_older_ones() -> None:
    """Each file since the oldest says what it changes: were one forgotten, its versions would be alike."""
    texts = {version: str(sorted(schemas._definitions(version).items())) for version in VERSIONS}
    assert len(set(texts.values())) == len(VERSIONS)


# --- that the versions are those that we support --------------------------------------------------


def test_the_schemas_are_of_the_modules_that_the_script_names() -> None:
    for version, source in schemas.sources().items():
        assert source.startswith(f"k8s.io/kubernetes@{KUBERNETES[version]} h1:")
        assert KUBERNETES[version].startswith(f"v{version}.")
    assert KUBERNETES[VERSIONS[-1]] == KUBERNETES_VERSION, "the newest is the one that our clusters run: make schemas"


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["as shipped", "everything"])
def test_the_rendering_is_the_same_for_all_of_them(chart: Chart, values: dict[str, Any]) -> None:
    rendered = [chart.objects({**NAMED, **values}, kubernetes=version) for version in (VERSIONS[0], VERSIONS[-1])]
    assert rendered[0] == rendered[1] == chart.objects({**NAMED, **values})


def test_older_ones_are_refused(chart: Chart) -> None:
    major, minor = VERSIONS[0].split(".")
    with pytest.raises(Refused, match=rf"too old: Countersign needs {major}\.{minor} or newer"):
        chart.objects(NAMED, kubernetes=f"{major}.{int(minor) - 1}")
