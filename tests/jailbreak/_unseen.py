"""What the attacks have in common that go through somebody else's request: environments of their own, and what is told of them."""

from __future__ import annotations

from tests.controlplane.api import Answer, path
from tests.e2e.story import label_of, manifest
from tests.jailbreak._sentinel import settle
from tests.jailbreak._stage import Stage
from tests.support.mutating import one_patch

MERGE = "application/merge-patch+json"


def environment(stage: Stage) -> tuple[str, str]:
    """An environment that goes by a label, and a namespace in it that the operator knows (in a control there is none)."""
    name = stage.name("watched")
    spec = {"namespaces": {"selector": {"matchLabels": {label_of(name): "yes"}}}, "protectFrom": "Agents"}
    stage.make(path("protectedenvironments"), manifest("ProtectedEnvironment", name, spec))
    namespace = path("namespaces", stage.namespace(labels={label_of(name): "yes"}))
    if not stage.control:
        assert stage.comes_true(lambda: name in noted(stage, namespace)), "the operator did not note where the namespace is"
        settle(stage.admin, stage.name("known"))
    return name, namespace


def noted(stage: Stage, namespace: str) -> list[str]:
    annotations = stage.admin.get(namespace)["metadata"].get("annotations", {})
    return str(annotations.get("kube-countersign.dev/environments", "")).split(",")


def event(stage: Stage, reason: str, name: str) -> str:
    """What the operator has told of an object of the cluster, "" where it has not."""
    found = stage.admin.list(path("events", namespace="default"), fieldSelector=f"involvedObject.name={name}")
    return next((f"Event {reason}: {each['message']}" for each in found if each["reason"] == reason), "")


def warning(answer: Answer, words: str) -> str:
    return next((f"Warning: {each}" for each in answer.warnings if words in each), "")


def plant(stage: Stage, group: str, resource: str, name: str, patch: str) -> None:
    """The agent's MutatingAdmissionPolicy, which makes one JSON patch of everybody's writes to one object."""
    own = stage.name("helper")
    spec = one_patch(group, resource, name, patch)
    for plural, body in (("mutatingadmissionpolicies", spec), ("mutatingadmissionpolicybindings", {"policyName": own})):
        stage.clean(path(plural, own))
        stage.agent.api.create(path(plural), {"metadata": {"name": own}, "spec": body})
    settle(stage.admin, stage.name("planted"), mutating=True)
