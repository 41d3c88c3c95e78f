"""A guard that holds everybody back holds the garbage collector back too, which tries again without end: the mirror of an attack.

Source: chaos-mesh/chaos-mesh#5079; akuity/kargo#727. The control is such a naive guard.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._sentinel import settle
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=30,
    title="Jam the cluster: built-in controllers are never held back",
    elsewhere=Elsewhere.NOT,
    because="sets up an environment that protects from everyone",
)


def test_the_garbage_collector_goes_on(stage: Stage) -> None:
    """A human may delete a ConfigMap; the claim that it owns goes with it, by the hand of the garbage collector."""
    with stage.story.environment("everyone", protect_from="Everyone", required=1) as environment:
        namespace = stage.story.in_environment(environment)
        owner, claim = _owned_claim(stage, namespace)
        if stage.control:
            _hold_everybody_back(stage, namespace)
        stage.admin.delete(owner)
        if stage.control:
            assert not stage.comes_true(stage.is_gone(claim), within=3)
        else:
            assert stage.comes_true(stage.is_gone(claim), within=20), "the garbage collector was held back"
        stage.done(lambda: not stage.is_gone(claim)(), "the garbage collector is stuck", evidence="the garbage collector deleted the claim")


def _owned_claim(stage: Stage, namespace: str) -> tuple[str, str]:
    owner = stage.admin.create(path("configmaps", namespace=namespace), {"metadata": {"name": "owner"}})
    claim = stage.claim(namespace)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    stage.admin.patch(claim, {"metadata": {"ownerReferences": [reference]}})
    return path("configmaps", "owner", namespace=namespace), claim


def _hold_everybody_back(stage: Stage, namespace: str) -> None:
    name = stage.name("naive")
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["persistentvolumeclaims"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "here", "expression": f'request.namespace == "{namespace}"'}],
        "validations": [{"expression": "false"}],
    }
    stage.make(path("validatingadmissionpolicies"), {"metadata": {"name": name}, "spec": spec})
    stage.make(
        path("validatingadmissionpolicybindings"),
        {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}},
    )
    settle(stage.admin, stage.name("jam"))
