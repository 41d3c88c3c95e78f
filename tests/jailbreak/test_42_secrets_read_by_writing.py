"""The API server answers a patch that changes nothing, and a deletion of many as a dry run, with the objects: so who may write Secrets of
kube-system reads them without `get` or `list`: bootstrap tokens, the cluster's keys (kubeadm-certs). Admission sees no read, and no harm.

Source: found for this project; k8s.io/apiserver pkg/registry/generic/registry/store.go (DeleteCollection returns the list), handlers/patch.go.
"""

import base64

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere, Profile
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=42,
    title="Secrets of kube-system, read by writing",
    profile=Profile.AUTHORIZER,
    elsewhere=Elsewhere.NOT,
    because="puts a Secret into kube-system",
)
SYSTEM = path("secrets", namespace="kube-system")
LOOT = base64.b64encode(b"a-token-that-joins-nodes").decode()


def _secret(stage: Stage) -> str:
    return stage.make(SYSTEM, {"metadata": {"name": stage.name("bootstrap")}, "data": {"token": LOOT}})


def test_by_a_patch_that_changes_nothing(stage: Stage) -> None:
    url = _secret(stage)
    reply = stage.strike("PATCH", url, {}, content_type="application/merge-patch+json", dryRun="All")
    stage.judge(reply, harm=lambda: LOOT in str(reply.answer.body))


def test_by_a_deletion_of_many_that_deletes_nothing(stage: Stage) -> None:
    _secret(stage)
    reply = stage.strike("DELETE", SYSTEM, dryRun="All")
    stage.judge(reply, harm=lambda: LOOT in str(reply.answer.body))


def test_plainly(stage: Stage) -> None:
    url = _secret(stage)
    for where in (url, SYSTEM, "/api/v1/secrets"):
        reply = stage.strike("GET", where)
        stage.judge(reply, harm=lambda reply=reply: LOOT in str(reply.answer.body))  # type: ignore[misc]  # bound now, not in the end
