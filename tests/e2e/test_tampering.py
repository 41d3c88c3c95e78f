"""A guard that somebody weakens, deletes or shadows is back at once, and everybody hears what had been done to it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from countersign.domain.record import verify
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import TICK, Json, delete_namespace, make_namespace, manifest, message, unique, until, wait_gone

POLICY, BINDING = (
    path("validatingadmissionpolicies", "countersign-records"),
    path("validatingadmissionpolicybindings", "countersign-records"),
)
LABELS, LABELS_BINDING = (path(kind, "countersign-label") for kind in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"))
GUARDS = path("validatingadmissionpolicies", "countersign-guards")
CONFIGURATION = path("validatingwebhookconfigurations", "countersign")
DEFAULT = path("protectedenvironments", "default")
RULE = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["*"]}
NARROWED = {"namespaceSelector": {"matchLabels": {"no": "such"}}}

# Every field by which a guard could be opened, in an agent's hands: cluster-admin, and no webhook is asked about policies.
WEAKENINGS: dict[str, tuple[str, Json, str]] = {
    "validations": (POLICY, {"spec": {"validations": [{"expression": "true"}]}}, "spec.validations"),
    "rules": (POLICY, {"spec": {"matchConstraints": {"resourceRules": [RULE]}}}, "spec.matchConstraints.resourceRules"),
    "exceptions": (POLICY, {"spec": {"matchConstraints": {"excludeResourceRules": [RULE]}}}, "spec.matchConstraints.excludeResourceRules"),
    "namespaceSelector": (POLICY, {"spec": {"matchConstraints": NARROWED}}, "spec.matchConstraints.namespaceSelector"),
    "objectSelector": (POLICY, {"spec": {"matchConstraints": {"objectSelector": {"matchLabels": {"a": "b"}}}}}, "objectSelector"),
    "matchPolicy": (POLICY, {"spec": {"matchConstraints": {"matchPolicy": "Exact"}}}, "matchPolicy"),
    "failurePolicy": (POLICY, {"spec": {"failurePolicy": "Ignore"}}, 'spec.failurePolicy: "Fail" -> "Ignore"'),
    "matchConditions": (POLICY, {"spec": {"matchConditions": [{"name": "never", "expression": "false"}]}}, "spec.matchConditions"),
    "paramKind": (POLICY, {"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}, "spec.paramKind"),
    "validationActions": (BINDING, {"spec": {"validationActions": ["Warn"]}}, "spec.validationActions"),
    "matchResources": (BINDING, {"spec": {"matchResources": NARROWED}}, "spec.matchResources"),
    "policyName": (BINDING, {"spec": {"policyName": "another"}}, 'spec.policyName: "countersign-records" -> "another"'),
    "the owner": (POLICY, {"metadata": {"ownerReferences": None}}, "metadata.ownerReferences"),
    "a finalizer": (BINDING, {"metadata": {"finalizers": ["a.b/c"]}}, "metadata.finalizers"),
    "mutations": (LABELS, {"spec": {"matchConditions": [{"name": "never", "expression": "false"}]}}, "spec.matchConditions"),
    "reinvocation": (LABELS, {"spec": {"reinvocationPolicy": "IfNeeded"}}, "spec.reinvocationPolicy"),
    "a mutation's binding": (LABELS_BINDING, {"spec": {"matchResources": NARROWED}}, "spec.matchResources"),
}


def records(cluster: Cluster) -> list[Json]:
    """The operator's own, from its stdout."""
    cluster.collect_logs()
    lines = (cluster.paths.logs / "operator-records.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def intact(cluster: Cluster) -> Json:
    conditions = cluster.api.get(DEFAULT).get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == "GuardsIntact"), {})


def shape(document: Json) -> Json:
    kept = {key: document["metadata"].get(key) for key in ("ownerReferences", "labels")}
    return {
        "spec": document.get("spec"),
        "webhooks": document.get("webhooks"),
        **kept,
        "finalizers": document["metadata"].get("finalizers", []),
    }


def repaired(cluster: Cluster, number: int) -> Json:
    """The first repair that was recorded after so many."""
    found: list[Json] = []

    def there() -> bool:
        found[:] = [record for record in records(cluster)[number:] if "repair" in record]
        return bool(found)

    until(there, "the repair was to be recorded")
    return found[0]


pytestmark = pytest.mark.local_only(reason="the operator's stdout is read as a file")


@pytest.mark.parametrize("what", WEAKENINGS)
def test_each_way_of_weakening_is_undone_and_told_with_before_and_after(cluster: Cluster, what: str) -> None:
    url, change, line = WEAKENINGS[what]
    before, number = cluster.api.get(url), len(records(cluster))
    cluster.api_as("rogue").patch(url, change)
    until(lambda: shape(cluster.api.get(url)) == shape(before), f"{url} was to be as it was")
    record = repaired(cluster, number)
    repair = record["repair"]
    assert (repair["name"], repair["what"]) == (url.rpartition("/")[2], "changed")
    assert any(line in each for each in repair["lines"]), repair["lines"]
    assert repair["by"] == ("" if what == "the owner" else "python-httpx")  # of what was taken away nothing is told
    assert repair["wanted"].startswith("sha256:")
    assert repair["wanted"] != repair["found"]


def test_what_is_deleted_comes_back_and_everybody_hears_of_it(cluster: Cluster) -> None:
    number, metric = len(records(cluster)), repairs_counted(cluster)
    cluster.api_as("rogue").delete(BINDING)
    until(lambda: cluster.api.exists(BINDING), "the binding was to be back")
    record = repaired(cluster, number)
    incident = record["incident"]
    assert record["repair"]["what"] == "deleted"
    assert repairs_counted(cluster) == metric + 1
    until(lambda: incident in intact(cluster).get("message", ""), "the condition was to say it")
    condition = intact(cluster)
    assert (condition["status"], condition["reason"]) == ("False", "Tampered")
    assert "ValidatingAdmissionPolicyBinding/countersign-records" in condition["message"]
    assert f"TAMPERING {incident}" in cluster.log("operator")
    events = path("events", namespace="default")

    def told() -> list[Json]:
        return [event for event in cluster.api.list(events) if incident in event.get("message", "")]

    until(lambda: bool(told()), "an Event was to be written")
    (event,) = told()
    assert (event["reason"], event["type"], event["involvedObject"]["name"]) == ("GuardRepaired", "Warning", "countersign-records")


def repairs_counted(cluster: Cluster) -> float:
    lines = [line for line in cluster.operator_metrics().splitlines() if line.startswith("countersign_guard_repairs_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_the_records_are_chained(cluster: Cluster) -> None:
    lines = (cluster.paths.logs / "operator-records.jsonl").read_text().splitlines()
    assert verify(lines).faults == ()
    spoilt = [line.replace('"deleted"', '"changed"') for line in lines]
    assert verify(spoilt).faults


def test_what_was_done_while_the_operator_was_away_is_told_when_it_is_back(cluster: Cluster) -> None:
    before, number = cluster.api.get(POLICY), len(records(cluster))
    cluster.stop_operator()
    try:
        cluster.api_as("rogue").patch(POLICY, {"spec": {"validations": [{"expression": "true"}]}})
    finally:
        cluster.start_operator()
    until(lambda: shape(cluster.api.get(POLICY)) == shape(before), "it was to be as it was")
    assert repaired(cluster, number)["repair"]["name"] == "countersign-records"


def test_with_one_of_the_two_policies_open_the_other_still_guards(cluster: Cluster) -> None:
    """Each by itself: who opens one has opened nothing, even with nobody there to put it back."""
    second = path("validatingadmissionpolicies", "countersign-guards-2")

    def attempt() -> str:
        return message(cluster.api_as("rogue").request("DELETE", CONFIGURATION, None, {"dryRun": "All"}))

    cluster.stop_operator()
    try:
        for url, other in ((GUARDS, "countersign-guards-2"), (second, "countersign-guards")):
            before = cluster.api.get(url)["spec"]
            cluster.api_as("rogue").patch(url, {"spec": {"validations": [{"expression": "true"}]}})
            until(lambda other=other: f"'{other}'" in attempt(), f"{other} alone was to guard")  # type: ignore[misc]  # bound now
            cluster.api.patch(url, {"spec": {"validations": before["validations"]}})
            time.sleep(2 * TICK)
    finally:
        cluster.start_operator()


@pytest.mark.parametrize("url", [POLICY, LABELS, CONFIGURATION], ids=["validating", "mutating", "webhooks"])
def test_a_status_opens_nothing(cluster: Cluster, url: str) -> None:
    """No policy is asked about it either; but what is written there changes neither the spec nor the metadata."""
    before = cluster.api.get(url)
    weak = {**before, "spec": {**before.get("spec", {}), "failurePolicy": "Ignore"}, "webhooks": []}
    weak["metadata"] = {**before["metadata"], "ownerReferences": [], "labels": {}, "finalizers": ["a.b/c"]}
    cluster.api_as("rogue").request("PUT", f"{url}/status", weak)
    cluster.api_as("rogue").request("PATCH", f"{url}/status", {"spec": {"failurePolicy": "Ignore"}}, None, "application/merge-patch+json")
    assert shape(cluster.api.get(url)) == shape(before)


# --- shadows ----------------------------------------------------------------------------------


def test_an_agents_webhook_is_asked_about_nothing_of_ours(cluster: Cluster) -> None:
    def hook(kind: str, groups: list[str]) -> Json:
        rule = {**RULE, "apiGroups": groups}
        client = {"url": "https://127.0.0.1:9/none"}
        entry = {
            "name": "shadow.example.com",
            "rules": [rule],
            "clientConfig": client,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        return manifest(kind, unique("shadow"), api="admissionregistration.k8s.io/v1", webhooks=[entry])

    for kind, plural in (
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ):
        for groups in (["kube-countersign.dev"], ["*"], ["example.com", "kube-countersign.dev"]):
            answer = cluster.api_as("rogue").request("POST", path(plural), hook(kind, groups), {"dryRun": "All"})
            assert "countersign-shadows" in message(answer), (kind, groups, message(answer))
        assert cluster.api_as("rogue").request("POST", path(plural), hook(kind, ["example.com"]), {"dryRun": "All"}).ok
        assert cluster.api_as("alice").request("POST", path(plural), hook(kind, ["*"]), {"dryRun": "All"}).ok


def test_agents_write_no_flow_schemas_and_people_do(cluster: Cluster) -> None:
    """One for `countersign-operator` would put its repairs to sleep, one for `bob` his signatures."""
    flows = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    body = manifest(
        "FlowSchema",
        unique("shadow"),
        api="flowcontrol.apiserver.k8s.io/v1",
        spec={"priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": 9000},
    )
    answer = cluster.api_as("rogue").request("POST", flows, body, {"dryRun": "All"})
    assert "countersign-shadows" in message(answer), message(answer)
    assert cluster.api_as("alice").request("POST", flows, body, {"dryRun": "All"}).ok
    ours = {**body, "metadata": {"name": "countersign-x"}}
    assert "countersign-guards" in message(cluster.api_as("alice").request("POST", flows, ours, {"dryRun": "All"}))


@pytest.fixture
def mutator(cluster: Cluster) -> Iterator[str]:
    """Somebody's policy that weakens our webhook configuration in whatever write."""
    name = unique("mutator")
    expression = (
        "object.webhooks.size() == 0 ? [] : [JSONPatch{op: 'replace', path: '/webhooks/0/failurePolicy', value: 'Ignore'},"
        " JSONPatch{op: 'add', path: '/webhooks/0/timeoutSeconds', value: 1}]"
    )
    rule = {
        "apiGroups": ["admissionregistration.k8s.io"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["validatingwebhookconfigurations"],
    }
    everything = {**RULE, "apiGroups": ["kube-countersign.dev"]}
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [rule, everything]},
        "matchConditions": [{"name": "ours", "expression": "object.metadata.name == 'countersign' && has(object.webhooks)"}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    api = "admissionregistration.k8s.io/v1"
    cluster.api.create(path("mutatingadmissionpolicies"), manifest("MutatingAdmissionPolicy", name, api=api, spec=spec))
    cluster.api.create(
        path("mutatingadmissionpolicybindings"), manifest("MutatingAdmissionPolicyBinding", name, api=api, spec={"policyName": name})
    )
    yield name
    cluster.api.delete(path("mutatingadmissionpolicybindings", name))
    cluster.api.delete(path("mutatingadmissionpolicies", name))


def test_a_policy_that_rewrites_our_own_write_weakens_nothing_and_is_named(cluster: Cluster, mutator: str) -> None:
    """Mutating policies are asked about webhook configurations, our operator's writes too; validation sees what came out and refuses."""
    time.sleep(2.5)  # until the API server has taken it up

    def weakened() -> list[Any]:
        return [hook["name"] for hook in cluster.api.get(CONFIGURATION)["webhooks"] if hook["failurePolicy"] != "Fail"]

    agent = unique("newcomer")
    cluster.new_agent(agent, in_force=False)  # makes the operator write the configuration
    until(lambda: "remove that" in cluster.log("operator"), "the operator was to say why it cannot write")
    assert weakened() == []

    def unshadowed() -> Json:
        conditions = cluster.api.get(DEFAULT)["status"]["conditions"]
        return next((each for each in conditions if each["type"] == "Unshadowed"), {})

    until(lambda: mutator in unshadowed().get("message", ""), "the condition was to name it")
    assert unshadowed()["status"] == "False"
    assert f'countersign_foreign_mutators{{mutator="MutatingAdmissionPolicy/{mutator}"}} 1.0' in cluster.operator_metrics()
    cluster.api.delete(path("agentidentities", agent))


# --- the jail ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jailed(cluster: Cluster) -> Iterator[None]:
    cluster.reconfigure(policyJail="always")
    flow = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/countersign-jail"
    until(lambda: cluster.api.exists(flow), "the jail was to be there")
    until(lambda: cluster.api_as("rogue").request("DELETE", BINDING, None, {"dryRun": "All"}).status == 429, "it was to be in force")
    yield
    cluster.reconfigure(policyJail="profile")
    until(lambda: not cluster.api.exists(flow), "the jail was to be gone")


TOO_MANY = 429


def test_in_the_jail_a_cluster_admin_agent_writes_no_policy(cluster: Cluster, jailed: None) -> None:
    before, number = cluster.api.get(POLICY), len(records(cluster))
    api = cluster.api_as("rogue")
    mutating = manifest("MutatingAdmissionPolicy", unique("mine"), api="admissionregistration.k8s.io/v1", spec={})
    attempts = [
        ("PATCH", POLICY, {"spec": {"failurePolicy": "Ignore"}}, "application/merge-patch+json"),
        ("PUT", POLICY, before, None),
        ("DELETE", BINDING, None, None),
        ("DELETE", path("validatingadmissionpolicies"), None, None),
        ("POST", path("mutatingadmissionpolicies"), mutating, None),
        ("DELETE", CONFIGURATION, None, None),
    ]
    for method, url, body, kind in attempts:
        answer = api.request(method, url, body, None, kind)
        assert answer.status == TOO_MANY, f"{method} {url}: {answer.status} {message(answer)}"
    assert cluster.api.get(POLICY)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert len(records(cluster)) == number


def test_nor_does_it_open_the_jail(cluster: Cluster, jailed: None) -> None:
    """FlowSchemas are seen by admission: the jail keeps the policies, and they keep it."""
    flow, level = (
        f"/apis/flowcontrol.apiserver.k8s.io/v1/{kind}/countersign-jail" for kind in ("flowschemas", "prioritylevelconfigurations")
    )
    api = cluster.api_as("rogue")
    for url in (flow, level):
        for method, body in (("DELETE", None), ("PATCH", {"metadata": {"labels": {"a": "b"}}})):
            answer = api.request(method, url, body, None, "application/merge-patch+json" if body else None)
            assert "ValidatingAdmissionPolicy 'countersign-" in message(answer), f"{method} {url}: {answer.status} {message(answer)}"
    assert "ValidatingAdmissionPolicy 'countersign-" in message(api.request("DELETE", flow.rpartition("/")[0]))


def test_everything_else_of_the_agent_and_everybody_else_go_on(cluster: Cluster, jailed: None) -> None:
    api = cluster.api_as("rogue")
    assert api.list(path("validatingadmissionpolicies"))
    name = make_namespace(cluster, "work")
    api.create(path("configmaps", namespace=name), manifest("ConfigMap", "x"))
    answer = cluster.api_as("alice").request(
        "PATCH", BINDING, {"metadata": {"labels": {"a": "b"}}}, {"dryRun": "All"}, "application/merge-patch+json"
    )
    assert answer.ok
    delete_namespace(cluster, "admin", name)
    wait_gone(cluster.api, path("namespaces", name))


def test_digests_are_of_what_was_found(cluster: Cluster) -> None:
    """The two that a record bears are not of the same thing, and one is always that of the guard as it should be."""
    wanted: set[str] = set()
    for _ in range(2):
        number = len(records(cluster))
        cluster.api.patch(BINDING, {"spec": {"validationActions": ["Audit"]}})
        repair = repaired(cluster, number)["repair"]
        wanted.add(repair["wanted"])
        assert len(repair["found"]) == len(repair["wanted"]) == len("sha256:") + len(hashlib.sha256(b"").hexdigest())
    assert len(wanted) == 1
