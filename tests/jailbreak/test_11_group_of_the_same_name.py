"""An environment excepts a group of trusted people, and the agent's login carries a group of the same name from elsewhere.

Source: openbao/openbao#3815 (a group of the same name from another identity source satisfies a control group).
"""

from tests.controlplane.api import path
from tests.e2e.story import label_of, manifest
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._stage import Stage

# The control takes away what tells the two apart: the same login, and no AgentIdentity that says whose it is.
ATTACK = Attack(
    number=11, title="A group of the same name from elsewhere", elsewhere=Elsewhere.NOT, because="needs client certificates of the cluster"
)


def test_an_agent_in_an_excepted_group(stage: Stage) -> None:
    group, name = stage.name("release-managers"), stage.name("robot")
    robot = stage.cluster.new_human(f"{name}@example.com", groups=[group], role="cluster-admin")
    if not stage.control:
        subject = {"kind": "User", "name": f"{name}@example.com"}
        stage.make(path("agentidentities"), stage.cluster.identity(name, [subject]))
    url = path("namespaces", stage.namespace(labels={label_of(name): "yes"}))
    _protect_from_people(stage, name, group, url)
    api = stage.cluster.api_as(robot)
    stage.comes_true(lambda: not api.request("DELETE", url, params={"dryRun": "All"}).ok, within=1 if stage.control else 15)
    stage.judge(stage.strike("DELETE", url, by=api), harm=stage.is_gone(url))


def _protect_from_people(stage: Stage, name: str, group: str, url: str) -> None:
    """An environment over this namespace, with an exception for the group; in force on return, and the first thing to go afterwards."""
    exception = {"kind": "Group", "name": group}
    spec = {"namespaces": {"selector": {"matchLabels": {label_of(name): "yes"}}}, "protectFrom": "People", "except": [exception]}
    stage.admin.create(path("protectedenvironments"), manifest("ProtectedEnvironment", name, spec))
    stage.afterwards(stage.story.remove, path("protectedenvironments", name))
    held = stage.comes_true(lambda: not stage.cluster.api_as("alice").request("DELETE", url, params={"dryRun": "All"}).ok)
    assert held, "the environment holds people back"
