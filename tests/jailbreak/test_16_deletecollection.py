"""One raw DELETE of a collection deletes everything in it; admission is asked about each object, with an empty name.

Source: gardener/gardener#537; k8s.io/apiserver pkg/registry/generic/registry/store.go (DeleteCollection).
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import AGENTS, WEBHOOK, Attack, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=16, title="deletecollection: no name, one call for each object", guards=away(WEBHOOK, AGENTS))


def test_claims(stage: Stage) -> None:
    namespace = stage.namespace()
    claims = [stage.claim(namespace, f"ledger-{number}") for number in range(3)]
    reply = stage.strike("DELETE", path("persistentvolumeclaims", namespace=namespace))
    stage.judge(reply, harm=lambda: any(stage.is_gone(claim)() for claim in claims))


def test_volumes(stage: Stage) -> None:
    volume = stage.volume()
    name = volume.rpartition("/")[2]
    reply = stage.strike("DELETE", path("persistentvolumes"), fieldSelector=f"metadata.name={name}")
    stage.judge(reply, harm=stage.is_gone(volume))


def test_the_agents_own_identity(stage: Stage) -> None:
    identity = stage.agent.namespace
    reply = stage.strike("DELETE", path("agentidentities"), fieldSelector=f"metadata.name={identity}", dryRun="All")
    stage.judge(reply)


def test_namespaces_have_none(stage: Stage) -> None:
    """The API server serves no deletecollection of namespaces: control and attack end the same."""
    reply = stage.agent.api.request("DELETE", path("namespaces"), params={"dryRun": "All"})
    assert reply.status == 405, reply
    stage.done(lambda: stage.control, "namespaces have no deletecollection (405)", evidence="405 Method Not Allowed")
