"""Dry runs, and forged reviews from inside the cluster, are sent for a change that has been signed for, so that the approval is used up before its owner can use it.

Source: KEP-6060; follows from admission being asked for dry runs too, and by whoever reaches the port.
"""

from tests.controlplane.api import path
from tests.jailbreak import _reviews
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._stage import Stage

# There is no guard to take away: nothing counts uses. The control is the one thing that does end an approval, a rejection.
ATTACK = Attack(
    number=20,
    title="Burn an approval by dry runs and forged reviews",
    elsewhere=Elsewhere.NOT,
    because="needs a reviewer's signature",
    local_only="needs a second webhook process",
)


def test_burnt(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    request = stage.approved(url)
    target = stage.admin.get(url)
    _, carol = stage.story.harness_reviewers()
    if stage.control:
        assert stage.story.reject(request, carol, "no").ok
    with stage.cluster.extra_webhook() as webhook:
        for name in (stage.agent.username, "system:serviceaccount:default:default", "bob@example.com") * 5:
            webhook.review(_reviews.deletion(target, name))
    for _ in range(5):
        stage.agent.api.request("DELETE", url, params={"dryRun": "All"})
    assert stage.admin.exists(url)
    reply = stage.agent.api.request("DELETE", url)
    stage.done(lambda: not reply.ok, "what was signed for is refused", evidence=f"after 20 attempts it still passed: {reply.status}")
