"""What the hardened profile's policies say to an agent, and that they say nothing to anybody else; by the simulation of tests/support/admission.py.

tests/jailbreak and tests/e2e/test_ordinary_work.py hold the same policies against a real API server.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from countersign.domain.request import GroupResource
from countersign.domain.resources import Meta, Mode, ProtectedEnvironment, ProtectFrom, Selector
from countersign.wire.guards import Guard, guards
from countersign.wire.guards.objects import quarter
from tests.support.admission import Ask, reached
from tests.wire._hardened import (
    ALICE,
    ALL,
    DEFAULT,
    IDENTITIES,
    KIRO,
    NOW,
    OTHERS,
    SITE,
    STANDARD,
    ask,
    deployment,
    is_refused,
    passes,
    thing,
)


def test_nothing_of_it_is_there_unless_chosen() -> None:
    assert not [guard.name for guard in STANDARD if "hardened" in guard.name]
    assert [guard.name for guard in ALL if "hardened" in guard.name]


def test_without_agents_or_an_environment_that_enforces_nothing_is_emptied_by_anybody() -> None:
    assert not [guard.name for guard in guards(SITE, (), (DEFAULT,)) if "hardened" in guard.name]
    audited = guards(SITE, IDENTITIES, (replace(DEFAULT, mode=Mode.AUDIT),))
    assert not [guard.name for guard in audited if "emptying" in guard.name]


class TestEmptying:
    @pytest.mark.parametrize(
        ("group", "resource"),
        [("", "pods"), ("", "configmaps"), ("apps", "deployments"), ("batch", "jobs"), ("example.com", "things"), ("", "secrets")],
    )
    def test_whole_collections(self, group: str, resource: str) -> None:
        is_refused(ask("DELETE", resource, old=thing(), group=group, name=""), "deletecollection", "by its name")
        passes(ask("DELETE", resource, old=thing(), group=group))

    @pytest.mark.parametrize(("group", "resource"), [("", "persistentvolumeclaims"), ("apps", "statefulsets")])
    def test_collections_that_are_signed_for_one_by_one(self, group: str, resource: str) -> None:
        passes(ask("DELETE", resource, old=thing(spec={}), group=group, name=""))

    def test_a_listed_kind_is_signed_for_too(self) -> None:
        built = guards(SITE, IDENTITIES, (replace(DEFAULT, resources=(GroupResource("example.com", "things"),)),))
        passes(ask("DELETE", "things", old=thing(), group="example.com", name=""), built=built)
        is_refused(ask("DELETE", "others", old=thing(), group="example.com", name=""), built=built)

    @pytest.mark.parametrize(
        ("group", "resource"), [("apps", "deployments"), ("apps", "replicasets"), ("", "replicationcontrollers"), ("x.io", "rollouts")]
    )
    def test_to_zero_in_the_object(self, group: str, resource: str) -> None:
        is_refused(ask("UPDATE", resource, deployment(0), deployment(3), group=group), "scale nothing to zero")
        for before, after in ((3, 1), (1, 5), (0, 0), (0, 2)):
            passes(ask("UPDATE", resource, deployment(after), deployment(before), group=group))

    def test_to_zero_by_the_subresource_where_zero_is_left_out(self) -> None:
        for gone in ({}, {"replicas": 0}):
            is_refused(ask("UPDATE", "statefulsets/scale", thing(spec=gone), thing(spec={"replicas": 2}), group="apps"), "scale nothing")
        passes(ask("UPDATE", "statefulsets/scale", thing(spec={"replicas": 1}), thing(spec={"replicas": 2}), group="apps"))
        passes(ask("UPDATE", "statefulsets/scale", thing(spec={}), thing(spec={}), group="apps"))

    @pytest.mark.parametrize("tree", [thing(), thing(spec={"replicas": "three"}), {**thing(), "spec": "text"}, {**thing(), "spec": None}])
    def test_kinds_that_mean_something_else_by_it_pass(self, tree: dict[str, Any]) -> None:
        passes(ask("UPDATE", "things", tree, tree, group="example.com"))

    def test_an_autoscaler_down_to_nothing(self) -> None:
        is_refused(ask("CREATE", "horizontalpodautoscalers", thing(spec={"minReplicas": 0}), group="autoscaling"), "zero")
        passes(ask("CREATE", "horizontalpodautoscalers", thing(spec={"minReplicas": 1}), group="autoscaling"))
        passes(ask("CREATE", "horizontalpodautoscalers", thing(spec={}), group="autoscaling"))

    def test_a_stateful_set_that_takes_its_claims_along(self) -> None:
        def made(**policy: str) -> dict[str, Any]:
            body = deployment(1)
            return {**body, "spec": {**body["spec"], "persistentVolumeClaimRetentionPolicy": policy}}

        for when in ("whenDeleted", "whenScaled"):
            is_refused(ask("CREATE", "statefulsets", made(**{when: "Delete"}), group="apps"), "Retain")
            passes(ask("UPDATE", "statefulsets", made(**{when: "Delete"}), made(**{when: "Delete"}), group="apps"))
            fresh = ask("CREATE", "statefulsets", made(**{when: "Delete"}), group="apps", creator=KIRO, born="2026-11-22T11:00:00Z")
            is_refused(fresh, "Retain")  # claims are nobody's own work
        passes(ask("CREATE", "statefulsets", made(whenDeleted="Retain"), group="apps"))

    def test_where_no_environment_holds_it_passes(self) -> None:
        passes(ask("UPDATE", "deployments", deployment(0), deployment(3), group="apps", place="kube-system"))

    def test_own_work_may_be_emptied_while_it_is_fresh(self) -> None:
        zero = ask("UPDATE", "deployments", deployment(0), deployment(3), group="apps", creator=KIRO, born="2026-11-21T12:00:00Z")
        passes(zero)
        is_refused(replace(zero, born="2026-11-21T11:59:59Z"), "zero")
        is_refused(replace(zero, creator=ALICE), "zero")
        older = guards(replace(SITE, mutating=False), IDENTITIES, (DEFAULT,))
        is_refused(zero, "zero", built=older)
        never = guards(SITE, IDENTITIES, (replace(DEFAULT, own_work=None),))
        is_refused(zero, "zero", built=never)

    def test_own_work_in_one_environment_is_held_by_another(self) -> None:
        strict = ProtectedEnvironment(Meta("strict"), ProtectFrom.AGENTS)
        zero = ask("UPDATE", "deployments", deployment(0), deployment(3), group="apps", creator=KIRO, born="2026-11-22T11:00:00Z")
        is_refused(zero, "zero", built=guards(SITE, IDENTITIES, (DEFAULT, strict)))

    def test_very_many_environments_make_it_wider_never_narrower(self) -> None:
        many = [
            ProtectedEnvironment(Meta(f"e{number}"), ProtectFrom.AGENTS, Selector({"team": f"t{number}"}), own_work=timedelta(hours=hours))
            for number, hours in enumerate([2, *[24] * 200])
        ]
        built = guards(SITE, IDENTITIES, many)
        policy = next(guard for guard in built if guard.name == "countersign-hardened-emptying")
        assert max(len(each["expression"]) for each in policy.body["spec"]["variables"]) < 16_000
        zero = ask("UPDATE", "deployments", deployment(0), deployment(3), group="apps", creator=KIRO, born="2026-11-22T10:00:00Z")
        passes(zero, built=built)
        is_refused(replace(zero, born="2026-11-22T09:59:59Z"), "zero", built=built)
        never = guards(SITE, IDENTITIES, [*many, replace(DEFAULT, own_work=None)])
        is_refused(zero, "zero", built=never)

    def test_the_time_is_written_anew_each_quarter_of_an_hour(self) -> None:
        assert quarter(NOW.replace(minute=29, second=59, microsecond=3)) == NOW.replace(minute=15)
        assert quarter(NOW) == NOW

    def test_a_stateful_sets_deletion_reaches_the_webhook_for_agents_alone(self) -> None:
        def entries(built: tuple[Guard, ...], user: str) -> list[str]:
            configuration = next(guard for guard in built if guard.kind == "ValidatingWebhookConfiguration")
            return reached(configuration, ask("DELETE", "statefulsets", old=thing(spec={}), group="apps", user=user))

        people = replace(DEFAULT, protect_from=ProtectFrom.EVERYONE)
        assert entries(ALL, KIRO) == ["agents-0"]
        assert entries(STANDARD, KIRO) == []
        assert all(entries(guards(SITE, IDENTITIES, (people,)), user) == [] for user in OTHERS)


class TestStorage:
    @staticmethod
    def volume(policy: str | None = None, **spec: Any) -> dict[str, Any]:
        return thing(spec=({"persistentVolumeReclaimPolicy": policy} if policy else {}) | spec)

    def write(self, new: Any, old: Any = None) -> Ask:
        return ask("UPDATE" if old else "CREATE", "persistentvolumes", new, old, place="")

    @pytest.mark.parametrize("policy", ["Delete", "Recycle"])
    def test_the_reclaim_policy(self, policy: str) -> None:
        is_refused(self.write(self.volume(policy), self.volume("Retain")), "Retain")
        is_refused(self.write(self.volume(policy)), "Retain")
        is_refused(self.write(self.volume("Recycle"), self.volume("Delete")), "Retain")
        passes(self.write(self.volume(policy), self.volume(policy)))
        passes(self.write(self.volume("Retain"), self.volume(policy)))
        passes(self.write(self.volume()))

    def test_a_volume_that_would_be_reclaimed_is_given_no_claim(self) -> None:
        claimed = {"claimRef": {"namespace": "shop", "name": "absent", "uid": "1"}}
        is_refused(self.write(self.volume("Delete", **claimed), self.volume("Delete")), "claimRef")
        passes(self.write(self.volume("Retain", **claimed), self.volume("Retain")))
        passes(self.write(self.volume("Retain", **claimed)))
        passes(self.write(self.volume("Delete", **claimed), self.volume("Delete", **claimed)))

    def test_a_folder_of_a_node(self) -> None:
        for source in ("hostPath", "local"):
            is_refused(self.write(thing(spec={source: {"path": "/"}})), "folders of a node")

    def test_snapshots(self) -> None:
        def content(policy: str) -> dict[str, Any]:
            return thing(spec={"deletionPolicy": policy})

        about = {"group": "snapshot.storage.k8s.io", "place": ""}
        is_refused(ask("UPDATE", "volumesnapshotcontents", content("Delete"), content("Retain"), **about), "deletionPolicy")
        passes(ask("UPDATE", "volumesnapshotcontents", content("Retain"), content("Delete"), **about))

    def test_definitions(self) -> None:
        def definition(served: bool, stored: tuple[str, ...] = ("v1",), **metadata: Any) -> dict[str, Any]:
            body = thing(spec={"versions": [{"name": "v1", "served": served}]}, status={"storedVersions": list(stored)})
            return {**body, "metadata": {**body["metadata"], **metadata}}

        about = {"group": "apiextensions.k8s.io", "place": ""}
        is_refused(ask("UPDATE", "customresourcedefinitions", definition(False), definition(True), **about), "CustomResourceDefinition")
        is_refused(ask("UPDATE", "customresourcedefinitions/status", definition(True, ("v2",)), definition(True), **about), "spec")
        passes(ask("UPDATE", "customresourcedefinitions", definition(True, labels={"a": "b"}), definition(True), **about))
        passes(ask("CREATE", "customresourcedefinitions", definition(True), **about))
