"""Whoever runs the agent approves the change alone: as its sponsor, or by a second login of the same person.

Source: Gardener's four-eyes deletion; hashicorp/vault#19214 (control groups satisfied by one person's second entity).
"""

from tests.controlplane.api import path
from tests.controlplane.people import REVIEWER_ROLE
from tests.e2e.people import register, reviewer
from tests.e2e.story import Person
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._stage import Stage

# The control takes away what makes the signer a sponsor: the same signature, for an agent that somebody else runs.
ATTACK = Attack(
    number=10, title="Approve oneself, by a second account", elsewhere=Elsewhere.NOT, because="needs the keys and logins of a reviewer"
)
STRANGER = "somebody-else@example.com"


def _approves(stage: Stage, sponsor: str, signer: Person) -> None:
    agent = stage.agent_of(STRANGER if stage.control else sponsor)
    url = path("namespaces", stage.namespace())
    request = stage.strike("DELETE", url, by=agent).request
    stage.judge(stage.story.approve(request, signer))
    stage.judge(stage.strike("DELETE", url, by=agent), harm=stage.is_gone(url))


def test_the_sponsor_signs(stage: Stage) -> None:
    _approves(stage, "alice", Person("alice", "alice", {"main": stage.cluster.paths.ssh / "alice"}))


def test_the_sponsor_signs_with_a_second_login(stage: Stage) -> None:
    first, second = (stage.cluster.new_human(f"{stage.name('pat')}@example.com", role=REVIEWER_ROLE) for _ in range(2))
    pat = Person(first, second, {"main": stage.cluster.new_key(first)})
    register(stage.story, reviewer(first, [f"{first}@example.com", f"{second}@example.com"], pat.keys))
    stage.clean(path("reviewers", first))
    _approves(stage, f"{first}@example.com", pat)
