"""What the chart grants to the two processes is enough for all they do, and a call outside it is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.controlplane import kubeconfig, people, waiting
from tests.controlplane.api import Api, path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.controlplane.kubeconfig import Credentials
from tests.e2e._faults import delete_namespace, make_namespace
from tests.support.resource_cases import API_VERSION, MINIMAL, SPECS

FORBIDDEN = 403
PATIENCE = 30.0
PROCESSES = ("webhook", "operator")
DRY = {"dryRun": "All"}
SECRET: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "least-privilege"}}
OUR_SETTINGS = ("agentidentities", "reviewers", "protectedenvironments")
POLICY_KINDS = ("validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations")

ADMISSION, OURS, FLOWS = "admissionregistration.k8s.io", "kube-countersign.dev", "flowcontrol.apiserver.k8s.io"
GUARDS = (*POLICY_KINDS, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
Right = tuple[str, str]
"""A verb, and a resource as `resource/subresource.group`."""

SELDOM: Mapping[str, Mapping[Right, str]] = {
    "webhook": {
        **{("get", f"{kind}.{OURS}"): "a live look at what memory does not have in this version" for kind in OUR_SETTINGS},
        ("get", f"changerequests.{OURS}"): "another replica has opened it a moment before",
        **{("get", f"{kind}."): "is the target there" for kind in ("persistentvolumeclaims", "persistentvolumes", "namespaces")},
        ("get", "customresourcedefinitions.apiextensions.k8s.io"): "is the target there",
        **{("list", f"{kind}."): "what would be lost" for kind in ("persistentvolumeclaims", "services")},
        ("get", "clusterroles.rbac.authorization.k8s.io"): "the owner of its notes",
    },
    "operator": {
        **{(verb, "leases.coordination.k8s.io"): "the audit log leaves Leases out" for verb in ("get", "create", "update")},
        ("create", "events."): "the audit log leaves Events out",
        **{
            (verb, f"{kind}.{FLOWS}"): "the jail, where it is chosen"
            for kind in ("flowschemas", "prioritylevelconfigurations")
            for verb in ("get", "create", "update", "patch", "delete")
        },
        **{("get", f"{kind}.{OURS}"): "is the target gone" for kind in (*OUR_SETTINGS, "changerequests")},
        **{("get", f"{kind}."): "is the target gone" for kind in ("persistentvolumeclaims", "persistentvolumes", "namespaces")},
        **{("delete", f"{kind}.{OURS}"): "what has ended and was kept long enough" for kind in ("changerequests", "approvals")},
        **{("patch", f"{kind}/status.{OURS}"): "once there is one" for kind in ("approvals", "changerequests", "reviewers")},
        ("patch", f"protectedenvironments.{OURS}"): "registration is closed once",
        **{
            (verb, f"{kind}.{ADMISSION}"): "a guard that somebody changed, or that another profile or number of agents no longer needs"
            for kind in GUARDS
            for verb in ("update", "patch", "delete")
            if (verb, kind) != ("delete", "validatingwebhookconfigurations")
        },
        **{(verb, "customresourcedefinitions.apiextensions.k8s.io"): "an upgrade, or lost" for verb in ("get", "create", "update")},
        ("update", "secrets."): "a certificate is renewed",
        ("get", "statefulsets.apps"): "a policy looks at them as its parameters: asked for when the policy is written",
        ("patch", "serviceaccounts."): "an agent's account gets its label",
        ("create", "subjectaccessreviews.authorization.k8s.io"): "an agent's rights are looked at",
        **{("list", f"{kind}."): "what would go with a namespace" for kind in ("configmaps", "persistentvolumeclaims", "pods", "services")},
        **{("list", f"{kind}.apps"): "what would go with a namespace" for kind in ("daemonsets", "deployments", "statefulsets")},
        **{("list", f"{kind}.batch"): "what would go with a namespace" for kind in ("cronjobs", "jobs")},
        ("list", "ingresses.networking.k8s.io"): "what would go with a namespace",
    },
}
"""Rights that no run needs for sure, each with the occasion that asks for it."""

Call = tuple[str, str, dict[str, Any] | None]
"""Method, path, body."""


def ours(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": {**SPECS, **MINIMAL}[kind]}


OF_BOTH: Mapping[str, Call] = {
    "read all Secrets": ("GET", path("secrets"), None),
    "read the Secrets of its own namespace": ("GET", path("secrets", namespace=NAMESPACE), None),
    "read another Secret": ("GET", path("secrets", "least-privilege", namespace=NAMESPACE), None),
    "delete a namespace": ("DELETE", path("namespaces", "default"), None),
    "delete a pod": ("DELETE", path("pods", "x", namespace=NAMESPACE), None),
    "sign": ("POST", path("approvals"), ours("Approval", "least-privilege")),
    "register a Reviewer": ("POST", path("reviewers"), ours("Reviewer", "least-privilege")),
    "delete a Reviewer": ("DELETE", path("reviewers", "bob"), None),
    "free an agent": ("DELETE", path("agentidentities", "kiro"), None),
    "change who is an agent": ("PATCH", path("agentidentities", "kiro"), {"spec": {"sponsors": ["x"]}}),
    "delete an environment": ("DELETE", path("protectedenvironments", "default"), None),
    "change a change request": ("PATCH", path("changerequests", "x"), {"spec": {"required": 1}}),
    "grant itself a role": ("PATCH", path("clusterroles", "countersign-webhook"), {"rules": []}),
    "bind itself to cluster-admin": (
        "POST",
        path("clusterrolebindings"),
        {
            "metadata": {"name": "least-privilege"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        },
    ),
    "delete a CRD of ours": ("DELETE", path("customresourcedefinitions", "approvals.kube-countersign.dev"), None),
    "become another account": ("POST", path("serviceaccounts", "default", namespace="default", subresource="token"), {"spec": {}}),
    "run a pod": (
        "POST",
        path("pods", namespace=NAMESPACE),
        {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "x"}]}},
    ),
}
OF_THE_WEBHOOK: Mapping[str, Call] = {
    "read the authority's key": ("GET", path("secrets", "countersign-webhook-ca", namespace=NAMESPACE), None),
    "write a Secret": ("POST", path("secrets", namespace=NAMESPACE), SECRET),
    "write its own certificate": ("PATCH", path("secrets", "countersign-webhook-tls", namespace=NAMESPACE), {"data": {}}),
    "delete a change request": ("DELETE", path("changerequests", "x"), None),
    "write a status": ("PATCH", f"{path('changerequests', 'x')}/status", {"status": {"outcome": "Approved"}}),
    "label a namespace": ("PATCH", path("namespaces", "default"), {"metadata": {"labels": {"x": "y"}}}),
    "see its own configuration": ("GET", path("validatingwebhookconfigurations", "countersign"), None),
    "change its own configuration": ("PATCH", path("validatingwebhookconfigurations", "countersign"), {"webhooks": []}),
    "close registration": ("PATCH", path("protectedenvironments", "default"), {"spec": {"registration": "Closed"}}),
    "read pods": ("GET", path("pods"), None),
    "read ConfigMaps": ("GET", path("configmaps"), None),
}
OF_THE_OPERATOR: Mapping[str, Call] = {
    "open a change request": ("POST", path("changerequests"), ours("ChangeRequest", "least-privilege")),
    "change another environment": ("PATCH", path("protectedenvironments", "payments"), {"spec": {"mode": "Audit"}}),
    "delete another's CRD": ("DELETE", path("customresourcedefinitions", "x.example.com"), None),
    "change another's CRD": ("PUT", path("customresourcedefinitions", "x.example.com"), {"metadata": {"name": "x.example.com"}}),
    "change another Secret": ("PUT", path("secrets", "least-privilege", namespace=NAMESPACE), SECRET),
    "write a Secret elsewhere": ("POST", path("secrets", namespace="default"), SECRET),
    "delete another's webhook": ("DELETE", path("validatingwebhookconfigurations", "cert-manager"), None),
    "delete another's policy": ("DELETE", path("validatingadmissionpolicies", "x"), None),
    "change another ClusterRole": ("PATCH", path("clusterroles", "view"), {"metadata": {"labels": {"x": "y"}}}),
    "delete a ServiceAccount": ("DELETE", path("serviceaccounts", "kiro", namespace="agents"), None),
}
REFUSED = [
    pytest.param(process, call, id=f"{process}-{what}".replace(" ", "-"))
    for process, own in (("webhook", OF_THE_WEBHOOK), ("operator", OF_THE_OPERATOR))
    for what, call in {**OF_BOTH, **own}.items()
]


@pytest.fixture(scope="module")
def processes(cluster: Cluster) -> Iterator[Mapping[str, Api]]:
    """The API as each process sees it: with a token of its ServiceAccount."""
    server = kubeconfig.load(cluster.paths.kubeconfig).server
    apis = {
        process: Api(Credentials(server, process, token=people.token(cluster.api, NAMESPACE, f"countersign-{process}")))
        for process in PROCESSES
    }
    yield apis
    for api in apis.values():
        api.close()


@pytest.mark.parametrize(("process", "call"), REFUSED)
def test_a_call_outside_is_refused_by_rbac(processes: Mapping[str, Api], process: str, call: Call) -> None:
    method, url, body = call
    kind = "application/merge-patch+json" if method == "PATCH" else None
    answer = processes[process].request(method, url, body, {} if method == "GET" else DRY, kind)
    assert answer.status == FORBIDDEN, answer.body
    assert f'User "system:serviceaccount:{NAMESPACE}:countersign-{process}" cannot' in answer.body["message"]


@pytest.mark.parametrize("collection", POLICY_KINDS)
def test_the_operator_cannot_sweep_the_guards_of_others(processes: Mapping[str, Api], collection: str) -> None:
    answer = processes["operator"].request("DELETE", path(collection), params=DRY)
    assert answer.status == FORBIDDEN
    assert "cannot deletecollection" in answer.body["message"]


def test_the_webhook_reads_its_certificate_and_nothing_beside_it(processes: Mapping[str, Api]) -> None:
    secret = processes["webhook"].get(path("secrets", "countersign-webhook-tls", namespace=NAMESPACE))
    assert {"tls.crt", "tls.key", "ca.crt"} == secret["data"].keys(), "and no key that signs"


@pytest.mark.parametrize("process", PROCESSES)
def test_nothing_that_a_process_did_was_refused_by_rbac(cluster: Cluster, process: str) -> None:
    """In all suites until now; what this module asked for in their names is told apart by its client.

    A verb on a resource that was allowed at another time is no missing right: a restarted API server refuses all while it reads the roles.
    example.com's kinds are read by a role that a suite takes away on purpose.
    """
    own = _asked(cluster, process)
    allowed = {_right(event) for event in own if _verdict(event) == "allow"}
    refused = {_right(event) for event in own if _verdict(event) == "forbid"} - allowed
    assert allowed
    assert {right for right in refused if not right[1].endswith("example.com")} == set()
    # Leases and Events are not in the audit log; their rights are asked for one by one in test_privileges.py.


@pytest.mark.parametrize("process", PROCESSES)
def test_every_right_is_used_or_has_its_occasion(cluster: Cluster, process: str) -> None:
    """A rule that nothing asks for, in the suites until now and in an agent's refusal, is one too many."""
    refused_once = delete_namespace(cluster, "kiro", make_namespace(cluster, "asked"))
    assert not refused_once.ok
    (cluster.restart_webhook if process == "webhook" else cluster.restart_operator)()  # a watch is in the audit log once it has ended
    held = _held(cluster, process)

    def idle() -> set[Right]:
        used = {_right(event) for event in _asked(cluster, process) if _verdict(event) == "allow"}
        return held - used - SELDOM[process].keys()

    waiting.until(
        lambda: not idle(),
        "every right was to be used: take these away, or say when they are",
        timeout=PATIENCE,
        explain=lambda: str(sorted(idle())),
    )
    assert SELDOM[process].keys() - held == set(), "these are not granted any more"


def _asked(cluster: Cluster, process: str) -> list[Mapping[str, Any]]:
    username = f"system:serviceaccount:{NAMESPACE}:countersign-{process}"
    asked = [event for event in cluster.audit() if event["user"]["username"] == username]
    assert asked, "the audit log holds nothing of it: the audit policy leaves it out"
    return [event for event in asked if not event["userAgent"].startswith(("python-httpx", "kubectl"))]


def _held(cluster: Cluster, process: str) -> set[Right]:
    """By its own two roles, as they are in the cluster."""
    name = f"countersign-{process}"
    rules = [*cluster.api.get(path("clusterroles", name))["rules"], *cluster.api.get(path("roles", name, namespace=NAMESPACE))["rules"]]
    return {
        (verb, f"{resource}.{group}")
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def _verdict(event: Mapping[str, Any]) -> str:
    return str(event["annotations"].get("authorization.k8s.io/decision", ""))


def _right(event: Mapping[str, Any]) -> Right:
    """The verb, and the resource as `resource/subresource.group`."""
    target = event.get("objectRef", {})
    resource = "/".join(part for part in (target.get("resource", ""), target.get("subresource", "")) if part)
    return event["verb"], f"{resource}.{target.get('apiGroup', '')}"
