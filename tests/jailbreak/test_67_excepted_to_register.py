"""A human whom an environment holds back changes `default`, which does not hold people: excepts himself there, registers a ghost, and signs as the ghost.

Source: found for this project; follows from `default.spec.except`, whose accounts register people without a signature.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere, away, entry
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=67,
    title="Except oneself in default, then register a ghost",
    guards=away(entry("own")),
    elsewhere=Elsewhere.NOT,
    because="changes `default`, while another environment protects from people",
)


def test_the_exception(stage: Stage) -> None:
    """As a dry run in both: with it the way to a second self stands open."""
    change = {"spec": {"except": [{"kind": "User", "name": "alice@example.com"}]}}
    url, alice = path("protectedenvironments", "default"), stage.cluster.api_as("alice")
    if stage.control:
        stage.judge(stage.strike("PATCH", url, change, by=alice, content_type="application/merge-patch+json", dryRun="All"))
        return
    with stage.story.environment("people", protect_from="People", required=2):
        stage.judge(stage.strike("PATCH", url, change, by=alice, content_type="application/merge-patch+json", dryRun="All"))
