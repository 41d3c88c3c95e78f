"""What agents are denied before RBAC is asked, and above all what nobody else is, nor an agent's ordinary work."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.domain.authorize import Access, Deny, Ground, NoOpinion, Opinion, PathAccess, ResourceAccess, authorize
from countersign.domain.identify import Agent, Human, Machine, Requester

OURS = "countersign"
KIRO = Agent("system:serviceaccount:agents:kiro", ("kiro",), ("alice",), "system:serviceaccount:agents:kiro")
OTHERS = [
    Human("alice@example.com", "alice"),
    Machine("system:serviceaccount:ci:deployer", builtin=False),
    Machine("system:node:a", builtin=False),
]


def on(
    verb: str, resource: str, group: str = "", *, sub: str = "", ns: str = "", name: str = "", **labels: tuple[str, ...]
) -> ResourceAccess:
    return ResourceAccess(verb, group, resource, "v1", sub, ns, name, labels)


ADMISSION, CERTIFICATES, RBAC = "admissionregistration.k8s.io", "certificates.k8s.io", "rbac.authorization.k8s.io"
DENIED: list[tuple[Ground, ResourceAccess]] = [
    (Ground.IMPERSONATION, on("impersonate", "users", name="alice")),
    (Ground.IMPERSONATION, on("impersonate", "groups", name="system:masters")),
    (Ground.IMPERSONATION, on("impersonate", "serviceaccounts", ns="kube-system", name="namespace-controller")),
    (Ground.IMPERSONATION, on("impersonate", "userextras", "authentication.k8s.io", sub="scopes", name="x")),
    (Ground.IMPERSONATION, on("impersonate:user-info", "users", "authentication.k8s.io", name="alice")),
    (Ground.IMPERSONATION, on("impersonate:serviceaccount", "serviceaccounts", "authentication.k8s.io", name="x")),
    (Ground.IMPERSONATION, on("impersonate:arbitrary-node", "nodes", "authentication.k8s.io", name="x")),
    (Ground.IMPERSONATION, on("impersonate-on:user-info:delete", "namespaces", name="payments")),
    (Ground.IMPERSONATION, on("impersonate-of-tomorrow", "anything", "example.com")),
    *(
        (Ground.CONFIGURATION, on(verb, "validatingadmissionpolicies", ADMISSION))
        for verb in ("create", "update", "patch", "delete", "deletecollection")
    ),
    (Ground.CONFIGURATION, on("create", "mutatingadmissionpolicies", ADMISSION)),
    (Ground.CONFIGURATION, on("delete", "validatingadmissionpolicybindings", ADMISSION, name="countersign-guards")),
    (Ground.CONFIGURATION, on("patch", "mutatingwebhookconfigurations", ADMISSION, name="x")),
    (Ground.CONFIGURATION, on("update", "validatingadmissionpolicies", ADMISSION, sub="status", name="x")),
    (Ground.CONFIGURATION, on("*", "*", ADMISSION)),
    (Ground.CONFIGURATION, on("create", "kindsoftomorrow", ADMISSION)),
    (Ground.CONFIGURATION, on("update", "apiservices", "apiregistration.k8s.io", name="v1alpha1.kube-countersign.dev")),
    (Ground.CONFIGURATION, on("create", "flowschemas", "flowcontrol.apiserver.k8s.io")),
    (Ground.UNSAFE_DELETE, on("unsafe-delete-ignore-read-errors", "configmaps", ns="payments", name="broken")),
    (Ground.UNSAFE_DELETE, on("unsafe-delete-ignore-read-errors", "applications", "argoproj.io", ns="argo", name="broken")),
    (Ground.RIGHTS, on("bind", "clusterroles", RBAC, name="cluster-admin")),
    (Ground.RIGHTS, on("escalate", "roles", RBAC, ns="payments", name="x")),
    (Ground.CERTIFICATES, on("approve", "signers", CERTIFICATES, name="kubernetes.io/kube-apiserver-client")),
    (Ground.CERTIFICATES, on("sign", "signers", CERTIFICATES, name="kubernetes.io/kube-apiserver-client")),
    (Ground.CERTIFICATES, on("attest", "signers", CERTIFICATES, name="example.com/x")),
    *((Ground.KUBELET, on(verb, "nodes", sub="proxy", name="node-1")) for verb in ("get", "create", "update", "patch", "delete")),
    (Ground.KUBELET, on("create", "nodes", sub="checkpoint", name="node-1")),
    (Ground.TOKENS, on("create", "serviceaccounts", sub="token", ns="kube-system", name="namespace-controller")),
    (Ground.TOKENS, on("create", "serviceaccounts", sub="token", ns=OURS, name="countersign-operator")),
    (Ground.SECRETS, on("get", "secrets", ns=OURS, name="countersign-webhook-tls")),
    (Ground.SECRETS, on("list", "secrets", ns=OURS)),
    (Ground.SECRETS, on("watch", "secrets", ns=OURS)),
    (Ground.SECRETS, on("get", "secrets", ns="kube-system", name="kubeadm-certs")),
    (Ground.SECRETS, on("patch", "secrets", ns="kube-system", name="bootstrap-token-abcdef")),
    (Ground.SECRETS, on("deletecollection", "secrets", ns="kube-system")),
    (Ground.SECRETS, on("update", "secrets", ns="kube-system", name="x")),
    (Ground.SECRETS, on("list", "secrets")),
    (Ground.SECRETS, on("watch", "secrets")),
    (Ground.SECRETS, on("list", "secrets", owner=("helm", "x"))),
    (Ground.SECRETS, on("list", "secrets", owner=("helmet",))),
    (Ground.SECRETS, on("list", "secrets", app=("helm",))),
    (Ground.SECRETS, on("get", "secrets", ns=OURS, name="not-sh.helm.release.v1.x")),
]

ORDINARY: list[Access] = [
    *(
        on(verb, "deployments", "apps", ns="payments", name="web")
        for verb in ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    ),
    on("update", "deployments", "apps", sub="scale", ns="payments", name="web"),
    on("create", "pods", ns="payments"),
    on("get", "pods", sub="log", ns="payments", name="web-0"),
    on("create", "pods", sub="exec", ns="payments", name="web-0"),
    on("create", "jobs", "batch", ns="payments"),
    on("delete", "namespaces", name="payments"),
    on("list", "validatingwebhookconfigurations", ADMISSION),
    on("get", "validatingadmissionpolicies", ADMISSION, name="countersign-guards"),
    on("watch", "apiservices", "apiregistration.k8s.io"),
    on("create", "rolebindings", RBAC, ns="payments"),
    on("bind", "pods", ns="payments"),
    on("approve", "signers", "cert-manager.io"),
    on("create", "certificatesigningrequests", CERTIFICATES),
    on("get", "nodes", name="node-1"),
    on("get", "nodes", sub="metrics", name="node-1"),
    on("get", "nodes", sub="log", name="node-1"),
    on("create", "serviceaccounts", sub="token", ns="payments", name="web"),
    on("get", "serviceaccounts", ns="kube-system", name="x"),
    on("get", "secrets", ns="payments", name="database"),
    on("list", "secrets", ns="payments"),
    on("create", "secrets", ns="kube-system"),
    on("list", "secrets", owner=("helm",)),
    on("list", "secrets", ns=OURS, owner=("helm",)),
    on("get", "secrets", ns="kube-system", name="sh.helm.release.v1.cilium.v3"),
    on("delete", "secrets", ns="kube-system", name="sh.helm.release.v1.cilium.v3"),
    on("list", "secrets", "example.com"),
    on("get", "changerequests", "kube-countersign.dev", name="delete-namespace-payments-3f9a1c2e"),
    PathAccess("get", "/metrics"),
    PathAccess("get", "/openapi/v3"),
    PathAccess("post", "/anything"),
]


def name_of(access: Access) -> str:
    return " ".join(str(getattr(access, part)) for part in access.__slots__ if getattr(access, part))


@pytest.mark.parametrize(("ground", "access"), DENIED, ids=[name_of(access) for _, access in DENIED])
def test_an_agent_is_denied(ground: Ground, access: ResourceAccess) -> None:
    opinion = authorize(access, KIRO, OURS)
    assert isinstance(opinion, Deny)
    assert opinion.ground is ground
    assert opinion.sentence.startswith("countersign authorizer: agents ")
    assert opinion.sentence.endswith("Ask the person you work for to do it.")
    assert "\n" not in opinion.sentence


@pytest.mark.parametrize("access", ORDINARY, ids=name_of)
def test_ordinary_work_is_nobody_elses_business(access: Access) -> None:
    assert authorize(access, KIRO, OURS) == NoOpinion(Ground.ORDINARY)


@pytest.mark.parametrize("who", OTHERS, ids=lambda who: type(who).__name__)
@pytest.mark.parametrize("access", [*(access for _, access in DENIED), *ORDINARY], ids=name_of)
def test_nobody_else_is_denied_anything(who: Requester, access: Access) -> None:
    assert authorize(access, who, OURS) == NoOpinion(Ground.NO_AGENT)


def test_every_ground_of_a_denial_has_a_row() -> None:
    assert {ground for ground, _ in DENIED} == set(Ground) - {Ground.ORDINARY, Ground.NO_AGENT}


def test_there_is_no_way_to_say_yes() -> None:
    assert get_args(Opinion) == (Deny, NoOpinion)


words = st.text(max_size=12)
accesses = st.builds(ResourceAccess, verb=words, group=words, resource=words, subresource=words, namespace=words, name=words)


@given(accesses, st.text(max_size=8))
def test_every_impersonation_is_denied_whatever_it_is_about(access: ResourceAccess, more: str) -> None:
    asked = ResourceAccess(f"impersonate{more}", access.group, access.resource, "", access.subresource, access.namespace, access.name)
    assert isinstance(authorize(asked, KIRO, OURS), Deny)


@given(accesses)
def test_whatever_is_asked_there_is_an_opinion(access: ResourceAccess) -> None:
    assert isinstance(authorize(access, KIRO, OURS), Deny | NoOpinion)
