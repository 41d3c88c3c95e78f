"""A guard that names its object by `resourceNames` never matches a deletecollection, which arrives without a name; so the raw one removes it.

Source: tried for this project; k8s.io/apiserver pkg/admission/plugin/policy/matching/matching.go.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import GUARDS, Attack, Elsewhere, away
from tests.jailbreak._stage import Stage

# Dry runs on every cluster: what would be deleted is what the other tests live by.
ATTACK = Attack(number=33, title="Raw deletecollection against a guard by resourceNames", guards=away(GUARDS), elsewhere=Elsewhere.DRY_RUN)


def test_webhook_configurations(stage: Stage) -> None:
    reply = stage.strike("DELETE", path("validatingwebhookconfigurations"), fieldSelector="metadata.name=countersign", dryRun="All")
    stage.judge(reply)


def test_webhook_configurations_as_the_admin(stage: Stage) -> None:
    """Nobody but the operator, not even system:masters."""
    reply = stage.strike(
        "DELETE", path("validatingwebhookconfigurations"), by=stage.admin, fieldSelector="metadata.name=countersign", dryRun="All"
    )
    stage.judge(reply)


def test_our_definitions(stage: Stage) -> None:
    name = "metadata.name=approvals.kube-countersign.dev"
    stage.judge(stage.strike("DELETE", path("customresourcedefinitions"), fieldSelector=name, by=stage.admin, dryRun="All"))
