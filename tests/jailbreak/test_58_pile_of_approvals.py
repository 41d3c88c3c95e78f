"""A reviewer's login creates one Approval after the other for the same request: each look at it has to list, parse and verify them all, until none is done in time.

Source: follows from the live look, which reads every approval of a request (docs/rules.md).
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere, away, entry
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=58,
    title="Pile up approvals of one request",
    guards=away(entry("approvals")),
    elsewhere=Elsewhere.NOT,
    because="needs a reviewer's signature",
)


def test_the_same_signature_again(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    request = stage.strike("DELETE", url).request
    bob, _ = stage.story.harness_reviewers()
    signature = stage.story.signature(bob.key(), stage.story.request(request)["spec"]["statement"])
    assert stage.story.bring(request, bob, signature).ok
    again = [stage.story.bring(request, bob, signature, name=f"{request}-{number}") for number in range(5)]
    stage.judge(again[-1], harm=lambda: len(stage.story.approvals(request)) > 1)
