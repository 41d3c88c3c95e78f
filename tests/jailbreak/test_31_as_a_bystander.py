"""Admission sees only the impersonated user, so an agent that may impersonate deletes as a bystander whom nothing holds back: a human, root's
group, one of the cluster's own controllers.

Source: tried for this project; k8s.io/apiserver pkg/endpoints/filters/impersonation.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Profile
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=31, title="Impersonate a bystander (--as)", profile=Profile.AUTHORIZER)


def test_a_human(stage: Stage) -> None:
    _delete_as(stage, "bystander@example.com", "system:masters")


def test_a_built_in_controller(stage: Stage) -> None:
    """Which never reaches the webhook (invariant 9)."""
    _delete_as(stage, "system:serviceaccount:kube-system:namespace-controller")


def test_itself_in_another_group(stage: Stage) -> None:
    _delete_as(stage, "somebody-new", "system:masters")


def test_kubectl(stage: Stage) -> None:
    victim = stage.namespace()
    ran = stage.kubectl(
        stage.agent, "--as=bystander@example.com", "--as-group=system:masters", "delete", "namespace", victim, "--wait=false"
    )
    gone = stage.is_gone(path("namespaces", victim))
    stage.done(gone, "kubectl --as deleted a namespace", evidence=ran.stderr.strip().splitlines()[-1] if ran.stderr else "")


def _delete_as(stage: Stage, user: str, *groups: str) -> None:
    url = path("namespaces", stage.namespace())
    headers = {"Impersonate-User": user, **({"Impersonate-Group": groups[0]} if groups else {})}
    stage.judge(stage.strike("DELETE", url, headers=headers), harm=stage.is_gone(url))
