"""Whoever may write an AgentIdentity makes agents of the cluster itself, of everybody, or of the one who writes: nothing could be approved or taken back any more.

Source: follows; chaos-mesh/chaos-mesh#5079 and akuity/kargo#727 (webhooks that jam a cluster).
"""

from tests.controlplane.api import path
from tests.e2e.story import manifest
from tests.jailbreak._attack import Attack, Elsewhere, away, entry
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=38,
    title="Lock everybody out by an identity",
    guards=away(entry("own")),
    elsewhere=Elsewhere.DRY_RUN,
)
_CREDENTIAL = "authentication.kubernetes.io/credential-id"


def _registers(stage: Stage, subject: dict[str, object]) -> None:
    """As a human who may: always as a dry run."""
    body = manifest("AgentIdentity", stage.name("everybody"), {"subjects": [subject], "sponsors": ["alice"]})
    stage.judge(stage.strike("POST", path("agentidentities"), body, by=stage.admin, dryRun="All"))


def test_everybody(stage: Stage) -> None:
    _registers(stage, {"kind": "Group", "name": "system:authenticated"})


def test_any_user(stage: Stage) -> None:
    _registers(stage, {"kind": "User", "name": "*"})


def test_any_user_with_what_every_credential_has(stage: Stage) -> None:
    _registers(stage, {"kind": "User", "name": "*", "extra": {_CREDENTIAL: ["*"]}})


def test_the_nodes(stage: Stage) -> None:
    _registers(stage, {"kind": "User", "name": "system:node:*"})


def test_the_clusters_own_controllers(stage: Stage) -> None:
    _registers(stage, {"kind": "ServiceAccount", "namespace": "kube-system", "name": "*"})


def test_whoever_writes_it(stage: Stage) -> None:
    """The admin of the suites is of the group `system:authenticated` too, which is told apart from nobody: by the name, then."""
    review = stage.admin.request(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
    )
    _registers(stage, {"kind": "User", "name": review.body["status"]["userInfo"]["username"]})
