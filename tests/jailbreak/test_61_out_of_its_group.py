"""An agent that is known by a group impersonates itself without that group: its name is the same, and no AgentIdentity matches any more.
Under Widen its own name is among those that an agent could take on, and is held back.

Source: k8s.io/apiserver pkg/endpoints/filters/impersonation/mode.go: groups that are named replace an account's own.
"""

from tests.controlplane.api import path
from tests.e2e.story import Reply, manifest
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._stage import Stage
from tests.jailbreak._widening import wide

ATTACK = Attack(
    number=61,
    title="Shed the group that one is known by (--as oneself), under Widen",
    elsewhere=Elsewhere.NOT,
    because="sets up an environment that widens, for which people sign",
)


def test_as_itself_in_another_group(stage: Stage) -> None:
    home, name = stage.namespace("home"), stage.name("member")
    stage.make(path("serviceaccounts", namespace=home), {"metadata": {"name": name}})
    subject = {"kind": "Group", "name": f"system:serviceaccounts:{home}"}
    stage.make(path("agentidentities"), manifest("AgentIdentity", name, {"subjects": [subject], "sponsors": ["alice"]}))
    # A token of its own is not needed: the admin stands for it, and names the groups that it would be left with.
    itself = {"Impersonate-User": f"system:serviceaccount:{home}:{name}", "Impersonate-Group": "system:masters"}

    def blow(url: str, **params: str) -> Reply:
        return stage.strike("DELETE", url, by=stage.admin, headers=itself, **params)

    if stage.control:
        url = path("namespaces", stage.namespace())
        stage.judge(blow(url), harm=stage.is_gone(url))
        return
    with wide(stage, lambda url: blow(url, dryRun="All")) as url:
        stage.judge(blow(url), harm=stage.is_gone(url))
