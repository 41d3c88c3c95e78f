"""An agent works under its human's own username, told apart by a group only; what people signed for the human the agent uses for itself.

Source: found for this project; follows from `groups` and `extra` in an AgentIdentity's subjects.
"""

from tests.controlplane.api import path
from tests.e2e.story import manifest
from tests.jailbreak._attack import WEBHOOK, Attack, Elsewhere, away
from tests.jailbreak._sentinel import settle
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=64,
    title="An agent uses what was signed for the human of its name",
    guards=away(WEBHOOK),
    elsewhere=Elsewhere.NOT,
    because="needs signatures, and requests in another's name",
)


def test_the_human_asks_and_the_agent_does(stage: Stage) -> None:
    username, group = f"{stage.name('twin')}@example.com", stage.name("ai")
    human = {"Impersonate-User": username}  # by the admin, in place of a certificate
    agent = {**human, "Impersonate-Group": group}
    subject = {"kind": "User", "name": username, "groups": [group]}
    stage.make(path("agentidentities"), manifest("AgentIdentity", stage.name("twin"), {"subjects": [subject], "sponsors": ["alice"]}))
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    bound = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": username}
    stage.make(path("clusterrolebindings"), {"metadata": {"name": stage.name("twin")}, "roleRef": role, "subjects": [bound]})
    if stage.control:
        url = path("namespaces", stage.namespace())
        stage.judge(stage.strike("DELETE", url, by=stage.admin, headers=agent), harm=stage.is_gone(url))
        return
    with stage.story.environment("people", protect_from="People", required=1) as environment:
        settle(stage.admin, stage.name("known"))
        url = path("namespaces", stage.story.in_environment(environment))
        asked = stage.strike("DELETE", url, by=stage.admin, headers=human)
        assert asked.outcome == "Pending", str(asked)
        stage.sign(asked.request, people=2)  # one more, since the human is nobody registered
        reply = stage.strike("DELETE", url, by=stage.admin, headers=agent)
        stage.judge(reply, harm=stage.is_gone(url))
        assert reply.request not in ("", asked.request), f"the agent's is a request of its own: {reply}"
        done = stage.strike("DELETE", url, by=stage.admin, headers=human)
        assert done.ok, f"the human's own is to pass: {done}"
