"""Deleting a CustomResourceDefinition removes all its objects with no admission call for any of them, so an agent wipes them by deleting the definition.

Source: k8s.io/apiextensions-apiserver pkg/controller/finalizer/crd_finalizer.go; OpenKruise's deletion protection of CRDs.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import WEBHOOK, Attack, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=8, title="Delete a CRD: its instances go with no admission call", guards=away(WEBHOOK))


def test_crd_deletion(stage: Stage) -> None:
    definition, instance = stage.custom_kind()
    reply = stage.strike("DELETE", definition)
    stage.judge(reply, harm=lambda: not stage.admin.exists(instance))


def test_crd_deletecollection(stage: Stage) -> None:
    definition, instance = stage.custom_kind()
    name = definition.rpartition("/")[2]
    reply = stage.strike("DELETE", path("customresourcedefinitions"), fieldSelector=f"metadata.name={name}")
    stage.judge(reply, harm=lambda: not stage.admin.exists(instance))
