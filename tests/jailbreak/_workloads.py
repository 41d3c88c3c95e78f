"""What attacks on workloads have in common: pods, deployments, accounts of any strength, and tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from tests.controlplane.api import path
from tests.e2e.story import Reply
from tests.jailbreak._stage import Stage

MERGE = "application/merge-patch+json"
RBAC = "rbac.authorization.k8s.io"
TOKEN_REQUEST = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}


def pod_spec(account: str = "", **more: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "main", "image": "example.com/none:1"}], **more}
    return spec | ({"serviceAccountName": account} if account else {})


def pod(name: str, account: str = "", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": pod_spec(account, **more)}


def deployment(name: str, account: str = "", replicas: int = 2, kind: str = "Deployment") -> dict[str, Any]:
    labels = {"app": name}
    spec: dict[str, Any] = {"replicas": replicas, "selector": {"matchLabels": labels}}
    spec |= {"template": {"metadata": {"labels": labels}, "spec": pod_spec(account)}}
    spec |= {"serviceName": name} if kind == "StatefulSet" else {}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def stateful_set(name: str, **spec: Any) -> dict[str, Any]:
    """One that has a claim for each replica."""
    labels = {"app": name}
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "storageClassName": "none"},
    }
    container = {"name": "main", "image": "example.com/none:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, "volumeClaimTemplates": [claim], **spec},
    }


def account(stage: Stage, namespace: str, name: str = "deputy", *, strong: bool = False) -> str:
    """A ServiceAccount of somebody else's that is no agent; a strong one may delete everything. Returns its path."""
    url = stage.make(path("serviceaccounts", namespace=namespace), {"metadata": {"name": name}})
    if strong:
        stage.make(path("clusterrolebindings"), binding(stage.name("strong"), "ClusterRole", "cluster-admin", namespace, name))
    return url


def binding(name: str, kind: str, role: str, namespace: str, account_name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account_name, "namespace": namespace}],
    }


def taken_up(stage: Stage) -> None:
    """Until the API server goes by the hardened policies for the new agent, where they are there: it takes each up in a tick of its own."""
    if stage.control:
        return
    url = path("serviceaccounts", "default", namespace=stage.namespace("probe"), subresource="token")

    def refused() -> bool:
        return not stage.agent.api.request("POST", url, TOKEN_REQUEST, {"dryRun": "All"}).ok

    assert stage.comes_true(refused), "the hardened profile is not in force"
    stage.comes_true(lambda: False, within=1.5)


def token_in(reply: Reply) -> str:
    """The token of a TokenRequest's answer, "" where it was refused."""
    return str(reply.answer.body["status"]["token"]) if reply.ok else ""


def deletes_with(stage: Stage, token: Callable[[], str], victim: str) -> Callable[[], bool]:
    """The harm of another's token: with it the victim can be deleted, unsigned; tried as a dry run."""

    def passes() -> bool:
        found = token()
        if not found:
            return False
        api = stage.ground.as_bearer("deputy", found)
        stage.afterwards(api.close)
        return api.request("DELETE", victim, None, {"dryRun": "All"}).status == httpx.codes.OK

    return passes
