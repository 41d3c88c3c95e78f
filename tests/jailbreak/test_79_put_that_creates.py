"""A PUT creates roles and bindings that are not there yet; the agent binds itself to Countersign's own roles by PUT, apply and aggregation.

Source: k8s.io/kubernetes pkg/registry/rbac/clusterrolebinding/strategy.go (AllowCreateOnUpdate).
"""

from typing import Any

from tests.controlplane.api import path
from tests.jailbreak._attack import AGENTS, Attack, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=79, title="PUT that creates: bind oneself to Countersign's roles", guards=away(AGENTS))
RBAC = "rbac.authorization.k8s.io"


def _binding(stage: Stage, name: str) -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "namespace": stage.agent.namespace, "name": stage.agent.name}
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "countersign-operator"}
    kind = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding"}
    return {**kind, "metadata": {"name": name}, "roleRef": role, "subjects": [subject]}


def test_put(stage: Stage) -> None:
    name = stage.name("binding")
    url = path("clusterrolebindings", name)
    stage.clean(url)
    stage.judge(stage.strike("PUT", url, _binding(stage, name)), harm=lambda: stage.admin.exists(url))


def test_apply(stage: Stage) -> None:
    name = stage.name("binding")
    url = path("clusterrolebindings", name)
    stage.clean(url)
    reply = stage.strike("PATCH", url, _binding(stage, name), content_type="application/apply-patch+yaml", fieldManager="helm")
    stage.judge(reply, harm=lambda: stage.admin.exists(url))


def test_a_role_that_is_gathered_into_ours(stage: Stage) -> None:
    name = stage.name("role")
    url = path("clusterroles", name)
    stage.clean(url)
    labels = {"kube-countersign.dev/aggregate-to-webhook": "true"}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    body = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name, "labels": labels}, "rules": rules}
    stage.judge(stage.strike("PUT", url, body), harm=lambda: stage.admin.exists(url))
