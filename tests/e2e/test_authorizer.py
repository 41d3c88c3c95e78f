"""The authorizer, asked by a real API server: it holds a cluster-admin agent, is asked about nobody else, and fails closed for agents alone."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.controlplane import waiting
from tests.controlplane.api import Answer, path
from tests.controlplane.authorization import CONFIG_MAP, Authorization
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT
from tests.docs.pages import page

OURS = "countersign authorizer: agents "
ALICE = {"Impersonate-User": "alice@example.com"}
DRY: dict[str, Any] = {"dryRun": "All"}
BINDING = path("validatingadmissionpolicybindings", "countersign-guards")
CONFIGURATION = path("validatingwebhookconfigurations", "countersign")
_RBAC = "rbac.authorization.k8s.io"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def authorization(cluster: Cluster) -> Iterator[Authorization]:
    with cluster.with_authorizer() as delivered:
        yield delivered


def denied(answer: Answer, *words: str) -> None:
    said = str(answer.body.get("message", ""))
    assert answer.status == httpx.codes.FORBIDDEN, f"not denied: {answer.status} {said}"
    for word in (OURS, *words):
        assert word in said, said


def become(cluster: Cluster, user: str, headers: Mapping[str, str] = ALICE) -> Answer:
    """Asks the API server, as somebody else, who one is: everybody who is authenticated may."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return cluster.api_as(user).request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, headers=dict(headers))


def became(answer: Answer) -> str:
    """Whom the API server took the requester for."""
    assert answer.ok, answer
    return str(answer.body["status"]["userInfo"]["username"])


def wait_denied(cluster: Cluster, user: str) -> None:
    """The API server goes by an impersonation that it has let through for ten seconds (apiserver filters/impersonation/cache.go)."""
    waiting.until(lambda: not become(cluster, user).ok, f"{user} was to be denied impersonation", timeout=15, pause=0.5)
    denied(become(cluster, user))


def counted(cluster: Cluster) -> float:
    """How often the webhook was asked for an opinion on somebody's attempt (the operator's own questions are counted apart), on all replicas."""
    metrics = cluster.webhook_metrics()
    found = re.findall(r"^countersign_authorizer_(?:opinions|unreadable|undecided)_total(?:\{.*\})? ([0-9.e+]+)$", metrics, re.MULTILINE)
    assert found
    return sum(map(float, found))


# --- what it denies -------------------------------------------------------------------------------

IMPERSONATIONS: Mapping[str, dict[str, str]] = {
    "a bystander": ALICE,
    "a group": {"Impersonate-User": "nobody", "Impersonate-Group": "system:masters"},
    "an account": {"Impersonate-User": "system:serviceaccount:kube-system:namespace-controller"},
    "a node": {"Impersonate-User": "system:node:a", "Impersonate-Group": "system:nodes"},
    "a uid": {"Impersonate-User": "nobody", "Impersonate-Uid": "the-uid"},
    "an extra": {"Impersonate-User": "nobody", "Impersonate-Extra-scopes": "all"},
    "itself": {"Impersonate-User": "system:serviceaccount:agents:rogue"},
}


@pytest.mark.parametrize("who", IMPERSONATIONS)
def test_rogue_becomes_nobody(cluster: Cluster, authorization: Authorization, who: str) -> None:
    denied(become(cluster, "rogue", IMPERSONATIONS[who]), "act under their own name only")


def test_kubectl_says_so(cluster: Cluster, authorization: Authorization) -> None:
    ran = cluster.kubectl("rogue", "--as=alice@example.com", "get", "--raw", "/api/v1/namespaces")
    assert ran.returncode != 0
    assert OURS in ran.stderr
    ran = cluster.kubectl("rogue", "auth", "can-i", "impersonate", "users")
    assert ran.stdout.startswith(f"no - {OURS}"), ran.stdout


def test_impersonation_within_bounds_is_impersonation_too(cluster: Cluster, authorization: Authorization) -> None:
    """Kubernetes 1.36 (KEP-5284): verbs of their own for whom and for what. Who is no agent may: so this could fail."""
    run = secrets.token_hex(3)
    role = f"bounded-{run}"
    rules = [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["impersonate-on:user-info:create"]},
    ]
    cluster.api.create(path("clusterroles"), {"metadata": {"name": role}, "rules": rules})
    try:
        agent = cluster.new_agent(f"bounded-{run}", role)
        other = cluster.new_service_account(f"free-{run}", role, namespace="agents")
        authorization.deliver(naming=f"system:serviceaccount:agents:{agent}")
        assert became(become(cluster, other)) == "alice@example.com"
        denied(become(cluster, agent))
    finally:
        cluster.api.delete(path("clusterroles", role))


def test_rogue_writes_no_admission(cluster: Cluster, authorization: Authorization) -> None:
    rogue = cluster.api_as("rogue")
    mutating = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "carry-it-for-me"},
        "spec": {
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["namespaces"]}]
            },
            "mutations": [
                {"patchType": "JSONPatch", "jsonPatch": {"expression": '[JSONPatch{op: "add", path: "/metadata/labels/a", value: "b"}]'}}
            ],
        },
    }
    assert cluster.api_as("alice").request("POST", path("mutatingadmissionpolicies"), mutating, DRY).ok, "so it is well formed"
    denied(rogue.request("POST", path("mutatingadmissionpolicies"), mutating, DRY), "no admission policies")
    denied(rogue.request("DELETE", BINDING, None, DRY))
    denied(rogue.request("PATCH", CONFIGURATION, {"webhooks": []}, DRY, "application/merge-patch+json"))
    denied(rogue.request("DELETE", path("validatingwebhookconfigurations"), None, DRY))
    denied(rogue.request("DELETE", path("validatingadmissionpolicies"), None, DRY))
    assert rogue.get(BINDING)["metadata"]["name"] == "countersign-guards"


def test_nor_who_serves_an_api_nor_whose_requests_are_heard(cluster: Cluster, authorization: Authorization) -> None:
    rogue, group = cluster.api_as("rogue"), "/apis/apiregistration.k8s.io/v1/apiservices"
    denied(rogue.request("PATCH", f"{group}/v1alpha1.kube-countersign.dev", {"spec": {}}, DRY, "application/merge-patch+json"))
    denied(rogue.request("DELETE", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/system-leader-election", None, DRY))


def test_secrets_that_admission_would_not_see_read(cluster: Cluster, authorization: Authorization) -> None:
    """A patch that changes nothing and a deletion of many, as a dry run, answer with what is there."""
    rogue = cluster.api_as("rogue")
    ours, system = path("secrets", namespace=NAMESPACE), path("secrets", namespace="kube-system")
    for url in (path("secrets", "countersign-webhook-tls", namespace=NAMESPACE), ours, system, "/api/v1/secrets", "/api/v1/watch/secrets"):
        denied(rogue.request("GET", url))
    denied(rogue.request("GET", ours, params={"watch": "true"}))
    denied(rogue.request("DELETE", system, None, DRY))
    denied(rogue.request("PATCH", f"{system}/any", {}, DRY, "application/merge-patch+json"))
    assert rogue.request("GET", "/api/v1/secrets", params={"labelSelector": "owner=helm"}).ok, "what `helm list -A` does"
    assert rogue.request("GET", path("secrets", namespace="default")).ok


def asked(cluster: Cluster, user: str, **attributes: str) -> Json:
    """What the API server answers to somebody else's question, such as a kubelet's."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": attributes},
    }
    status: Json = cluster.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]
    return status


@pytest.mark.parametrize("verb", ["get", "create"])
def test_a_kubelet_that_rogue_calls_itself_is_told_no(cluster: Cluster, authorization: Authorization, verb: str) -> None:
    """GET is enough for a kubelet to run commands in any of its pods, over a WebSocket; kubelets ask the API server whether one may."""
    node = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": "proxy", "name": "node-1"}
    status = asked(cluster, "system:serviceaccount:agents:rogue", **node)
    assert (status["allowed"], status["denied"]) == (False, True)
    assert OURS in status["reason"]
    assert "denied" not in asked(cluster, "alice@example.com", **node)
    denied(cluster.api_as("rogue").request("GET", path("nodes", "node-1", subresource="proxy") + "/pods"))


def test_nobody_signs_a_login_for_rogue(cluster: Cluster, authorization: Authorization) -> None:
    for verb in ("approve", "sign", "attest"):
        signer = {"verb": verb, "group": "certificates.k8s.io", "resource": "signers", "name": "kubernetes.io/kube-apiserver-client"}
        assert asked(cluster, "system:serviceaccount:agents:rogue", **signer)["denied"]


def test_rogue_gives_out_only_rights_that_it_holds(cluster: Cluster, authorization: Authorization) -> None:
    """`bind` and `escalate` are asked before it is compared; a cluster-admin holds all of them, a charts' agent does not."""
    run = secrets.token_hex(3)
    verbs = f"broker-{run}"
    rules = [
        {"apiGroups": [_RBAC], "resources": ["clusterrolebindings"], "verbs": ["create"]},
        {"apiGroups": [_RBAC], "resources": ["clusterroles"], "verbs": ["bind", "escalate"]},
    ]
    cluster.api.create(path("clusterroles"), {"metadata": {"name": verbs}, "rules": rules})
    binding = {
        "metadata": {"name": f"mine-{run}"},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }
    try:
        agent = cluster.new_agent(f"broker-{run}", verbs)
        other = cluster.new_service_account(f"honest-{run}", verbs, namespace="agents")
        authorization.deliver(naming=f"system:serviceaccount:agents:{agent}")
        assert cluster.api_as(other).request("POST", path("clusterrolebindings"), binding, DRY).ok
        answer = cluster.api_as(agent).request("POST", path("clusterrolebindings"), binding, DRY)
        assert answer.status == httpx.codes.FORBIDDEN
        assert "attempting to grant RBAC permissions not currently held" in answer.body["message"]
    finally:
        cluster.api.delete(path("clusterroles", verbs))


# --- whom it never asks about ---------------------------------------------------------------------


def test_ordinary_requests_and_everybody_elses_never_reach_the_webhook(cluster: Cluster, authorization: Authorization) -> None:
    before = counted(cluster)
    name = f"ordinary-{secrets.token_hex(3)}"
    for agent in ("kiro", "rogue"):
        api = cluster.api_as(agent)
        api.create(path("configmaps", namespace="agents"), {"metadata": {"name": f"{name}-{agent}"}})
        api.patch(path("configmaps", f"{name}-{agent}", namespace="agents"), {"data": {"a": "b"}})
        for url in (
            path("pods", namespace="agents"),
            path("namespaces"),
            path("deployments", namespace="agents"),
            "/version",
            "/openapi/v3",
        ):
            assert api.request("GET", url).ok, url
        api.delete(path("configmaps", f"{name}-{agent}", namespace="agents"))
        assert api.request("DELETE", path("namespaces", "agents"), None, DRY).status == httpx.codes.FORBIDDEN
    rogue = cluster.api_as("rogue")
    for url in (path("validatingadmissionpolicies"), path("secrets", namespace="default"), path("nodes"), path("clusterroles")):
        assert rogue.request("GET", url).ok, url
    alice = cluster.api_as("alice")
    assert became(become(cluster, "alice", {"Impersonate-User": "bob@example.com"})) == "bob@example.com"
    assert alice.request("GET", "/api/v1/secrets").ok
    assert alice.request("DELETE", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/service-accounts", None, DRY).ok
    assert alice.request("POST", path("clusterrolebindings"), _binding(name), DRY).ok
    assert become(cluster, "bob").status == httpx.codes.FORBIDDEN, "RBAC's word, as ever"
    for verb in ("impersonate", "escalate", "approve"):
        asked(cluster, "system:node:a", verb=verb, resource="users")
    assert counted(cluster) == before
    denied(become(cluster, "rogue"))
    assert counted(cluster) > before, "so it would have been seen"


def _binding(name: str) -> Json:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": "nobody"}],
    }


# --- what is left behind --------------------------------------------------------------------------


def test_each_denial_is_in_the_decision_log(cluster: Cluster, authorization: Authorization) -> None:
    victim = f"{secrets.token_hex(4)}@example.com"
    denied(become(cluster, "rogue", {"Impersonate-User": victim}))
    records = [each for each in cluster.decisions() if each.get("access", {}).get("name") == victim]
    assert records, "at least one: the API server asks for each of the ways to impersonate"
    for record in records:
        assert (record["decision"], record["reason"], record["agents"], record["sponsors"]) == (
            "Deny",
            "Impersonation",
            ["rogue"],
            ["alice"],
        )
        assert record["serviceAccount"] == "agents/rogue"
        assert record["access"]["verb"].startswith("impersonate")
    [told] = {each["reason"] for each in records}
    assert f'ground="{told}"' in cluster.webhook_metrics()


# --- when the webhook is down ---------------------------------------------------------------------


def test_while_the_webhook_is_down_agents_are_denied_and_all_else_goes_on(cluster: Cluster, authorization: Authorization) -> None:
    name = f"meanwhile-{secrets.token_hex(3)}"
    cluster.stop_webhook()
    try:
        rogue, alice = cluster.api_as("rogue"), cluster.api_as("alice")
        for answer in (
            become(cluster, "rogue"),
            rogue.request("DELETE", BINDING, None, DRY),
            rogue.request("GET", path("secrets", namespace=NAMESPACE)),
        ):
            assert answer.status >= httpx.codes.BAD_REQUEST, answer
        begun = time.monotonic()
        for agent in ("kiro", "rogue"):
            api = cluster.api_as(agent)
            api.create(path("configmaps", namespace="agents"), {"metadata": {"name": f"{name}-{agent}"}})
            api.delete(path("configmaps", f"{name}-{agent}", namespace="agents"))
            assert api.request("GET", path("pods", namespace="agents")).ok
        assert alice.request("DELETE", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/service-accounts", None, DRY).ok
        assert became(become(cluster, "alice", {"Impersonate-User": "bob@example.com"})) == "bob@example.com"
        assert time.monotonic() - begun < 5, "nobody waited for the webhook"
    finally:
        cluster.start_webhook()
    denied(become(cluster, "rogue"))


# --- keeping up -----------------------------------------------------------------------------------


def test_a_new_agent_is_held_once_the_files_are_delivered(cluster: Cluster, authorization: Authorization) -> None:
    agent = cluster.new_agent(f"late-{secrets.token_hex(3)}", "cluster-admin")
    assert became(become(cluster, agent)) == "alice@example.com", "its name is not in the API server's file yet"
    authorization.deliver(naming=f"system:serviceaccount:agents:{agent}")
    denied(cluster.api_as(agent).request("DELETE", BINDING, None, DRY))
    wait_denied(cluster, agent)


def test_agents_change_nothing_of_the_files(cluster: Cluster, authorization: Authorization) -> None:
    url = path("configmaps", CONFIG_MAP, namespace=NAMESPACE)
    for body in ({"data": {"authorization.yaml": ""}}, {"data": None}):
        answer = cluster.api_as("rogue").request("PATCH", url, body, None, "application/merge-patch+json")
        assert answer.status in {httpx.codes.FORBIDDEN, httpx.codes.UNPROCESSABLE_ENTITY}
        assert "Agents write nothing in Countersign's own namespace" in answer.body["message"]
    before = cluster.api.get(url)["data"]
    cluster.api.patch(url, {"data": {"authorization.yaml": "authorizers: []"}})
    authorization.deliver(naming="countersign")
    assert cluster.api.get(url)["data"].keys() == before.keys()


# --- what docs/authorizer.md has people type -----------------------------------------------------


def typed(cluster: Cluster, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """As the admin, in a folder, with what a person has in the PATH."""
    env = {
        "PATH": f"{cluster.paths.bin}:{ROOT / 'deploy'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "KUBECONFIG": str(cluster.paths.kubeconfig),
    }
    return subprocess.run(["bash", "-eu", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_the_script_takes_what_is_in_force_and_says_nothing_where_there_is_no_news(
    cluster: Cluster, authorization: Authorization, tmp_path: Path
) -> None:
    authorization.deliver()
    first, second = (typed(cluster, tmp_path, "authorizer-files .") for _ in range(2))
    assert first.stdout.splitlines() == ["new: ./kubeconfig", "new: ./authorization.yaml"], first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    for name in ("kubeconfig", "authorization.yaml"):
        assert (tmp_path / name).read_bytes() == (authorization.folder / name).read_bytes()
    assert sorted(file.name for file in tmp_path.glob(".new*")) == []


TAMPERED: Mapping[str, tuple[str, str]] = {
    "everybody may do everything": ("- {type: RBAC, name: rbac}", "- {type: AlwaysAllow, name: alwaysallow}\n- {type: RBAC, name: rbac}"),
    "somebody else is asked": ("  name: countersign\n", "  name: mallory\n"),
    "a failure is no denial": ("failurePolicy: Deny", "failurePolicy: NoOpinion"),
}


def test_the_script_takes_nothing_that_the_operator_does_not_write(cluster: Cluster, authorization: Authorization, tmp_path: Path) -> None:
    """Whoever may write the ConfigMap shall not command the API server. The operator is away, so that nobody puts it right meanwhile."""
    url, folder = path("configmaps", CONFIG_MAP, namespace=NAMESPACE), tmp_path / "host"
    folder.mkdir()
    cluster.stop_operator()
    try:
        typed(cluster, tmp_path, "authorizer-files host").check_returncode()
        before = {file.name: file.read_text() for file in folder.iterdir()}
        data = cluster.api.get(url)["data"]
        for how, (old, new) in TAMPERED.items():
            assert old in data["authorization.yaml"], how
            changed = {"authorization.yaml": data["authorization.yaml"].replace(old, new), "kubeconfig": "server: https://mallory"}
            cluster.api.patch(url, {"data": changed})
            ran = typed(cluster, tmp_path, "authorizer-files host")
            assert ran.returncode == 1, how
            assert "Not taken, since Countersign's operator does not write this" in ran.stderr, how
            assert {file.name: file.read_text() for file in folder.iterdir()} == before, how
    finally:
        cluster.start_operator()
    waiting.until(lambda: cluster.api.get(url)["data"] == data, "the operator was to put the files right", timeout=30)


def test_the_page_shows_how_to_see_that_it_is_in_force(cluster: Cluster, authorization: Authorization, tmp_path: Path) -> None:
    authorization.deliver()
    typed(cluster, tmp_path, "authorizer-files .").check_returncode()
    [block] = [each for each in page("docs/authorizer.md").blocks("sh") if "last_config_info" in each.text]
    ran = typed(cluster, tmp_path, block.text)
    digest = hashlib.sha256((tmp_path / "authorization.yaml").read_bytes()).hexdigest()
    assert ran.stdout.count(digest) == 2, ran.stdout + ran.stderr
    assert f"no - {OURS}" in ran.stdout


# This one stands last: it is what the module's fixture undoes.
def test_without_it_rogue_becomes_whom_it_likes(cluster: Cluster, authorization: Authorization) -> None:
    authorization.clear()
    try:
        assert became(become(cluster, "rogue")) == "alice@example.com"
        assert cluster.api_as("rogue").request("DELETE", BINDING, None, DRY).ok
    finally:
        authorization.deliver()
    wait_denied(cluster, "rogue")
