"""Two processes, two identities, least privilege: each may do what it needs and nothing more; and what they recorded holds."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT
from tests.e2e._faults import (
    OURS,
    Json,
    allowed,
    approvals_of,
    approve,
    decision_of,
    delete_namespace,
    held,
    is_about,
    make_namespace,
    manifest,
    patch,
    sign_off,
    unique,
    until,
    wait_gone,
)

ADMISSION, CRDS, RBAC, COORDINATION = (
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "rbac.authorization.k8s.io",
    "coordination.k8s.io",
)
READ = ("get", "list", "watch")
LOOK = ("list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
EVERY_VERB = (*READ, *WRITE)
GUARD_KINDS = (
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
)
SETTINGS = ("agentidentities", "reviewers", "protectedenvironments")
RECORDS = ("changerequests", "approvals")


@pytest.fixture(scope="module")
def webhook(cluster: Cluster) -> str:
    """The webhook's own token: what somebody holds who has broken into it."""
    return cluster.new_service_account("countersign-webhook", namespace=NAMESPACE)


@pytest.fixture(scope="module")
def operator(cluster: Cluster) -> str:
    return cluster.new_service_account("countersign-operator", namespace=NAMESPACE)


def may(
    cluster: Cluster, user: str, verb: str, resource: str, *, group: str = "", namespace: str = "", name: str = "", sub: str = ""
) -> bool:
    """By a SelfSubjectAccessReview."""
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name, "subresource": sub}
    body = manifest("SelfSubjectAccessReview", "", api="authorization.k8s.io/v1", spec={"resourceAttributes": attributes})
    del body["metadata"]
    return bool(cluster.api_as(user).create(path("selfsubjectaccessreviews"), body)["status"]["allowed"])


def verbs(cluster: Cluster, user: str, resource: str, *, group: str = "", namespace: str = "", name: str = "", sub: str = "") -> set[str]:
    return {verb for verb in EVERY_VERB if may(cluster, user, verb, resource, group=group, namespace=namespace, name=name, sub=sub)}


# (resource, group, namespace, name, subresource): the verbs that are granted, all others are not
Right = tuple[str, str, str, str, str]


def right(resource: str, group: str = "", *, namespace: str = "", name: str = "", sub: str = "") -> Right:
    return (resource, group, namespace, name, sub)


WEBHOOK: dict[Right, Sequence[str]] = {
    **{right(kind, OURS): READ for kind in SETTINGS},
    right("changerequests", OURS): (*READ, "create"),
    right("approvals", OURS): LOOK,
    **{right(kind, OURS, sub="status"): () for kind in (*SETTINGS, *RECORDS)},
    right("namespaces"): READ,
    right("persistentvolumeclaims"): ("get", "list"),
    right("persistentvolumes"): ("get",),
    right("services"): ("list",),
    right("customresourcedefinitions", CRDS): ("get",),
    right("secrets", namespace=NAMESPACE, name="countersign-webhook-tls"): ("get",),
    right("secrets", namespace=NAMESPACE, name="countersign-webhook-ca"): (),
    right("secrets", namespace=NAMESPACE): (),
    right("secrets", namespace="kube-system"): (),
    right("secrets"): (),
    right("configmaps", namespace=NAMESPACE): ("create",),
    right("configmaps"): (),
    right("pods", namespace=NAMESPACE): (),
    right("pods", namespace=NAMESPACE, sub="exec"): (),
    right("deployments", "apps", namespace=NAMESPACE): (),
    right("serviceaccounts", namespace=NAMESPACE, sub="token"): (),
    right("leases", COORDINATION, namespace=NAMESPACE): (),
    right("events"): (),
    **{right(kind, ADMISSION): () for kind in GUARD_KINDS},
    **{right(kind, RBAC): () for kind in ("clusterroles", "clusterrolebindings", "roles", "rolebindings")},
    right("clusterroles", RBAC, name="countersign-operator"): ("get",),
}

OPERATOR: dict[Right, Sequence[str]] = {
    right("agentidentities", OURS): READ,
    right("reviewers", OURS): READ,
    right("protectedenvironments", OURS): READ,
    right("protectedenvironments", OURS, name="default"): (*READ, "patch"),
    right("changerequests", OURS): (*READ, "delete"),
    right("approvals", OURS): (*LOOK, "delete"),
    **{right(kind, OURS, sub="status"): ("patch",) for kind in (*SETTINGS, *RECORDS)},
    right("namespaces"): (*READ, "patch"),
    right("serviceaccounts"): (*LOOK, "patch"),
    right("serviceaccounts", namespace=NAMESPACE, sub="token"): (),
    right("persistentvolumeclaims"): ("get", "list"),
    right("persistentvolumes"): ("get",),
    right("secrets"): (),
    right("secrets", namespace="kube-system"): (),
    right("secrets", namespace=NAMESPACE): ("create",),
    right("secrets", namespace=NAMESPACE, name="countersign-webhook-tls"): ("get", "create", "update"),
    right("secrets", namespace=NAMESPACE, name="countersign-webhook-ca"): ("get", "create", "update"),
    right("configmaps", namespace=NAMESPACE): ("list", "create", "delete"),
    right("configmaps", namespace=NAMESPACE, name="countersign-log-heads"): ("get", "list", "create", "update", "delete"),
    right("configmaps", namespace="kube-system"): ("list",),
    right("pods", namespace=NAMESPACE, sub="exec"): (),
    right("leases", COORDINATION, namespace=NAMESPACE, name="countersign-operator"): ("get", "create", "update"),
    right("leases", COORDINATION, namespace="kube-system"): (),
    **{right(kind, RBAC): LOOK for kind in ("clusterroles", "clusterrolebindings")},
    **{right(kind, RBAC, namespace=NAMESPACE): LOOK for kind in ("roles", "rolebindings")},
    right("subjectaccessreviews", "authorization.k8s.io"): ("create",),
    right("mutatingwebhookconfigurations", ADMISSION): LOOK,
    **{right(kind, ADMISSION): (*READ, "create") for kind in GUARD_KINDS},
    right("validatingwebhookconfigurations", ADMISSION, name="countersign"): (*READ, "create", "update", "patch"),
    **{
        right(kind, ADMISSION, name=name): (*READ, "create", "update", "patch", "delete")
        for kind in GUARD_KINDS[1:3]
        for name in ("countersign-guards", "countersign-records", "countersign-label")
    },
    right("customresourcedefinitions", CRDS): (*READ, "create"),
    right("customresourcedefinitions", CRDS, name=f"approvals.{OURS}"): (*READ, "create", "update"),
}


def spelt(entry: Right) -> str:
    resource, group, namespace, name, sub = entry
    return "/".join(part for part in (namespace, group, resource, name, sub) if part)


@pytest.mark.parametrize("entry", WEBHOOK, ids=spelt)
def test_what_the_webhook_may_do(cluster: Cluster, webhook: str, entry: Right) -> None:
    resource, group, namespace, name, sub = entry
    assert verbs(cluster, webhook, resource, group=group, namespace=namespace, name=name, sub=sub) == set(WEBHOOK[entry])


@pytest.mark.parametrize("entry", OPERATOR, ids=spelt)
def test_what_the_operator_may_do(cluster: Cluster, operator: str, entry: Right) -> None:
    resource, group, namespace, name, sub = entry
    assert verbs(cluster, operator, resource, group=group, namespace=namespace, name=name, sub=sub) == set(OPERATOR[entry])


def test_neither_becomes_somebody_else(cluster: Cluster, webhook: str, operator: str) -> None:
    for user in (webhook, operator):
        for resource, group in (("users", ""), ("groups", ""), ("serviceaccounts", ""), ("userextras", "authentication.k8s.io")):
            assert not may(cluster, user, "impersonate", resource, group=group)
        for verb in ("bind", "escalate"):
            assert not may(cluster, user, verb, "clusterroles", group=RBAC)


def test_neither_may_do_everything(cluster: Cluster, webhook: str, operator: str) -> None:
    for user in (webhook, operator):
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": NAMESPACE}}
        rules = cluster.api_as(user).create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body)["status"]["resourceRules"]
        assert rules
        for rule in rules:
            assert "*" not in [*rule["verbs"], *rule.get("resources", []), *rule.get("apiGroups", [])], rule


# --- the calls themselves ---------------------------------------------------------------------


def test_calls_with_the_webhooks_token(cluster: Cluster, webhook: str) -> None:
    request = held(delete_namespace(cluster, "kiro", make_namespace(cluster, "asked")))
    approve(cluster, request)
    [approval] = approvals_of(cluster.api, request)
    url, signed = path("changerequests", request), path("approvals", approval["metadata"]["name"])
    api = cluster.api_as(webhook)
    for reading in (url, path("approvals"), path("reviewers"), path("secrets", "countersign-webhook-tls", namespace=NAMESPACE)):
        assert api.get(reading)
    refused = {
        "deletes a change request": api.request("DELETE", url),
        "deletes an approval": api.request("DELETE", signed),
        "changes a change request": patch(cluster, webhook, url, {"metadata": {"annotations": {"a": "b"}}}),
        "writes a status": patch(cluster, webhook, f"{url}/status", {"status": {"outcome": "Approved"}}),
        "signs": api.request("POST", path("approvals"), {**approval, "metadata": {"name": unique("forged")}}),
        "registers a reviewer": api.request("POST", path("reviewers"), cluster.reviewer(unique("mine"), ["me@example.com"], {})),
        "weakens the default": patch(cluster, webhook, path("protectedenvironments", "default"), {"spec": {"mode": "Audit"}}),
        "reads another Secret": api.request("GET", path("secrets", namespace="kube-system")),
        "lists our Secrets": api.request("GET", path("secrets", namespace=NAMESPACE)),
        "deletes a namespace": api.request("DELETE", path("namespaces", "agents"), params={"dryRun": "All"}),
        "labels a namespace": patch(cluster, webhook, path("namespaces", "agents"), {"metadata": {"labels": {"a": "b"}}}),
        "opens its own gate": api.request("DELETE", path("validatingwebhookconfigurations", "countersign")),
    }
    for what, answer in refused.items():
        assert answer.status == httpx.codes.FORBIDDEN, f"the webhook's token {what}: {answer.status}"


def test_calls_with_the_operators_token(cluster: Cluster, operator: str) -> None:
    request = held(delete_namespace(cluster, "kiro", make_namespace(cluster, "asked")))
    spec = cluster.api.get(path("changerequests", request))["spec"]
    api = cluster.api_as(operator)
    copy = manifest("ChangeRequest", unique("forged"), api=f"{OURS}/v1alpha1", spec=spec)
    body = manifest("Approval", unique("forged"), api=f"{OURS}/v1alpha1", spec={"changeRequest": request, "reviewer": "bob"})
    refused = {
        "makes a change request": api.request("POST", path("changerequests"), copy),
        "changes one": patch(cluster, operator, path("changerequests", request), {"metadata": {"labels": {"a": "b"}}}),
        "signs": api.request("POST", path("approvals"), body),
        "registers a reviewer": api.request("POST", path("reviewers"), cluster.reviewer(unique("mine"), ["me@example.com"], {})),
        "changes a reviewer": patch(cluster, operator, path("reviewers", "bob"), {"spec": {"keys": []}}),
        "removes an agent": api.request("DELETE", path("agentidentities", "kiro")),
        "removes the default": api.request("DELETE", path("protectedenvironments", "default")),
        "changes another environment": patch(cluster, operator, path("protectedenvironments", "other"), {"spec": {"mode": "Audit"}}),
        "reads another Secret": api.request("GET", path("secrets", namespace="kube-system")),
        "lists all Secrets": api.request("GET", path("secrets")),
        "deletes a namespace": api.request("DELETE", path("namespaces", "agents"), params={"dryRun": "All"}),
        "removes a definition": api.request("DELETE", path("customresourcedefinitions", f"approvals.{OURS}")),
        "gives itself rights": api.request(
            "POST",
            path("clusterrolebindings"),
            manifest(
                "ClusterRoleBinding",
                unique("mine"),
                api=f"{RBAC}/v1",
                roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
                subjects=[{"kind": "ServiceAccount", "name": "countersign-operator", "namespace": NAMESPACE}],
            ),
        ),
    }
    for what, answer in refused.items():
        assert answer.status == httpx.codes.FORBIDDEN, f"the operator's token {what}: {answer.status}"
    # With `patch` on the default environment its token could weaken it as a human could, and no further than that: it is no agent,
    # and under People the webhook holds machines back only where Everyone is protected from.
    assert may(cluster, operator, "patch", "protectedenvironments", group=OURS, name="default")


def test_a_signature_is_nobodys_to_bring_with_a_machines_token(cluster: Cluster) -> None:
    """Even with the right to create Approvals, and a genuine signature."""
    account = cluster.new_service_account("courier", "countersign-reviewer", namespace="ci")
    request = held(delete_namespace(cluster, "kiro", make_namespace(cluster, "asked")))
    answer = sign_off(cluster, request, account, key="bob", reviewer="bob")
    assert answer.status == httpx.codes.FORBIDDEN
    assert "is not a person" in str(answer.body["message"])


# --- the decision log -------------------------------------------------------------------------


def verify(file: Path) -> subprocess.CompletedProcess[str]:
    """`countersign log verify`, as anybody would run it."""
    command = [sys.executable, "-m", "countersign", "log", "verify", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def told(cluster: Cluster) -> str:
    """A namespace that was asked for, signed for and deleted."""
    name = make_namespace(cluster, "chained")
    request = held(delete_namespace(cluster, "kiro", name))
    approve(cluster, request)
    allowed(delete_namespace(cluster, "kiro", name))
    wait_gone(cluster.api, path("namespaces", name), timeout=60)
    return name


@pytest.fixture
def log(cluster: Cluster, told: str, tmp_path: Path) -> Path:
    """A copy of the session's decision log so far."""
    decision_of(cluster, "the deletion", lambda record: is_about(record, "namespaces", told) and record["decision"] == "Allow")
    cluster.collect_logs()
    whole, _, _ = cluster.paths.decisions_log.read_text().rpartition("\n")
    copy = tmp_path / "decisions.jsonl"
    copy.write_text(whole + "\n")
    return copy


def test_the_decision_log_of_the_session_verifies(log: Path) -> None:
    answer = verify(log)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(log.read_text().splitlines()) > 5


def test_each_decision_has_its_chain(cluster: Cluster, told: str, log: Path) -> None:
    records = [json.loads(line) for line in log.read_text().splitlines()]
    first, last = (
        next(record for record in ordered if "decision" in record and is_about(record, "namespaces", told))
        for ordered in (records, records[::-1])
    )
    for record in (first, last):
        assert record["agents"] == ["kiro"]
        assert record["serviceAccount"] == "agents/kiro"
        assert record["user"] == "system:serviceaccount:agents:kiro"
        assert record["credential"].startswith("JTI=")
        assert record["sponsors"] == ["alice"]
        assert record["environments"] == ["default"]
        assert record["changeRequest"].startswith(f"delete-namespace-{told}-")
        assert record["target"]["uid"]
    assert (first["decision"], first["reason"], first["reviewers"]) == ("Refuse", "Pending", [])
    assert (last["decision"], last["reason"], last["reviewers"]) == ("Allow", "Approved", ["bob"])
    assert len(last["approvals"]) == 1
    signed = [
        record for record in records if record.get("target", {}).get("resource") == "approvals" and record.get("reviewers") == ["bob"]
    ]
    assert any(record["changeRequest"] == last["changeRequest"] and record["user"] == "bob@example.com" for record in signed)


def test_an_agent_in_a_pod_is_recorded_with_its_pod(cluster: Cluster) -> None:
    """A token bound to a pod says which: the API server's own words, not the agent's."""
    pod = unique("pod")
    spec = {"serviceAccountName": "kiro", "containers": [{"name": "main", "image": "example.com/none:1"}]}
    made = cluster.api.create(path("pods", namespace="agents"), manifest("Pod", pod, spec=spec))
    bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": made["metadata"]["uid"]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": bound}}
    token = cluster.api.create(path("serviceaccounts", "kiro", namespace="agents", subresource="token"), body)["status"]["token"]
    name = make_namespace(cluster, "from-a-pod")
    answer = cluster.kubectl("kiro", "--token", token, "delete", "namespace", name)
    assert answer.returncode != 0
    assert "WAITING FOR HUMAN SIGNATURES" in answer.stderr
    record = decision_of(cluster, "the refusal", lambda record: is_about(record, "namespaces", name))
    assert (record["pod"], record["serviceAccount"], record["agents"], record["sponsors"]) == (pod, "agents/kiro", ["kiro"], ["alice"])
    cluster.api.request("DELETE", path("pods", pod, namespace="agents"), {"gracePeriodSeconds": 0})


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines()


def position(log: Path) -> int:
    """A line with lines of the same process before and after it."""
    processes = [json.loads(line)["process"] for line in lines(log)]
    inner = [at for at in range(1, len(processes) - 1) if processes[at] in processes[:at] and processes[at] in processes[at + 1 :]]
    return random.Random(7).choice(inner)


def changed(record: Json) -> Json:
    return {**record, "reviewers": ["carol"]}


@pytest.mark.parametrize("how", ["a changed line", "a line left out", "two lines the other way round", "a line twice", "a forged line"])
def test_a_copy_that_was_tampered_with_is_found(log: Path, how: str) -> None:
    found, at = lines(log), position(log)
    process = json.loads(found[at])["process"]
    following = next(i for i in range(at + 1, len(found)) if json.loads(found[i])["process"] == process)
    match how:
        case "a changed line":
            found[at] = json.dumps(changed(json.loads(found[at])))
        case "a line left out":
            del found[at]
        case "two lines the other way round":
            found[at], found[following] = found[following], found[at]
        case "a line twice":
            found.insert(at, found[at])
        case _:
            forged = {**json.loads(found[at]), "decision": "Allow"}
            found.insert(at + 1, json.dumps(forged))
    log.write_text("\n".join(found) + "\n")
    answer = verify(log)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "line" in (answer.stdout + answer.stderr).lower()


def test_its_process_begins_with_a_record_of_its_start(cluster: Cluster, log: Path) -> None:
    records = [json.loads(line) for line in lines(log)]
    starts = {record["process"] for record in records if "start" in record}
    until(lambda: bool(records), "the log was to hold something")
    assert {record["process"] for record in records} == starts
