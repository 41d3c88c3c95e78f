"""Mutating policies are asked about webhook configurations: one of the agent's turns every repair by our operator into a webhook that asks nobody.

Source: k8s.io/apiserver pkg/admission/plugin/policy/generic/plugin.go (only policies and bindings are exempt from policies).
"""

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.controlplane.api import path
from tests.jailbreak._attack import GUARDS, Attack, Elsewhere, away
from tests.jailbreak._sentinel import settle
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=52,
    title="A mutating policy rewrites our operator's own repairs",
    guards=away(GUARDS),
    elsewhere=Elsewhere.NOT,
    because="puts a mutating policy into the cluster, and writes as the operator",
)
URL = path("validatingwebhookconfigurations", "countersign")
NEVER = 'JSONPatch{op: "add", path: "/webhooks/0/matchConditions/-", value: Object.webhooks.matchConditions{name: "never", expression: "false"}}'
SELECTOR = "Object.webhooks.namespaceSelector{matchLabels: {'no': 'where'}}"
Shown = Callable[[dict[str, Any]], bool]
ROADS: Final[dict[str, tuple[str, Shown]]] = {
    "it fails open": (
        'JSONPatch{op: "replace", path: "/webhooks/0/failurePolicy", value: "Ignore"}',
        lambda tree: tree["webhooks"][0]["failurePolicy"] == "Ignore",
    ),
    "it fails open under the name of a trial": (
        'JSONPatch{op: "replace", path: "/webhooks/0/failurePolicy", value: "Ignore"},'
        'JSONPatch{op: "replace", path: "/webhooks/0/name", value: "trial-people.kube-countersign.dev"}',
        lambda tree: tree["webhooks"][0]["name"].startswith("trial-"),
    ),
    "the entry about agents is gone": (
        'JSONPatch{op: "remove", path: "/webhooks/0"}',
        lambda tree: not any(hook["name"].startswith("agents-") for hook in tree["webhooks"]),
    ),
    "a condition that is never true": (NEVER, lambda tree: tree["webhooks"][0]["matchConditions"][-1]["name"] == "never"),
    "no namespace is selected": (
        f'JSONPatch{{op: "replace", path: "/webhooks/0/namespaceSelector", value: {SELECTOR}}}',
        lambda tree: tree["webhooks"][0]["namespaceSelector"] != {},
    ),
    "deletions are no operation": (
        'JSONPatch{op: "replace", path: "/webhooks/0/rules/0/operations", value: ["CONNECT"]}',
        lambda tree: tree["webhooks"][0]["rules"][0]["operations"] == ["CONNECT"],
    ),
    "its owner is one that is gone": (
        'JSONPatch{op: "replace", path: "/metadata/ownerReferences/0/uid", value: "gone"}',
        lambda tree: tree["metadata"]["ownerReferences"][0]["uid"] == "gone",
    ),
}


@pytest.mark.parametrize("road", ROADS)
def test_our_webhooks_made_to_ask_nobody(stage: Stage, road: str) -> None:
    patch, shown = ROADS[road]
    name = stage.name("helper")
    kinds = {"apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["v1"], "resources": ["validatingwebhookconfigurations"]}
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [{**kinds, "operations": ["CREATE", "UPDATE"]}]},
        "matchConditions": [{"name": "ours", "expression": 'object.metadata.name == "countersign"'}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patch}]"}}],
    }
    for plural, body in (("mutatingadmissionpolicies", spec), ("mutatingadmissionpolicybindings", {"policyName": name})):
        stage.clean(path(plural, name))
        stage.agent.api.create(path(plural), {"metadata": {"name": name}, "spec": body})
    settle(stage.admin, stage.name("planted"), mutating=True)
    operator = stage.cluster.api_as(stage.story.account("countersign-operator"))
    change = {"metadata": {"annotations": {"a": "b"}}}
    reply = stage.strike("PATCH", URL, change, by=operator, content_type="application/merge-patch+json", dryRun="All")
    stage.judge(reply)
    if stage.control:
        assert shown(reply.answer.body), "the control is to show the harm"
