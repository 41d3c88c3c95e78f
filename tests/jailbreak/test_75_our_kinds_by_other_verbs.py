"""An agent may not create a Reviewer; so it applies, patches, replaces, or posts one with a name to be made up, as JSON or YAML, as another manager, by force.

Source: k8s.io/apiserver pkg/endpoints/handlers/patch.go (server-side apply creates what is not there), create.go (generateName).
"""

import json
from typing import Any

import pytest

from tests.controlplane.api import OURS, path
from tests.jailbreak._attack import AGENTS, Attack, away, entry
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=75, title="A Reviewer by apply, patch, PUT, generateName, YAML", guards=away(AGENTS, entry("own"), entry("agents")))
APPLY, MERGE, JSON_PATCH = "application/apply-patch+yaml", "application/merge-patch+json", "application/json-patch+json"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"


def _reviewer(name: str, key: str = "A") -> dict[str, Any]:
    spec = {"usernames": [f"{name}@example.com"], "keys": [{"name": "main", "publicKey": KEY + key * 43}]}
    return {"apiVersion": "kube-countersign.dev/v1alpha1", "kind": "Reviewer", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("force", ["true", "false"])
def test_apply(stage: Stage, force: str) -> None:
    name = stage.name("friend")
    url = path("reviewers", name)
    stage.clean(url)
    reply = stage.strike("PATCH", url, _reviewer(name), content_type=APPLY, fieldManager="helm", force=force)
    stage.judge(reply, harm=lambda: stage.admin.exists(url))


def test_apply_as_yaml_text(stage: Stage) -> None:
    name = stage.name("friend")
    url = path("reviewers", name)
    stage.clean(url)
    body = f"# a comment\n{json.dumps(_reviewer(name))}\n".encode()
    reply = stage.strike("PATCH", url, body, content_type=APPLY, fieldManager="helm")
    stage.judge(reply, harm=lambda: stage.admin.exists(url))


def test_posted_as_yaml(stage: Stage) -> None:
    name = stage.name("friend")
    stage.clean(path("reviewers", name))
    reply = stage.strike("POST", path("reviewers"), json.dumps(_reviewer(name)).encode(), content_type="application/yaml")
    stage.judge(reply, harm=lambda: stage.admin.exists(path("reviewers", name)))


def test_a_name_to_be_made_up(stage: Stage) -> None:
    word = stage.name("friend")
    body = _reviewer(word)
    body["metadata"] = {"generateName": f"{word}-"}

    def made() -> list[str]:
        return [each["metadata"]["name"] for each in stage.admin.list(path("reviewers")) if each["metadata"]["name"].startswith(word)]

    reply = stage.strike("POST", path("reviewers"), body)
    for name in made():
        stage.clean(path("reviewers", name))
    stage.judge(reply, harm=lambda: bool(made()))


def _theirs(stage: Stage) -> str:
    """The agent's own identity, and what is to become of it: another sponsor."""
    return path("agentidentities", stage.agent.namespace)


@pytest.mark.parametrize("kind", [MERGE, JSON_PATCH, APPLY])
def test_another_sponsor(stage: Stage, kind: str) -> None:
    """Dry runs: the identity is that of all the other tests."""
    url = _theirs(stage)
    change: Any = {"spec": {"sponsors": ["nobody"]}}
    if kind == JSON_PATCH:
        change = [{"op": "replace", "path": "/spec/sponsors", "value": ["nobody"]}]
    elif kind == APPLY:
        live = stage.admin.get(url)
        change = {key: live[key] for key in ("apiVersion", "kind")} | {
            "metadata": {"name": live["metadata"]["name"]},
            "spec": live["spec"] | {"sponsors": ["nobody"]},
        }
    more: dict[str, Any] = {"fieldManager": "helm", "force": "true"} if kind == APPLY else {}
    stage.judge(stage.strike("PATCH", url, change, content_type=kind, dryRun="All", **more))


def test_replaced(stage: Stage) -> None:
    url = _theirs(stage)
    live = stage.admin.get(url)
    live["spec"]["sponsors"] = ["nobody"]
    stage.judge(stage.strike("PUT", url, live, dryRun="All"))


def test_while_it_is_being_deleted(stage: Stage) -> None:
    """Kyverno once let everything through for an object with a deletionTimestamp (CVE-2023-34091)."""
    name = stage.name("leaving")
    url = path("agentidentities", name)
    spec = {"sponsors": ["alice"], "subjects": [{"kind": "User", "name": f"{name}@example.com"}]}
    metadata = {"name": name, "finalizers": ["example.com/hold"]}
    stage.make(path("agentidentities"), {"apiVersion": f"{OURS}/v1alpha1", "kind": "AgentIdentity", "metadata": metadata, "spec": spec})
    stage.afterwards(stage.admin.request, "PATCH", url, {"metadata": {"finalizers": None}}, None, MERGE)
    stage.admin.delete(url)
    assert "deletionTimestamp" in stage.admin.get(url)["metadata"]
    reply = stage.strike("PATCH", url, {"spec": {"sponsors": ["nobody"]}}, content_type=MERGE)
    stage.judge(reply, harm=lambda: stage.admin.get(url)["spec"]["sponsors"] == ["nobody"])
