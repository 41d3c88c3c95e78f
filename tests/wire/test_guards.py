"""What the compiled guards say to a request, by a simulation of the API server's admission (tests/support/admission.py)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from countersign.domain.names import ANNOTATION_CREATED_BY, ANNOTATION_REASON, GROUP, LABEL_AGENT, LABEL_PROTECTED
from countersign.domain.request import GroupResource
from countersign.domain.resources import AgentIdentity, Meta, ProtectedEnvironment, ProtectFrom, Requirement, Selector, Subject, SubjectKind
from countersign.wire.guards import Guard, Site, guards
from countersign.wire.shards import MAX_SHARDS, SHARD_LETTERS, SHARD_NAMES, deal
from tests.support.admission import Ask, annotations, patches, reached, refusals

SITE = Site(
    "uid-of-the-role", "countersign", "https://127.0.0.1:9443/validate", b"PEM", mutating=True, owners=("capsule.clastix.io/Tenant",)
)
KIRO, ROGUE = "system:serviceaccount:agents:kiro", "system:serviceaccount:agents:rogue"
OPERATOR, WEBHOOK = "system:serviceaccount:countersign:countersign-operator", "system:serviceaccount:countersign:countersign-webhook"
COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"
ALICE, ADMIN, DEPLOYER = "alice@example.com", "kubernetes-admin", "system:serviceaccount:ci:deployer"
RBAC, CRDS, POLICIES = "rbac.authorization.k8s.io", "apiextensions.k8s.io", "admissionregistration.k8s.io"

IDENTITIES = (
    AgentIdentity(Meta("kiro"), (Subject(SubjectKind.SERVICE_ACCOUNT, "kiro", "agents"),), ("alice",)),
    AgentIdentity(
        Meta("rogue"), (Subject(SubjectKind.SERVICE_ACCOUNT, "rogue", "agents"), Subject(SubjectKind.GROUP, "ai-agents")), ("alice", "bob")
    ),
    AgentIdentity(Meta("laptop"), (Subject(SubjectKind.USER, "alice@*", groups=("assisted",)),), (), sponsor_from_username=True),
)
DEFAULT = ProtectedEnvironment(Meta("default"), ProtectFrom.AGENTS, exclude=("kube-system",))
PAYMENTS = ProtectedEnvironment(
    Meta("payments"),
    ProtectFrom.PEOPLE,
    Selector({"team": "payments"}, (Requirement("tier", "In", ("prod",)),)),
    exclude=("payments-scratch",),
    resources=(GroupResource("argoproj.io", "applications"),),
)
GOLD = ProtectedEnvironment(Meta("gold"), ProtectFrom.EVERYONE, Selector({"tier": "gold"}))
ALL = guards(SITE, IDENTITIES, (DEFAULT, PAYMENTS, GOLD))
AGENTS_AND_PEOPLE = guards(SITE, IDENTITIES, (DEFAULT, PAYMENTS))
AGENTS_ONLY = guards(SITE, IDENTITIES, (DEFAULT,))

PROD = {"team": "payments", "tier": "prod"}


def configuration(built: tuple[Guard, ...] = ALL) -> Guard:
    return next(guard for guard in built if guard.kind == "ValidatingWebhookConfiguration")


def thing(name: str = "x", spec: Mapping[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, **({"spec": dict(spec)} if spec is not None else {})}


def namespace(name: str = "payments", labels: Mapping[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return thing(name, **({"labels": dict(labels)} if labels is not None else {}), **metadata)


def deleting(user: str, resource: str, old: Mapping[str, Any], **more: Any) -> Ask:
    return Ask(user, "DELETE", resource, old=old, **more)


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


class TestLeavingAnEnvironment:
    """A warning, whoever asks: what takes the label away may be somebody else's mutating policy."""

    @pytest.mark.parametrize("user", [ALICE, KIRO, DEPLOYER, ADMIN])
    @pytest.mark.parametrize("sub", ["", "/status", "/finalize"])
    @pytest.mark.parametrize("after", [{}, None, {"team": "payments"}, {"team": "payments", "tier": "dev"}])
    def test_is_told_to_everybody_and_refused_to_nobody_here(self, user: str, sub: str, after: Mapping[str, str] | None) -> None:
        ask = Ask(user, "UPDATE", f"namespaces{sub}", object=namespace(labels=after), old=namespace(labels=PROD))
        assert self.warnings(ask) == ["This change takes the namespace out of a ProtectedEnvironment."]
        assert annotations(self.policies(), ask) == {"left": "payments"}

    def test_of_all_environments_that_it_leaves(self) -> None:
        both = {"team": "payments", "tier": "prod", "gold": "1"}
        more = ProtectedEnvironment(Meta("shiny"), ProtectFrom.AGENTS, Selector(match_expressions=(Requirement("gold", "Exists"),)))
        built = guards(SITE, IDENTITIES, (DEFAULT, PAYMENTS, more))
        ask = Ask(ALICE, "UPDATE", "namespaces", object=namespace(labels={}), old=namespace(labels=both))
        assert annotations(self.policies(built), ask) == {"left": "payments, shiny"}

    @pytest.mark.parametrize(
        ("user", "before", "after"),
        [
            (ALICE, PROD, {**PROD, "a": "1"}),
            (ALICE, {}, PROD),
            (ALICE, {"a": "1"}, {}),
            (NAMESPACE_CONTROLLER, PROD, {}),
            ("system:kube-controller-manager", PROD, {}),
        ],
    )
    def test_is_not_what_this_is(self, user: str, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        ask = Ask(user, "UPDATE", "namespaces", object=namespace(labels=after), old=namespace(labels=before))
        assert self.warnings(ask) == []
        assert "left" not in annotations(self.policies(), ask)

    def test_where_no_environment_goes_by_labels_nothing_leaves(self) -> None:
        ask = Ask(ALICE, "UPDATE", "namespaces", object=namespace(labels={}), old=namespace(labels=PROD))
        assert refusals(self.policies(AGENTS_ONLY), ask) == []
        assert annotations(self.policies(AGENTS_ONLY), ask) == {}

    def test_of_very_many_environments_it_tells_what_may_be_left(self) -> None:
        """The API server compiles an expression in a time that grows faster than it."""
        built = self.policies(guards(SITE, (), MANY))
        ask = Ask(ALICE, "UPDATE", "namespaces", object=namespace(labels={"team": "t19"}), old=namespace(labels={"team": "t20"}))
        noted = {"kube-countersign.dev/environments": "default,e20"}
        told = Ask(ALICE, "UPDATE", "namespaces", object=namespace(labels={}), old=namespace(labels={"team": "t20"}, annotations=noted))
        assert annotations(built, ask) == {"left": "its environments"}
        assert annotations(built, told) == {"left": "default, e20"}
        for after in ({"team": "t20", "a": "1"}, {"team": "t20", "tier": "x"}):
            other = Ask(ALICE, "UPDATE", "namespaces", object=namespace(labels=after), old=namespace(labels={"team": "t20"}))
            assert annotations(built, other) == {}
        longest = max(len(v["expression"]) for g in built for v in g.body["spec"].get("variables", []))
        assert longest < 10_000

    def policies(self, built: tuple[Guard, ...] = ALL) -> list[Guard]:
        return [guard for guard in built if guard.name == "countersign-leaving"]

    def warnings(self, ask: Ask) -> list[str]:
        return refusals(self.policies(), ask)


MANY = tuple(
    ProtectedEnvironment(
        Meta(f"e{index}"),
        ProtectFrom.PEOPLE if index == 1 else ProtectFrom.AGENTS if index % 2 else ProtectFrom.EVERYONE,
        Selector({"team": f"t{index}"}),
        exclude=tuple(f"excluded-{number:03}" for number in range(20)),
    )
    for index in range(200)
)


class TestVeryManyEnvironments:
    """Past some room a condition is wider, never narrower: the webhook judges each request by itself anyway."""

    def test_what_the_api_server_would_refuse_or_take_seconds_to_compile_is_not_written(self) -> None:
        found = configuration(guards(SITE, IDENTITIES, MANY))
        lengths = [len(each["expression"]) for entry in found.body["webhooks"] for each in entry["matchConditions"]]
        assert max(lengths) < 20_000

    @pytest.mark.parametrize(
        ("user", "after", "entries"),
        [
            (KIRO, {}, ["agents-0"]),
            (KIRO, {"team": "t7", "a": "1"}, ["agents-0"]),
            (KIRO, {"team": "t7"}, []),
            (KIRO, {"team": "t7", "kube-countersign.dev/agent": "kiro"}, []),
            (KIRO, None, ["agents-0"]),
            (ALICE, {"team": "t8"}, ["people"]),
            (ALICE, {}, ["people"]),
            (DEPLOYER, {}, ["everyone"]),
            (NAMESPACE_CONTROLLER, {}, []),
        ],
    )
    def test_every_other_label_is_asked_about(self, user: str, after: Mapping[str, str] | None, entries: list[str]) -> None:
        ask = Ask(user, "UPDATE", "namespaces", object=namespace(labels=after), old=namespace(labels={"team": "t7"}))
        assert reached(configuration(guards(SITE, IDENTITIES, MANY)), ask) == entries

    @pytest.mark.parametrize(("user", "entries"), [(KIRO, ["agents-0"]), (ALICE, ["people"]), (DEPLOYER, ["everyone"]), (COLLECTOR, [])])
    def test_every_deletion_is_asked_about(self, user: str, entries: list[str]) -> None:
        ask = deleting(user, "namespaces", namespace(labels={"team": "t20"}))
        assert reached(configuration(guards(SITE, IDENTITIES, MANY)), ask) == entries


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
        tree = thing("countersign")
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

    def test_nobody_gives_the_owner_of_all_guards_an_owner(self) -> None:
        old, new = thing("countersign-operator"), thing("countersign-operator", ownerReferences=[OWNER])
        for user in (ALICE, ADMIN, OPERATOR, COLLECTOR):
            assert refusals(ALL, Ask(user, "UPDATE", "clusterroles", object=new, old=old, group=RBAC))
        assert refusals(ALL, Ask(ALICE, "UPDATE", "clusterroles", object=old, old=new, group=RBAC)) == []

    def test_people_uninstall(self) -> None:
        assert refusals(ALL, Ask(ALICE, "DELETE", "clusterroles", old=thing("countersign-operator"), group=RBAC)) == []
        assert refusals(ALL, Ask(KIRO, "DELETE", "clusterroles", old=thing("countersign-operator"), group=RBAC))


class TestLabelling:
    @pytest.mark.parametrize("operation", ["CREATE", "UPDATE", "DELETE", "CONNECT"])
    @pytest.mark.parametrize("resource", ["pods", "pods/exec", "namespaces"])
    def test_every_request_of_an_agent_is_in_the_audit_log(self, operation: str, resource: str) -> None:
        assert annotations(ALL, Ask(KIRO, operation, resource, object=thing(), old=thing())) == {"agent": "kiro", "sponsor": "alice"}
        assert annotations(ALL, Ask(ALICE, operation, resource, object=thing(), old=thing())) == {}

    def test_with_all_its_identities_and_sponsors(self) -> None:
        ask = Ask(KIRO, "CREATE", "pods", object=thing(), groups=("ai-agents",))
        assert annotations(ALL, ask) == {"agent": "kiro, rogue", "sponsor": "alice, alice, bob"}
        assert annotations(ALL, Ask(ROGUE, "CREATE", "pods", object=thing(), groups=("ai-agents",)))["agent"] == "rogue"

    def test_an_agent_under_a_persons_name_has_that_person_as_sponsor(self) -> None:
        ask = Ask(ALICE, "CREATE", "pods", object=thing(), groups=("assisted",))
        assert annotations(ALL, ask) == {"agent": "laptop", "sponsor": ALICE}

    def test_what_an_agent_writes_is_labelled(self) -> None:
        assert patches(ALL, Ask(KIRO, "CREATE", "pods", object=thing())) == [
            {"op": "add", "path": "/metadata/labels", "value": {LABEL_AGENT: "kiro"}}
        ]
        [patch] = patches(ALL, Ask(KIRO, "UPDATE", "pods", object=thing(labels={"a": "b"}), old=thing()))
        assert patch == {"op": "add", "path": "/metadata/labels/kube-countersign.dev~1agent", "value": "kiro"}

    def test_an_update_that_changes_nothing_stays_one(self) -> None:
        assert patches(ALL, Ask(KIRO, "UPDATE", "pods", object=thing(labels={LABEL_AGENT: "kiro"}), old=thing())) == []

    def test_nothing_of_others_and_nothing_without_metadata_is(self) -> None:
        assert patches(ALL, Ask(ALICE, "CREATE", "pods", object=thing())) == []
        assert patches(ALL, Ask(KIRO, "CREATE", "bindings", object={"target": {}})) == []
        assert patches(ALL, Ask(KIRO, "CREATE", "pods/binding", object=thing())) == []
        assert patches(ALL, Ask(KIRO, "CREATE", "subjectaccessreviews", object=thing(), group="authorization.k8s.io")) == []

    def test_who_created_a_namespace_is_noted_whatever_was_claimed(self) -> None:
        made = patches(ALL, Ask(KIRO, "CREATE", "namespaces", object=namespace(annotations={ANNOTATION_CREATED_BY: ALICE})))
        assert made[1] == {"op": "add", "path": "/metadata/annotations/kube-countersign.dev~1created-by", "value": KIRO}
        assert len(patches(ALL, Ask(KIRO, "UPDATE", "namespaces", object=namespace(), old=namespace()))) == 1

    def test_a_long_name_becomes_a_label(self) -> None:
        long = AgentIdentity(Meta("a" * 62 + ".b"), (Subject(SubjectKind.USER, "x"),), ("s",))
        [patch] = patches(guards(SITE, (long,), ()), Ask("x", "CREATE", "pods", object=thing()))
        assert patch["value"] == {LABEL_AGENT: "a" * 62}


def crowd(count: int, length: int = 10) -> list[AgentIdentity]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        AgentIdentity(
            Meta(f"a{index:06}", created=start + timedelta(seconds=index)),
            (Subject(SubjectKind.SERVICE_ACCOUNT, f"{index:0{length}}", "ns"),),
            ("s",),
        )
        for index in range(count)
    ]


class TestShards:
    def test_so_many_names_each(self) -> None:
        dealt = deal(crowd(SHARD_NAMES * 2 + 1))
        assert [len(shard.named) for shard in dealt.shards] == [SHARD_NAMES, SHARD_NAMES, 1]
        assert dealt.left_out == ()

    def test_long_names_fill_one_sooner(self) -> None:
        dealt = deal(crowd(1_000, length=200))
        assert len(dealt.shards) > 1
        assert all(len(shard.matches) < SHARD_LETTERS * 1.2 for shard in dealt.shards)

    def test_past_the_last_the_newest_are_left_out(self) -> None:
        many = crowd(SHARD_NAMES * MAX_SHARDS + 2)
        dealt = deal(reversed(many))
        assert len(dealt.shards) == MAX_SHARDS
        assert dealt.left_out == tuple(identity.meta.name for identity in many[-2:])

    def test_one_that_does_not_fit_as_a_whole_is_left_out_as_a_whole(self) -> None:
        huge = AgentIdentity(Meta("huge"), tuple(Subject(SubjectKind.USER, f"{index}*{'x' * 500}") for index in range(256)), ("s",))
        dealt = deal([huge, *crowd(3)])
        assert dealt.left_out == ("huge",)
        assert all("huge" not in str(shard) for shard in dealt.shards)

    def test_a_new_identity_changes_the_last_shard_only(self) -> None:
        before, after = deal(crowd(SHARD_NAMES + 5)), deal(crowd(SHARD_NAMES + 6))
        assert before.shards[0] == after.shards[0]
        assert before.shards[1] != after.shards[1]

    def test_every_shard_has_its_entry_and_its_policy(self) -> None:
        built = guards(SITE, crowd(SHARD_NAMES + 1), (DEFAULT,))
        names = [entry["name"].partition(".")[0] for entry in configuration(built).body["webhooks"]]
        assert names[:2] == ["agents-0", "agents-1"]
        assert {guard.name for guard in built if "label" in guard.name} == {"countersign-label", "countersign-label-1"}
        last = f"system:serviceaccount:ns:{SHARD_NAMES:010}"
        assert reached(configuration(built), deleting(last, "namespaces", namespace())) == ["agents-1"]
        assert refusals(built, Ask(last, "DELETE", "reviewers", old=thing(), group=GROUP))
        assert annotations(built, Ask(last, "CREATE", "pods", object=thing()))["agent"] == f"a{SHARD_NAMES:06}"

    def test_agents_of_many_shards_are_asked_about_twice_rather_than_never(self) -> None:
        built = guards(SITE, crowd(SHARD_NAMES + 1), (DEFAULT, GOLD))
        ask = deleting("system:serviceaccount:ns:0000000001", "namespaces", namespace("x", {"tier": "gold"}))
        assert reached(configuration(built), ask) == ["agents-0", "everyone"]

    def test_two_identities_of_one_name(self) -> None:
        both = [AgentIdentity(Meta(name), (Subject(SubjectKind.USER, "u"),), ("s",)) for name in ("b", "a")]
        assert deal(both).shards[0].named == {"u": ("a", "b")}
