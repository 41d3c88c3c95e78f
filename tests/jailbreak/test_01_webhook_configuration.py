"""An agent deletes our webhook configuration, or makes it call nobody: other rules, a selector, another address, a certificate that fails, a second's patience.

Source: SIG Security admission control threat model; open-policy-agent/gatekeeper#4350; kyverno/kyverno#7950.
"""

import copy
from typing import Any

from tests.controlplane.api import path
from tests.jailbreak._attack import GUARDS, Attack, Elsewhere, away, policy
from tests.jailbreak._stage import Stage

# Dry runs on every cluster: it is what the other tests live by.
ATTACK = Attack(
    number=1, title="Delete or weaken our webhook configuration", guards=away(GUARDS, policy("shadows")), elsewhere=Elsewhere.DRY_RUN
)
URL = path("validatingwebhookconfigurations", "countersign")


def test_deleted(stage: Stage) -> None:
    stage.judge(stage.strike("DELETE", URL, dryRun="All"))


def test_emptied(stage: Stage) -> None:
    stage.judge(stage.strike("PATCH", URL, {"webhooks": []}, content_type="application/merge-patch+json", dryRun="All"))


def test_weakened_field_by_field(stage: Stage) -> None:
    for change in (_rules, _selector, _object_selector, _fails_open, _elsewhere, _certificate, _impatient, _conditions):
        changed = copy.deepcopy(stage.admin.get(URL))
        change(changed["webhooks"][0])
        stage.judge(stage.strike("PUT", URL, changed, dryRun="All"))


def test_applied_over_as_the_admin(stage: Stage) -> None:
    """Nobody but the operator, not even system:masters."""
    body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "countersign"}}
    whole = {**body, "webhooks": [{**hook, "failurePolicy": "Ignore"} for hook in stage.admin.get(URL)["webhooks"]]}
    reply = stage.strike(
        "PATCH", URL, whole, by=stage.admin, content_type="application/apply-patch+yaml", fieldManager="mine", force="true", dryRun="All"
    )
    stage.judge(reply)


def _rules(hook: dict[str, Any]) -> None:
    hook["rules"] = [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["things"]}]


def _selector(hook: dict[str, Any]) -> None:
    hook["namespaceSelector"] = {"matchLabels": {"no": "such"}}


def _object_selector(hook: dict[str, Any]) -> None:
    hook["objectSelector"] = {"matchLabels": {"no": "such"}}


def _fails_open(hook: dict[str, Any]) -> None:
    hook["failurePolicy"] = "Ignore"


def _elsewhere(hook: dict[str, Any]) -> None:
    hook["clientConfig"] = {"url": "https://127.0.0.1:9/yes"}


def _certificate(hook: dict[str, Any]) -> None:
    hook["clientConfig"].pop("caBundle")


def _impatient(hook: dict[str, Any]) -> None:
    hook["timeoutSeconds"] = 1


def _conditions(hook: dict[str, Any]) -> None:
    hook["matchConditions"] = [{"name": "never", "expression": "false"}]
