"""Somebody else's mutating webhook is there, and harmless; the agent only widens it, until it is asked about Countersign's kinds and rewrites what people register.

Source: SIG Security's admission threat model (a mutating webhook changes what others write); Kubernetes: policies see webhook configurations, webhooks do not.
"""

from typing import Any

import pytest

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere, away, policy
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=71,
    title="Widen somebody's webhook until it is asked about our kinds",
    guards=away(policy("shadows")),
    elsewhere=Elsewhere.DRY_RUN,
)


def _configuration(name: str, *groups: str) -> dict[str, Any]:
    rules = [{"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["*"]} for group in groups]
    webhook = {
        "name": f"{name}.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": rules,
        # Nobody answers there: it is passed by.
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    return {"metadata": {"name": name}, "webhooks": [webhook]}


@pytest.mark.parametrize("road", ["application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"])
def test_by_an_update(stage: Stage, road: str) -> None:
    name = stage.name("theirs")
    url = stage.make(path("mutatingwebhookconfigurations"), _configuration(name, "example.com"))
    wider = _configuration(name, "example.com", "kube-countersign.dev")
    if "apply" in road:
        body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", **wider}
        reply = stage.strike("PATCH", url, body, content_type=road, fieldManager="helm", force="true")
    else:
        reply = stage.strike("PATCH", url, {"webhooks": wider["webhooks"]}, content_type=road)
    stage.judge(reply, harm=lambda: "kube-countersign.dev" in str(stage.admin.get(url)["webhooks"]))
