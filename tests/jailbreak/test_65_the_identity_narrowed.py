"""The agent makes itself nobody: it takes its account out of its AgentIdentity, by every way of writing that the API server has, also by leaving out what it owns.

Source: found for this project; Kubernetes: server-side apply removes what its owner leaves out.
"""

from typing import Any

from tests.controlplane.api import path
from tests.jailbreak._attack import AGENTS, Attack, away, entry
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=65,
    title="Narrow one's own identity until it matches nobody",
    guards=away(AGENTS, entry("own"), entry("agents")),
)
_MERGE, _JSON, _APPLY = "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"


def _identity(stage: Stage) -> tuple[str, dict[str, Any]]:
    """Of somebody like it, so that the agent itself stays one in the control."""
    name = stage.name("kin")
    subjects = [{"kind": "User", "name": f"{name}-*"}, {"kind": "User", "name": f"{name}@example.com"}]
    body = {
        "apiVersion": "kube-countersign.dev/v1alpha1",
        "kind": "AgentIdentity",
        "metadata": {"name": name},
        "spec": {"subjects": subjects, "sponsors": ["alice"]},
    }
    return stage.make(path("agentidentities"), body), body


def _narrowed(stage: Stage, url: str, before: dict[str, Any]) -> bool:
    return bool(stage.admin.get(url)["spec"]["subjects"] != before["spec"]["subjects"])


def test_a_subject_less(stage: Stage) -> None:
    url, body = _identity(stage)
    reply = stage.strike("PATCH", url, {"spec": {"subjects": body["spec"]["subjects"][1:]}}, content_type=_MERGE)
    stage.judge(reply, harm=lambda: _narrowed(stage, url, body))


def test_a_condition_more(stage: Stage) -> None:
    url, body = _identity(stage)
    operations = [{"op": "add", "path": "/spec/subjects/0/groups", "value": ["no-such-group"]}]
    reply = stage.strike("PATCH", url, operations, content_type=_JSON)
    stage.judge(reply, harm=lambda: _narrowed(stage, url, body))


def test_by_apply(stage: Stage) -> None:
    url, body = _identity(stage)
    fewer = {**body, "spec": {**body["spec"], "subjects": body["spec"]["subjects"][1:]}}
    reply = stage.strike("PATCH", url, fewer, content_type=_APPLY, fieldManager="agent", force="true")
    stage.judge(reply, harm=lambda: _narrowed(stage, url, body))


def test_another_sponsor(stage: Stage) -> None:
    url, _ = _identity(stage)
    reply = stage.strike("PATCH", url, {"spec": {"sponsors": ["nobody"]}}, content_type=_MERGE)
    stage.judge(reply, harm=lambda: stage.admin.get(url)["spec"]["sponsors"] == ["nobody"])


def test_deleted(stage: Stage) -> None:
    url, _ = _identity(stage)
    stage.judge(stage.strike("DELETE", url), harm=lambda: not stage.admin.exists(url))


def test_deleted_with_all_others(stage: Stage) -> None:
    url, _ = _identity(stage)
    reply = stage.strike("DELETE", path("agentidentities"), fieldSelector=f"metadata.name={url.rpartition('/')[2]}")
    stage.judge(reply, harm=lambda: not stage.admin.exists(url))
