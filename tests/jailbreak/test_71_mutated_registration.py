"""A mutating webhook of the agent's own puts its key, or its sponsor's name, into a Reviewer or AgentIdentity while a human registers it.

Source: SIG Security's admission threat model (a mutating webhook changes what others write); Kubernetes: policies see webhook configurations, webhooks do not.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere, away, policy
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=71,
    title="An agent's mutating webhook on Countersign's own kinds",
    guards=away(policy("shadows")),
    elsewhere=Elsewhere.DRY_RUN,
)


def _configuration(name: str, group: str, resource: str) -> dict[str, object]:
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}
    webhook = {
        "name": f"{name}.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [rule],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {"metadata": {"name": name}, "webhooks": [webhook]}


def _writes(stage: Stage, group: str, resource: str) -> None:
    name = stage.name("helper")
    url = path("mutatingwebhookconfigurations", name)
    stage.clean(url)
    reply = stage.strike("POST", path("mutatingwebhookconfigurations"), _configuration(name, group, resource))
    stage.judge(reply, harm=lambda: stage.admin.exists(url))


def test_on_reviewers(stage: Stage) -> None:
    _writes(stage, "kube-countersign.dev", "reviewers")


def test_on_everything(stage: Stage) -> None:
    _writes(stage, "*", "*")


def test_one_that_is_there_already(stage: Stage) -> None:
    """Of somebody else's, widened."""
    name = stage.name("theirs")
    url = stage.make(path("mutatingwebhookconfigurations"), _configuration(name, "example.com", "widgets"))
    change = _configuration(name, "kube-countersign.dev", "*")
    reply = stage.strike("PATCH", url, {"webhooks": change["webhooks"]}, content_type="application/merge-patch+json")
    stage.judge(reply, harm=lambda: "kube-countersign.dev" in str(stage.admin.get(url)["webhooks"]))
