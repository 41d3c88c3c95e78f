"""A second AgentIdentity for the same account names another sponsor, so that the first sponsor counts as somebody else and signs for the agent.

Source: follows from sponsors by identity.
"""

from tests.controlplane.api import Answer, path
from tests.e2e import _faults
from tests.e2e.story import Reply, manifest
from tests.jailbreak._attack import Attack, Elsewhere, away, entry
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=37,
    title="A second identity frees the sponsor of the first",
    guards=away(entry("approvals")),
    elsewhere=Elsewhere.NOT,
    because="needs people who sign",
)


def test_the_sponsor_of_either_signs(stage: Stage) -> None:
    """Both are excluded; alice is the first one's, bob the second's."""
    namespace = path("namespaces", stage.namespace())
    second = stage.name("second")
    subject = {"kind": "ServiceAccount", "namespace": stage.agent.namespace, "name": stage.agent.name}
    stage.make(path("agentidentities"), manifest("AgentIdentity", second, {"subjects": [subject], "sponsors": ["bob"]}))
    asked = Reply(Answer(0, {}, []))

    def both() -> bool:
        nonlocal asked
        asked = stage.strike("DELETE", namespace)
        return asked.outcome == "Pending" and len(stage.story.request(asked.request)["spec"]["requester"]["sponsors"]) > 1

    # A round that was opened before the webhook knew of the second identity is none the worse: sponsors are those of now.
    stage.comes_true(both, within=3)
    for who in ("alice", "bob"):
        reply = Reply(_faults.sign_off(stage.cluster, asked.request, who))
        stage.judge(reply)
        assert stage.control or reply.fault == "IsASponsor", str(reply)
    assert not stage.strike("DELETE", namespace).ok, "signed by its sponsors, and let through"
