"""What the compiled guards say to a request, by a simulation of the API server's admission (tests/support/admission.py)."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from countersign.domain.names import GROUP, LABEL_PROTECTED
from countersign.domain.resources import AgentIdentity, Meta, Mode, Subject, SubjectKind
from countersign.wire.guards import Guard, Site, guards
from tests.support.admission import Ask, reached
from tests.wire._cluster import (
    ADMIN,
    AGENTS_ONLY,
    ALICE,
    ALL,
    COLLECTOR,
    CRDS,
    DEFAULT,
    DEPLOYER,
    GOLD,
    IDENTITIES,
    KIRO,
    NAMESPACE_CONTROLLER,
    OPERATOR,
    PAYMENTS,
    PROD,
    RBAC,
    ROGUE,
    SITE,
    configuration,
    deleting,
    namespace,
    thing,
)

AGENTS_AND_PEOPLE = guards(SITE, IDENTITIES, (DEFAULT, PAYMENTS))


class TestWhatReachesTheWebhook:
    @pytest.mark.parametrize(
        ("user", "groups", "entries"),
        [
            (KIRO, (), ["agents-0"]),
            (ROGUE, (), ["agents-0"]),
            ("anyone", ("ai-agents",), ["agents-0"]),
            (ALICE, ("assisted",), ["agents-0"]),
            (ALICE, (), ["people"]),
            (ADMIN, ("system:masters",), ["people"]),
            (DEPLOYER, (), []),
            (NAMESPACE_CONTROLLER, (), []),
            (COLLECTOR, (), []),
            ("system:kube-controller-manager", (), []),
        ],
    )
    def test_a_namespace_under_people(self, user: str, groups: tuple[str, ...], entries: list[str]) -> None:
        assert reached(configuration(), deleting(user, "namespaces", namespace(labels=PROD), groups=groups)) == entries

    def test_built_in_controllers_never_do_even_where_an_identity_names_them(self) -> None:
        everybody = AgentIdentity(Meta("everybody"), (Subject(SubjectKind.USER, "system:*"),), ("alice",))
        built = guards(SITE, (everybody,), (DEFAULT, PAYMENTS, GOLD))
        for user in (NAMESPACE_CONTROLLER, COLLECTOR, "system:kube-controller-manager"):
            assert reached(configuration(built), deleting(user, "namespaces", namespace(labels={"tier": "gold"}))) == []
        assert reached(configuration(built), deleting(DEPLOYER, "namespaces", namespace())) == ["agents-0"]

    @pytest.mark.parametrize(
        ("user", "entries"),
        [(KIRO, ["agents-0"]), (ALICE, ["people"]), (DEPLOYER, ["everyone"]), ("system:node:n", ["everyone"]), (NAMESPACE_CONTROLLER, [])],
    )
    def test_a_namespace_under_everyone(self, user: str, entries: list[str]) -> None:
        assert reached(configuration(), deleting(user, "namespaces", namespace("x", {"tier": "gold"}))) == entries

    @pytest.mark.parametrize("labels", [None, {}, {"team": "payments"}, {"tier": "prod"}, {"team": "payments", "tier": "dev"}])
    def test_people_elsewhere_never_do(self, labels: Mapping[str, str] | None) -> None:
        assert reached(configuration(), deleting(ALICE, "namespaces", namespace(labels=labels))) == []
        assert reached(configuration(), deleting(KIRO, "namespaces", namespace(labels=labels))) == ["agents-0"]

    def test_an_excluded_namespace_is_free_to_people(self) -> None:
        assert reached(configuration(), deleting(ALICE, "namespaces", namespace("payments-scratch", PROD))) == []

    @pytest.mark.parametrize(
        ("resource", "group", "place"),
        [
            ("persistentvolumes", "", ""),
            ("customresourcedefinitions", CRDS, ""),
            ("persistentvolumeclaims", "", "anywhere"),
            ("applications", "argoproj.io", "anywhere"),
            ("protectedenvironments", GROUP, ""),
            ("agentidentities", GROUP, ""),
            ("reviewers", GROUP, ""),
        ],
    )
    def test_an_agents_deletions(self, resource: str, group: str, place: str) -> None:
        assert reached(configuration(AGENTS_AND_PEOPLE), deleting(KIRO, resource, thing(spec={}), group=group, namespace=place)) == [
            "agents-0"
        ]

    @pytest.mark.parametrize(
        ("operation", "resource"),
        [("CREATE", "namespaces"), ("DELETE", "pods"), ("UPDATE", "pods"), ("CREATE", "pods/exec"), ("DELETE", "secrets")],
    )
    def test_an_agents_ordinary_writes_never_do(self, operation: str, resource: str) -> None:
        tree = namespace(labels=PROD)
        ask = Ask(KIRO, operation, resource, object=tree, old=None if operation == "CREATE" else tree, namespace="payments")
        assert reached(configuration(), ask) == []

    def test_a_deletecollection_has_no_name_and_does_all_the_same(self) -> None:
        ask = deleting(KIRO, "persistentvolumeclaims", thing("data"), namespace="payments", home=PROD)
        assert "name" not in ask.scope()["request"]
        assert reached(configuration(), ask) == ["agents-0"]

    @pytest.mark.parametrize(
        ("user", "level", "entries"),
        [
            (ALICE, "People", ["people-inside"]),
            (ALICE, "Everyone", ["people-inside"]),
            (ALICE, "Agents", []),
            (DEPLOYER, "People", []),
            (DEPLOYER, "Everyone", ["everyone-inside"]),
            (KIRO, "Agents", ["agents-0"]),
            (KIRO, "Everyone", ["agents-0"]),
            ("system:serviceaccount:kube-system:pvc-protection-controller", "Everyone", []),
        ],
    )
    @pytest.mark.parametrize(("resource", "group"), [("persistentvolumeclaims", ""), ("applications", "argoproj.io")])
    def test_inside_a_namespace_its_level_counts(self, user: str, level: str, entries: list[str], resource: str, group: str) -> None:
        if group and user == DEPLOYER:
            entries = []  # no environment for Everyone lists applications
        ask = deleting(user, resource, thing(), group=group, namespace="n", home={LABEL_PROTECTED: level})
        assert reached(configuration(), ask) == entries

    @pytest.mark.parametrize("sub", ["", "/status", "/finalize"])
    def test_taking_a_namespace_out_of_its_environment(self, sub: str) -> None:
        before, after = namespace(labels=PROD), namespace(labels={"team": "payments"})
        for user, entries in ((KIRO, ["agents-0"]), (ALICE, ["people"]), (DEPLOYER, []), (NAMESPACE_CONTROLLER, [])):
            assert reached(configuration(), Ask(user, "UPDATE", f"namespaces{sub}", object=after, old=before)) == entries

    @pytest.mark.parametrize("after", [PROD, {**PROD, "more": "labels"}])
    def test_other_labels_never_do(self, after: Mapping[str, str]) -> None:
        for user in (KIRO, ALICE):
            assert (
                reached(configuration(), Ask(user, "UPDATE", "namespaces", object=namespace(labels=after), old=namespace(labels=PROD)))
                == []
            )

    def test_putting_a_namespace_under_protection_is_free(self) -> None:
        ask = Ask(KIRO, "UPDATE", "namespaces", object=namespace(labels=PROD), old=namespace())
        assert reached(configuration(), ask) == []

    def test_nobody_but_agents_is_asked_about_under_agents_alone(self) -> None:
        names = [entry["name"].partition(".")[0] for entry in configuration(AGENTS_ONLY).body["webhooks"]]
        assert names == ["agents-0", "own", "approvals"]


class TestOurOwnKinds:
    @pytest.mark.parametrize("kind", ["agentidentities", "reviewers", "protectedenvironments"])
    def test_creation_and_change_are_checked_whoever_asks(self, kind: str) -> None:
        for user in (KIRO, ALICE, DEPLOYER, OPERATOR):
            assert reached(configuration(), Ask(user, "CREATE", kind, object=thing(spec={"a": 1}), group=GROUP)) == ["own"]
            ask = Ask(user, "UPDATE", kind, object=thing(spec={"a": 1}), old=thing(spec={"a": 2}), group=GROUP)
            assert reached(configuration(), ask) == ["own"]

    def test_what_changes_nothing_passes_while_the_webhook_is_down(self) -> None:
        ask = Ask(ALICE, "UPDATE", "reviewers", object=thing(spec={"a": 1}, labels={"x": "y"}), old=thing(spec={"a": 1}), group=GROUP)
        assert reached(configuration(), ask) == []
        assert reached(configuration(), Ask(OPERATOR, "UPDATE", "reviewers/status", object=thing(), old=thing(), group=GROUP)) == []

    def test_an_object_without_spec_is_checked_not_an_error(self) -> None:
        assert reached(configuration(), Ask(ALICE, "UPDATE", "reviewers", object=thing(), old=thing(), group=GROUP)) == ["own"]

    @pytest.mark.parametrize(
        ("user", "level", "entries"),
        [
            (ALICE, "Agents", []),
            (ALICE, "People", ["own"]),
            (DEPLOYER, "People", []),
            (DEPLOYER, "Everyone", ["own"]),
            (COLLECTOR, "Everyone", []),
        ],
    )
    def test_deleting_an_environment(self, user: str, level: str, entries: list[str]) -> None:
        ask = deleting(user, "protectedenvironments", thing(spec={"protectFrom": level}), group=GROUP)
        assert reached(configuration(), ask) == entries

    def test_deleting_an_identity_goes_by_the_strictest_environment(self) -> None:
        old = thing(spec={})
        assert reached(configuration(), deleting(ALICE, "agentidentities", old, group=GROUP)) == ["own"]
        assert reached(configuration(AGENTS_ONLY), deleting(ALICE, "agentidentities", old, group=GROUP)) == []
        assert reached(configuration(AGENTS_AND_PEOPLE), deleting(ALICE, "agentidentities", old, group=GROUP)) == ["own"]
        assert reached(configuration(AGENTS_AND_PEOPLE), deleting(DEPLOYER, "agentidentities", old, group=GROUP)) == []

    def test_deleting_a_reviewer_is_free_to_people(self) -> None:
        assert reached(configuration(), deleting(ALICE, "reviewers", thing(spec={}), group=GROUP)) == []

    @pytest.mark.parametrize("user", [ALICE, KIRO, DEPLOYER, COLLECTOR])
    def test_every_approval_is_checked(self, user: str) -> None:
        assert reached(configuration(), Ask(user, "CREATE", "approvals", object=thing(spec={}), group=GROUP)) == ["approvals"]


class TestTheConfiguration:
    def test_every_entry_fails_closed_and_leaves_nothing_to_defaults(self) -> None:
        for entry in configuration().body["webhooks"]:
            assert entry["failurePolicy"] == "Fail"
            assert (entry["sideEffects"], entry["timeoutSeconds"], entry["matchPolicy"]) == ("NoneOnDryRun", 10, "Equivalent")
            assert entry["objectSelector"] == {}
            assert entry["name"].count(".") >= 2
            assert len(entry["matchConditions"]) <= 64
            assert all("resourceNames" not in rule for rule in entry["rules"])

    def test_what_only_a_trial_asks_about_fails_open_and_soon(self) -> None:
        trial = replace(GOLD, mode=Mode.AUDIT)
        hooks = {
            hook["name"].partition(".")[0]: hook for hook in configuration(guards(SITE, IDENTITIES, (DEFAULT, trial))).body["webhooks"]
        }
        tried = {name: hook for name, hook in hooks.items() if name.startswith("trial-")}
        assert set(tried) == {"trial-people", "trial-people-inside", "trial-everyone", "trial-everyone-inside"}
        assert {(hook["failurePolicy"], hook["timeoutSeconds"]) for hook in tried.values()} == {("Ignore", 3)}
        assert {hook["failurePolicy"] for name, hook in hooks.items() if name not in tried} == {"Fail"}

    def test_beside_an_environment_that_enforces_a_trial_fails_closed_with_it(self) -> None:
        """One entry for both: asked twice, the same request would be counted twice."""
        hooks = configuration(guards(SITE, IDENTITIES, (PAYMENTS, replace(GOLD, mode=Mode.AUDIT)))).body["webhooks"]
        closed = {hook["name"].partition(".")[0] for hook in hooks if hook["failurePolicy"] == "Fail"}
        assert {"people", "people-inside"} <= closed
        assert [hook["name"].partition(".")[0] for hook in hooks if hook["failurePolicy"] == "Ignore"] == [
            "trial-everyone",
            "trial-everyone-inside",
        ]

    def test_by_url_or_by_service(self) -> None:
        by_url = configuration().body["webhooks"][0]["clientConfig"]
        assert by_url == {"url": "https://127.0.0.1:9443/validate", "caBundle": "UEVN"}
        inside = guards(Site("u", "cs", "", b"PEM", mutating=False), (), ())[-1].body["webhooks"][0]["clientConfig"]
        assert inside["service"] == {"namespace": "cs", "name": "countersign-webhook", "path": "/validate", "port": 443}

    @pytest.mark.parametrize("guard", ALL, ids=lambda guard: f"{guard.kind}-{guard.name}")
    def test_every_guard_is_ours_by_name_and_goes_with_the_role(self, guard: Guard) -> None:
        assert guard.name == "countersign" or guard.name.startswith("countersign-")
        owner = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "name": "countersign-operator", "uid": "uid-of-the-role"}
        assert guard.body["metadata"]["ownerReferences"] == [owner]

    def test_every_policy_is_bound_and_denies_but_the_label(self) -> None:
        policies = {guard.name for guard in ALL if guard.kind == "ValidatingAdmissionPolicy"}
        bindings = {guard.name: guard.body["spec"] for guard in ALL if guard.kind == "ValidatingAdmissionPolicyBinding"}
        assert set(bindings) == policies
        assert {name: spec["validationActions"] for name, spec in bindings.items()} == {
            name: {"countersign-label": ["Audit"], "countersign-leaving": ["Warn", "Audit"]}.get(name, ["Deny"]) for name in policies
        }
        assert all("resourceNames" not in str(guard.body) for guard in ALL)

    def test_without_mutating_policies_there_are_none(self) -> None:
        kinds = {guard.kind for guard in guards(Site("u", "cs", "", b"", mutating=False), IDENTITIES, (DEFAULT,))}
        assert not any(kind.startswith("Mutating") for kind in kinds)

    def test_the_same_twice(self) -> None:
        shuffled = guards(SITE, tuple(reversed(IDENTITIES)), (GOLD, PAYMENTS, DEFAULT))
        assert shuffled == ALL
