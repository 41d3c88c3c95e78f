"""The policies that refuse in the API server's own process: laundering, records, what agents never do, and the guards themselves."""

from collections.abc import Mapping
from typing import Any

import pytest

from countersign.domain.names import ANNOTATION_CREATED_BY, ANNOTATION_REASON, GROUP, LABEL_AGENT, LABEL_PROTECTED
from countersign.wire.guards import Site, guards
from tests.support.admission import Ask, as_served, refusals
from tests.wire._cluster import (
    ADMIN,
    ALICE,
    ALL,
    COLLECTOR,
    CRDS,
    DEFAULT,
    IDENTITIES,
    KIRO,
    NAMESPACE_CONTROLLER,
    OPERATOR,
    POLICIES,
    RBAC,
    ROGUE,
    SITE,
    WEBHOOK,
    namespace,
    thing,
)

OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"}
TENANT = {"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "name": "t", "uid": "2"}


class TestLaundering:
    @pytest.mark.parametrize("user", [ALICE, KIRO, OPERATOR, COLLECTOR, ADMIN])
    @pytest.mark.parametrize("sub", ["", "/status", "/finalize"])
    def test_nobody_gives_a_namespace_an_owner(self, user: str, sub: str) -> None:
        ask = Ask(user, "UPDATE", f"namespaces{sub}", object=namespace(ownerReferences=[OWNER]), old=namespace())
        assert [message for message in refusals(ALL, ask) if "no ownerReferences" in message]

    def test_nor_at_creation(self) -> None:
        assert refusals(ALL, Ask(ALICE, "CREATE", "namespaces", object=namespace(ownerReferences=[OWNER])))

    @pytest.mark.parametrize("change", [{"name": "absent"}, {"uid": "9"}, {"kind": "Other"}, {"apiVersion": "v2"}])
    def test_nor_another_in_its_place(self, change: Mapping[str, str]) -> None:
        ask = Ask(
            ALICE, "UPDATE", "namespaces", object=namespace(ownerReferences=[{**OWNER, **change}]), old=namespace(ownerReferences=[OWNER])
        )
        assert refusals(ALL, ask)

    def test_what_is_there_may_stay_and_go(self) -> None:
        old = namespace(ownerReferences=[OWNER])
        for new in (old, namespace(), namespace(ownerReferences=[{**OWNER, "blockOwnerDeletion": False}])):
            assert refusals(ALL, Ask(COLLECTOR, "UPDATE", "namespaces", object=new, old=old)) == []

    def test_owners_that_the_team_has_listed(self) -> None:
        new = namespace(ownerReferences=[TENANT])
        assert refusals(ALL, Ask("system:serviceaccount:capsule:capsule", "CREATE", "namespaces", object=new)) == []
        assert refusals(ALL, Ask(KIRO, "CREATE", "namespaces", object=new))
        unlisted = guards(Site("u", "countersign", "", b"", mutating=True), IDENTITIES, ())
        assert refusals(unlisted, Ask(ALICE, "CREATE", "namespaces", object=new))

    @pytest.mark.parametrize("kind", ["agentidentities", "reviewers", "protectedenvironments", "changerequests", "approvals"])
    def test_nor_our_own_kinds(self, kind: str) -> None:
        ask = Ask(ALICE, "UPDATE", kind, object=thing(ownerReferences=[OWNER]), old=thing(), group=GROUP)
        assert [message for message in refusals(ALL, ask) if "no ownerReferences" in message]

    @pytest.mark.parametrize(
        ("user", "old", "new", "passes"),
        [
            (OPERATOR, None, "Agents", True),
            (OPERATOR, "People", "Agents", True),
            (OPERATOR, "Everyone", None, True),
            (ALICE, None, "Agents", False),
            (ALICE, "People", "Agents", False),
            (ALICE, "Agents", "Everyone", False),
            (ALICE, "Agents", None, True),
            (ALICE, "People", None, False),
            (ALICE, "Everyone", None, False),
            (KIRO, "Agents", None, False),
            (KIRO, "People", None, False),
            (KIRO, "Agents", "Agents", True),
            (ADMIN, "Agents", "", True),
        ],
    )
    def test_the_label_protected(self, user: str, old: str | None, new: str | None, passes: bool) -> None:
        before, after = ({} if value is None else {LABEL_PROTECTED: value} for value in (old, new))
        ask = Ask(user, "UPDATE", "namespaces", object=namespace(labels=after), old=namespace(labels=before))
        assert (refusals(ALL, ask) == []) is passes

    def test_the_label_is_not_brought_along_at_creation(self) -> None:
        assert refusals(ALL, Ask(ALICE, "CREATE", "namespaces", object=namespace(labels={LABEL_PROTECTED: "Agents"})))
        assert refusals(ALL, Ask(ALICE, "CREATE", "namespaces", object=namespace())) == []

    @pytest.mark.parametrize(
        ("user", "old", "new", "passes"),
        [
            (KIRO, KIRO, KIRO, True),
            (ALICE, None, None, True),
            (ALICE, KIRO, None, False),
            (KIRO, None, KIRO, False),
            (OPERATOR, None, KIRO, False),
            (KIRO, ROGUE, KIRO, False),
        ],
    )
    def test_created_by_never_changes(self, user: str, old: str | None, new: str | None, passes: bool) -> None:
        trees = [namespace() if value is None else namespace(annotations={ANNOTATION_CREATED_BY: value}) for value in (old, new)]
        assert (refusals(ALL, Ask(user, "UPDATE", "namespaces", object=trees[1], old=trees[0])) == []) is passes

    def test_created_by_is_ones_own_at_creation(self) -> None:
        own, other = (namespace(annotations={ANNOTATION_CREATED_BY: name}) for name in (KIRO, ALICE))
        assert refusals(ALL, Ask(KIRO, "CREATE", "namespaces", object=own)) == []
        assert refusals(ALL, Ask(KIRO, "CREATE", "namespaces", object=other))
        assert refusals(ALL, Ask(ALICE, "CREATE", "namespaces", object=own))

    def test_where_nothing_sets_created_by_nobody_brings_it(self) -> None:
        older = guards(Site("u", "countersign", "", b"", mutating=False), IDENTITIES, (DEFAULT,))
        own = namespace(annotations={ANNOTATION_CREATED_BY: KIRO})
        assert refusals(older, Ask(KIRO, "CREATE", "namespaces", object=own))


REQUEST_SPEC = {"requester": {"username": KIRO}}


def request_object(labels: Mapping[str, str] | None = None, notes: Mapping[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    more = {**({"labels": dict(labels)} if labels else {}), **({"annotations": dict(notes)} if notes else {}), **metadata}
    return thing("r", REQUEST_SPEC, **more)


class TestRecords:
    @pytest.mark.parametrize("user", [ALICE, KIRO, OPERATOR, ADMIN, COLLECTOR])
    def test_change_requests_are_created_by_the_webhook_alone(self, user: str) -> None:
        assert refusals(ALL, Ask(user, "CREATE", "changerequests", object=request_object(), group=GROUP))
        assert refusals(ALL, Ask(WEBHOOK, "CREATE", "changerequests", object=request_object(), group=GROUP)) == []

    @pytest.mark.parametrize("kind", ["changerequests", "approvals", "agentidentities", "reviewers", "protectedenvironments"])
    @pytest.mark.parametrize("user", [ALICE, KIRO, WEBHOOK, ADMIN])
    def test_status_is_the_operators(self, kind: str, user: str) -> None:
        assert refusals(ALL, Ask(user, "UPDATE", f"{kind}/status", object=thing(), old=thing(), group=GROUP))
        assert refusals(ALL, Ask(OPERATOR, "UPDATE", f"{kind}/status", object=thing(), old=thing(), group=GROUP)) == []

    @pytest.mark.parametrize(
        ("before", "after", "lifted", "passes"),
        [
            ("", "a", "", True),
            ("a", "a", "", True),
            ("a", "", "", False),
            ("a", "b", "", False),
            ("a", "", "b", False),
            ("a", "b", "a", True),
            ("a", "", "a", True),
        ],
    )
    def test_a_lockdown_stands_until_it_is_lifted(self, before: str, after: str, lifted: str, passes: bool) -> None:
        def tree(incident: str, lifted: str) -> dict[str, Any]:
            status = {"lockdown": {"incident": incident}} if incident else {}
            return {**thing("default", {"lockdownLifted": lifted} if lifted else {}), "status": status}

        def asked(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
            return refusals(ALL, Ask(OPERATOR, "UPDATE", "protectedenvironments/status", object=new, old=old, group=GROUP))

        assert (asked(tree(before, lifted), tree(after, lifted)) == []) is passes
        if before and before != after:
            assert asked(tree(before, ""), tree(after, before)), "what lifts it is not said in the same breath"

    @pytest.mark.parametrize("kind", ["changerequests", "approvals"])
    @pytest.mark.parametrize("user", [ALICE, KIRO, WEBHOOK, ADMIN, COLLECTOR, NAMESPACE_CONTROLLER])
    def test_deletion_is_the_operators_by_collection_too(self, kind: str, user: str) -> None:
        assert refusals(ALL, Ask(user, "DELETE", kind, old=request_object(), group=GROUP))
        assert refusals(ALL, Ask(OPERATOR, "DELETE", kind, old=request_object(), group=GROUP)) == []

    @pytest.mark.parametrize("reason", ["because", "", None, "x" * 500])
    def test_the_requester_says_why(self, reason: str | None) -> None:
        new = request_object({LABEL_AGENT: "kiro"}, {} if reason is None else {ANNOTATION_REASON: reason})
        ask = Ask(KIRO, "UPDATE", "changerequests", object=new, old=request_object(notes={ANNOTATION_REASON: "old"}), group=GROUP)
        assert refusals(ALL, ask) == []

    @pytest.mark.parametrize(
        ("user", "new"),
        [
            (KIRO, request_object(notes={ANNOTATION_REASON: "x" * 501})),
            (KIRO, request_object(notes={ANNOTATION_REASON: "x", "other": "y"})),
            (KIRO, request_object(labels={"other": "y"})),
            (KIRO, request_object(finalizers=["a/b"])),
            (KIRO, thing("r", {"requester": {"username": KIRO}, "required": 0})),
            (ALICE, request_object(notes={ANNOTATION_REASON: "x"})),
            (ROGUE, request_object(notes={ANNOTATION_REASON: "x"})),
            (OPERATOR, request_object(notes={ANNOTATION_REASON: "x"})),
        ],
        ids=["long", "another annotation", "a label", "a finalizer", "the spec", "a human", "another agent", "the operator"],
    )
    def test_and_nothing_else_is_written_by_anybody(self, user: str, new: Mapping[str, Any]) -> None:
        assert refusals(ALL, Ask(user, "UPDATE", "changerequests", object=new, old=request_object(), group=GROUP))

    def test_a_write_that_changes_nothing_is_nobodys_harm(self) -> None:
        for kind in ("changerequests", "approvals"):
            same = request_object({"a": "b"}, {"c": "d"})
            assert refusals(ALL, Ask("system:storage-migrator", "UPDATE", kind, object=same, old=same, group=GROUP)) == []

    @pytest.mark.parametrize("user", [ALICE, KIRO, OPERATOR, WEBHOOK])
    def test_approvals_never_change(self, user: str) -> None:
        for new in (request_object({"a": "b"}), request_object(notes={"a": "b"}), thing("r", {"decision": "Approve"})):
            assert refusals(ALL, Ask(user, "UPDATE", "approvals", object=new, old=request_object(), group=GROUP))


class TestAgents:
    @pytest.mark.parametrize("kind", ["agentidentities", "reviewers", "protectedenvironments"])
    def test_never_write_our_settings(self, kind: str) -> None:
        for ask in (
            Ask(KIRO, "CREATE", kind, object=thing(spec={}), group=GROUP),
            Ask(KIRO, "UPDATE", kind, object=thing(labels={"a": "b"}), old=thing(), group=GROUP),
            Ask(KIRO, "DELETE", kind, old=thing(), group=GROUP),
        ):
            assert refusals(ALL, ask)
            people = Ask(ALICE, ask.operation, kind, object=ask.object, old=ask.old, group=GROUP)
            assert refusals(ALL, people) == []

    @pytest.mark.parametrize("operation", ["CREATE", "UPDATE", "DELETE", "CONNECT"])
    @pytest.mark.parametrize("resource", ["secrets", "pods/exec", "serviceaccounts/token", "deployments/scale"])
    def test_write_nothing_in_our_namespace(self, operation: str, resource: str) -> None:
        home = {"kubernetes.io/metadata.name": "countersign"}
        tree = thing()
        ask = Ask(KIRO, operation, resource, object=tree, old=tree, namespace="countersign", home=home)
        assert refusals(ALL, ask)
        elsewhere = Ask(KIRO, operation, resource, object=tree, old=tree, namespace="n", home={"kubernetes.io/metadata.name": "n"})
        assert refusals(ALL, elsewhere) == []
        human = Ask(ALICE, operation, resource, object=tree, old=tree, namespace="countersign", home=home)
        assert refusals(ALL, human) == []

    @pytest.mark.parametrize("sub", ["", "/status", "/finalize"])
    def test_nor_our_namespace_itself(self, sub: str) -> None:
        ask = Ask(KIRO, "UPDATE", f"namespaces{sub}", object=namespace("countersign"), old=namespace("countersign"))
        assert [message for message in refusals(ALL, ask) if "own namespace" in message]
        assert refusals(ALL, Ask(KIRO, "DELETE", "namespaces", old=namespace("countersign")))
        assert refusals(ALL, Ask(ALICE, "DELETE", "namespaces", old=namespace("countersign"))) == []

    @pytest.mark.parametrize(
        ("resource", "tree"),
        [
            ("clusterroles", thing("countersign-operator")),
            ("clusterroles", thing("anything", labels={f"{GROUP}/aggregate-to-webhook": "true"})),
            ("clusterrolebindings", thing("countersign-webhook")),
            ("clusterrolebindings", {**thing("mine"), "roleRef": {"name": "countersign-reviewer"}}),
            ("rolebindings", {**thing("mine"), "roleRef": {"name": "countersign-operator"}}),
        ],
    )
    def test_nor_our_roles_and_who_holds_them(self, resource: str, tree: Mapping[str, Any]) -> None:
        assert refusals(ALL, Ask(KIRO, "CREATE", resource, object=tree, group=RBAC))
        assert refusals(ALL, Ask(ALICE, "CREATE", resource, object=tree, group=RBAC)) == []

    def test_other_roles_are_theirs(self) -> None:
        for tree in (thing("view-more"), {**thing("mine"), "roleRef": {"name": "view"}}):
            assert refusals(ALL, Ask(KIRO, "CREATE", "clusterrolebindings", object=tree, group=RBAC)) == []
        assert refusals(ALL, Ask(KIRO, "DELETE", "clusterroles", old=thing("countersign-operator"), group=RBAC))

    def test_give_volumes_no_owner_that_would_take_them_along(self) -> None:
        for resource, group in (("persistentvolumeclaims", ""), ("persistentvolumes/status", ""), ("customresourcedefinitions", CRDS)):
            new = thing(ownerReferences=[OWNER])
            assert refusals(ALL, Ask(KIRO, "UPDATE", resource, object=new, old=thing(), group=group))
            assert refusals(ALL, Ask(KIRO, "UPDATE", resource, object=new, old=new, group=group)) == []
            assert (
                refusals(
                    ALL,
                    Ask(
                        "system:serviceaccount:kube-system:statefulset-controller", "UPDATE", resource, object=new, old=thing(), group=group
                    ),
                )
                == []
            )

    def test_finalize_no_namespace(self) -> None:
        old, new = thing("team", {"finalizers": ["kubernetes"]}), thing("team", {"finalizers": []})
        [said] = refusals(ALL, Ask(KIRO, "UPDATE", "namespaces/finalize", object=new, old=old))
        assert "do not finalize namespaces" in said
        assert refusals(ALL, Ask(NAMESPACE_CONTROLLER, "UPDATE", "namespaces/finalize", object=new, old=old)) == []
        assert refusals(ALL, Ask(ALICE, "UPDATE", "namespaces/finalize", object=new, old=old)) == []
        assert refusals(ALL, Ask(KIRO, "UPDATE", "namespaces", object=new, old=old)) == []

    @pytest.mark.parametrize(
        ("group", "resource"),
        [("", "namespaces"), ("", "persistentvolumes"), ("", "persistentvolumeclaims"), (CRDS, "customresourcedefinitions")],
    )
    def test_take_no_finalizers(self, group: str, resource: str) -> None:
        held = {names: thing(finalizers=names.split()) if names else thing() for names in ("", "a", "a b")}

        def said(user: str, before: str, after: str) -> list[str]:
            return refusals(ALL, Ask(user, "UPDATE", resource, object=held[after], old=held[before], group=group))

        for before, after in (("a", ""), ("a b", "a"), ("a b", "")):
            assert "take no finalizers" in said(KIRO, before, after)[0]
            assert said(ALICE, before, after) == []
        for before, after in (("", "a"), ("a", "a b"), ("a", "a")):
            assert said(KIRO, before, after) == []

    def test_put_no_server_in_the_place_of_an_api(self) -> None:
        group = "apiregistration.k8s.io"
        assert refusals(ALL, Ask(KIRO, "CREATE", "apiservices", object=thing("v1beta1.metrics.k8s.io"), group=group))
        assert refusals(ALL, Ask(ALICE, "CREATE", "apiservices", object=thing("v1beta1.metrics.k8s.io"), group=group)) == []

    def test_without_agents_there_is_no_such_policy(self) -> None:
        assert not [guard for guard in guards(SITE, (), (DEFAULT,)) if "agents" in guard.name]


class TestGuardsGuardEachOther:
    @pytest.mark.parametrize("user", [ALICE, ADMIN, KIRO, ROGUE, WEBHOOK, NAMESPACE_CONTROLLER])
    @pytest.mark.parametrize("operation", ["CREATE", "UPDATE", "DELETE"])
    def test_the_webhook_configuration_is_the_operators(self, user: str, operation: str) -> None:
        tree = as_served(ALL)
        new, old = (None if operation == "DELETE" else tree), (None if operation == "CREATE" else tree)
        ask = Ask(user, operation, "validatingwebhookconfigurations", object=new, old=old, group=POLICIES)
        assert refusals(ALL, ask)
        ours = Ask(OPERATOR, operation, "validatingwebhookconfigurations", object=new, old=old, group=POLICIES)
        assert refusals(ALL, ours) == []

    def test_the_garbage_collector_deletes_it_and_changes_nothing(self) -> None:
        tree = thing("countersign")
        for user in (COLLECTOR, "system:kube-controller-manager"):
            assert refusals(ALL, Ask(user, "DELETE", "validatingwebhookconfigurations", old=tree, group=POLICIES)) == []
            assert refusals(ALL, Ask(user, "UPDATE", "validatingwebhookconfigurations", object=tree, old=tree, group=POLICIES))

    def test_other_configurations_are_anybodys(self) -> None:
        ask = Ask(ALICE, "DELETE", "validatingwebhookconfigurations", old=thing("countersign-of-another"), group=POLICIES)
        assert refusals(ALL, ask) == []

    @pytest.mark.parametrize("operation", ["UPDATE", "DELETE"])
    def test_our_definitions_are_the_operators(self, operation: str) -> None:
        tree = thing(f"approvals.{GROUP}")
        new = None if operation == "DELETE" else tree
        for user in (ALICE, ADMIN, KIRO, COLLECTOR):
            assert refusals(ALL, Ask(user, operation, "customresourcedefinitions", object=new, old=tree, group=CRDS))
        assert refusals(ALL, Ask(OPERATOR, operation, "customresourcedefinitions", object=new, old=tree, group=CRDS)) == []
        others = thing("things.example.com")
        assert refusals(ALL, Ask(ALICE, operation, "customresourcedefinitions", object=new and others, old=others, group=CRDS)) == []

    @pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
    def test_nobody_is_asked_to_convert_them(self, operation: str) -> None:
        def asked(spec: dict[str, Any]) -> list[str]:
            tree = thing(f"reviewers.{GROUP}", spec)
            return refusals(ALL, Ask(OPERATOR, operation, "customresourcedefinitions", object=tree, old=tree, group=CRDS))

        assert asked({"conversion": {"strategy": "None"}}) == []
        assert "no conversion webhook" in asked({"conversion": {"strategy": "Webhook", "webhook": {}}})[0]

    def test_their_status_is_the_api_servers_without_owners(self) -> None:
        old, new = thing(f"approvals.{GROUP}"), thing(f"approvals.{GROUP}", ownerReferences=[OWNER])
        path = "customresourcedefinitions/status"
        assert refusals(ALL, Ask("system:apiserver", "UPDATE", path, object=old, old=old, group=CRDS)) == []
        assert refusals(ALL, Ask(ALICE, "UPDATE", path, object=new, old=old, group=CRDS))
        for user in (ALICE, ADMIN, ROGUE):
            assert refusals(ALL, Ask(user, "UPDATE", path, object=old, old=old, group=CRDS)), "conditions take a kind out of service"

    def test_our_api_has_no_other_server(self) -> None:
        tree, group = thing(f"v1alpha1.{GROUP}"), "apiregistration.k8s.io"
        assert refusals(ALL, Ask("system:apiserver", "CREATE", "apiservices", object=tree, group=group)) == []
        for user in (ALICE, ADMIN, ROGUE):
            assert refusals(ALL, Ask(user, "UPDATE", "apiservices", object=tree, old=tree, group=group))

    @pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
    def test_nor_does_the_api_server_write_so_itself(self, operation: str) -> None:
        """It registers our kinds' API under its own name; a mutating policy of somebody may stand before that."""
        name, group = f"v1alpha1.{GROUP}", "apiregistration.k8s.io"
        for user in ("system:apiserver", OPERATOR):
            local, away = thing(name, {"group": GROUP}), thing(name, {"group": GROUP, "service": {"name": "x", "namespace": "y"}})
            assert refusals(ALL, Ask(user, operation, "apiservices", object=local, old=local, group=group)) == []
            assert refusals(ALL, Ask(user, operation, "apiservices", object=away, old=local, group=group))
        others = thing("v1.metrics.example.com", {"service": {"name": "x", "namespace": "y"}})
        assert refusals(ALL, Ask(ALICE, operation, "apiservices", object=others, old=others, group=group)) == []

    def test_nobody_gives_the_owner_of_all_guards_an_owner(self) -> None:
        old, new = thing("countersign-operator"), thing("countersign-operator", ownerReferences=[OWNER])
        for user in (ALICE, ADMIN, OPERATOR, COLLECTOR):
            assert refusals(ALL, Ask(user, "UPDATE", "clusterroles", object=new, old=old, group=RBAC))
        assert refusals(ALL, Ask(ALICE, "UPDATE", "clusterroles", object=old, old=new, group=RBAC)) == []

    def test_people_uninstall(self) -> None:
        assert refusals(ALL, Ask(ALICE, "DELETE", "clusterroles", old=thing("countersign-operator"), group=RBAC)) == []
        assert refusals(ALL, Ask(KIRO, "DELETE", "clusterroles", old=thing("countersign-operator"), group=RBAC))
