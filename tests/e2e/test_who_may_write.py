"""Who may write change requests, approvals, our namespace and our rights: on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.controlplane.api import Answer, path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import (
    OURS,
    REASON,
    Json,
    allowed,
    approvals_of,
    approve,
    delete,
    delete_namespace,
    held,
    kept,
    make_namespace,
    manifest,
    patch,
    unique,
)
from tests.e2e._guards import refused
from tests.e2e.test_surface import pod

# --- who may write what -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pending(cluster: Cluster) -> str:
    """A change request of kiro's."""
    return held(delete_namespace(cluster, "kiro", make_namespace(cluster, "pending")))


def copy_of(cluster: Cluster, request: str) -> Json:
    """The same change request under another name."""
    spec = cluster.api.get(path("changerequests", request))["spec"]
    return manifest("ChangeRequest", unique("copy"), api=f"{OURS}/v1alpha1", spec=spec)


@pytest.mark.parametrize("user", ["admin", "alice", "rogue"])
def test_nobody_but_the_webhook_makes_a_change_request(cluster: Cluster, pending: str, user: str) -> None:
    refused(cluster.api_as(user).request("POST", path("changerequests"), copy_of(cluster, pending)), "written by Countersign's webhook")


@pytest.mark.parametrize("user", ["admin", "alice", "kiro", "rogue"])
def test_nobody_changes_or_deletes_one(cluster: Cluster, pending: str, user: str) -> None:
    url = path("changerequests", pending)
    before = cluster.api.get(url)
    for body in (
        {"spec": {"required": 1, "round": 9}},
        {"metadata": {"labels": {"seen": "yes"}}},
        {"metadata": {"annotations": {"note": "x"}}},
        {"metadata": {"finalizers": ["example.com/mine"]}},
    ):
        answer = patch(cluster, user, url, body)
        assert not answer.ok, f"{user} wrote {body}"
    for target in (url, path("changerequests")):
        assert not delete(cluster, user, target).ok
    after = cluster.api.get(url)
    assert after["spec"] == before["spec"]
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")


def test_only_the_requester_says_why_in_500_characters(cluster: Cluster, pending: str) -> None:
    url = path("changerequests", pending)

    def say(user: str, why: str | None) -> Answer:
        return patch(cluster, user, url, {"metadata": {"annotations": {REASON: why}}})

    for user in ("admin", "alice", "rogue"):
        refused(say(user, "because"), REASON)
    allowed(say("kiro", "x" * 500))
    refused(say("kiro", "x" * 501), REASON)
    refused(patch(cluster, "kiro", url, {"metadata": {"annotations": {REASON: "fine", "other": "not"}}}), REASON)
    allowed(say("kiro", "the namespace is replaced by payments-v2"))
    for user in ("alice", "rogue"):
        refused(say(user, None), REASON)
    made = cluster.api.get(url)
    assert made["metadata"]["annotations"][REASON] == "the namespace is replaced by payments-v2"
    assert REASON not in made["spec"]["statement"]


def test_an_approval_is_changed_and_deleted_by_nobody(cluster: Cluster) -> None:
    request = held(delete_namespace(cluster, "kiro", make_namespace(cluster, "signed")))
    approve(cluster, request)
    [approval] = approvals_of(cluster.api, request)
    url = path("approvals", approval["metadata"]["name"])
    for user in ("admin", "alice", "rogue"):
        for body in ({"spec": {"comment": "other"}}, {"metadata": {"annotations": {"note": "x"}}}, {"metadata": {"labels": {"a": "b"}}}):
            assert not patch(cluster, user, url, body).ok
        refused(delete(cluster, user, url))
        refused(delete(cluster, user, path("approvals")))
    [after] = approvals_of(cluster.api, request)
    assert after["spec"] == approval["spec"]
    assert {*after["metadata"].get("labels", {}), *after["metadata"].get("annotations", {})} == set()


def test_status_is_the_operators_alone(cluster: Cluster, pending: str) -> None:
    condition = {
        "type": "Approved",
        "status": "True",
        "reason": "Forged",
        "message": "",
        "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    names = {"agentidentities": "kiro", "reviewers": "bob", "protectedenvironments": "default", "changerequests": pending}
    for kind, name in names.items():
        url = path(kind, name, subresource="status")
        for user in ("admin", "alice", "rogue"):
            refused(patch(cluster, user, url, {"status": {"conditions": [condition]}}), "status")
    # By the way of the object itself it is not written either.
    cluster.api.patch(path("protectedenvironments", "default"), {"status": {"conditions": [condition]}})
    conditions = cluster.api.get(path("protectedenvironments", "default")).get("status", {}).get("conditions", [])
    assert "Forged" not in [each["reason"] for each in conditions]


# --- our namespace, our rights ----------------------------------------------------------------


@pytest.mark.parametrize("user", ["kiro", "rogue"])
def test_agents_touch_nothing_in_our_namespace(cluster: Cluster, user: str) -> None:
    """Where RBAC does not stop them before."""
    api = cluster.api_as(user)
    account = path("serviceaccounts", "countersign-webhook", namespace=NAMESPACE)
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answers = {
        "a ConfigMap": api.request("POST", path("configmaps", namespace=NAMESPACE), manifest("ConfigMap", unique("mine"))),
        "a Pod": api.request("POST", path("pods", namespace=NAMESPACE), pod(unique("mine"))),
        "the certificate": api.request("DELETE", path("secrets", "countersign-webhook-tls", namespace=NAMESPACE)),
        "every Secret": api.request("DELETE", path("secrets", namespace=NAMESPACE)),
        "the account": api.request("DELETE", account),
        "a token": api.request("POST", f"{account}/token", token),
        "the lease": patch(cluster, user, path("leases", "countersign-operator", namespace=NAMESPACE), {"spec": {"holderIdentity": "me"}}),
        "the namespace's labels": patch(cluster, user, path("namespaces", NAMESPACE), {"metadata": {"labels": {"a": "b"}}}),
        "the namespace": api.request("DELETE", path("namespaces", NAMESPACE)),
    }
    for what, answer in answers.items():
        assert not answer.ok, f"{user} wrote {what}"
        if user == "rogue":
            refused(answer)
    assert cluster.api.exists(account)


def test_a_human_works_in_our_namespace(cluster: Cluster) -> None:
    name = unique("mine")
    cluster.api_as("alice").create(path("configmaps", namespace=NAMESPACE), manifest("ConfigMap", name))
    cluster.api_as("alice").delete(path("configmaps", name, namespace=NAMESPACE))
    allowed(patch(cluster, "alice", path("namespaces", NAMESPACE), {"metadata": {"labels": {"a": "b"}}}, dry_run=True))


def test_agents_take_no_part_in_our_rights(cluster: Cluster) -> None:
    rbac = "rbac.authorization.k8s.io/v1"
    mine = {"kind": "ServiceAccount", "name": "rogue", "namespace": "agents"}

    def binding(role: str) -> Json:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        return manifest("ClusterRoleBinding", unique("mine"), api=rbac, roleRef=reference, subjects=[mine])

    for role in ("countersign-operator", "countersign-webhook", "countersign-reviewer"):
        refused(cluster.api_as("rogue").request("POST", path("clusterrolebindings"), binding(role)), "roles")
        refused(patch(cluster, "rogue", path("clusterroles", role), {"metadata": {"annotations": {"a": "b"}}}), "roles")
        refused(delete(cluster, "rogue", path("clusterroles", role)), "roles")
    refused(patch(cluster, "rogue", path("clusterrolebindings", "countersign-operator"), {"subjects": [mine]}), "roles")
    for target in ("agent", "webhook"):
        labels = {f"{OURS}/aggregate-to-{target}": "true"}
        body = manifest("ClusterRole", unique("mine"), api=rbac, labels=labels, rules=[])
        refused(cluster.api_as("rogue").request("POST", path("clusterroles"), body), "roles")
    with kept(cluster.api_as("alice"), path("clusterrolebindings"), binding("countersign-viewer")):
        pass
