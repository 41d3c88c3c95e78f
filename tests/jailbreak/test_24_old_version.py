"""A kind is guarded in one version of its API, and the agent deletes the same object through another.

Source: SIG Security's admission threat model, T14; Kubernetes: matchPolicy Equivalent, and rules for all versions.
"""

from tests.controlplane.api import path
from tests.e2e.story import Reply, label_of, manifest
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._stage import Stage

# The control is the same kind where no environment lists it.
ATTACK = Attack(
    number=24,
    title="Old or other API version of the same resource",
    elsewhere=Elsewhere.NOT,
    because="sets up an environment that lists a kind",
)


def test_the_old_version(stage: Stage) -> None:
    definition, instance = stage.custom_kind(versions=("v1", "v1beta1"))
    group, plural = instance.split("/")[2], instance.split("/")[4]
    if not stage.control:
        _list(stage, group, plural)
        assert stage.comes_true(lambda: _outcome(stage, instance) == "DryRun"), "the environment holds the kind"
    old = instance.replace("/v1/", "/v1beta1/")
    stage.judge(stage.strike("DELETE", old), harm=lambda: not stage.admin.exists(instance))
    assert definition


def _outcome(stage: Stage, url: str) -> str:
    return Reply(stage.agent.api.request("DELETE", url, params={"dryRun": "All"})).outcome


def _list(stage: Stage, group: str, plural: str) -> None:
    """An environment that lists the kind, and the right to read it, without which Countersign could only refuse."""
    name = stage.name("listed")
    role = {"metadata": {"name": name, "labels": {"kube-countersign.dev/aggregate-to-webhook": "true"}}}
    stage.make(path("clusterroles"), role | {"rules": [{"apiGroups": [group], "resources": [plural], "verbs": ["get"]}]})
    spec = {
        "namespaces": {"selector": {"matchLabels": {label_of(name): "yes"}}},
        "protectFrom": "Agents",
        "resources": [{"group": group, "resource": plural}],
    }
    stage.make(path("protectedenvironments"), manifest("ProtectedEnvironment", name, spec))
