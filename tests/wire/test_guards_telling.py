"""The policies that refuse nothing: what they warn of, note in the audit log and label."""

from collections.abc import Mapping

import pytest

from countersign.domain.names import ANNOTATION_CREATED_BY, LABEL_AGENT
from countersign.domain.resources import AgentIdentity, Meta, ProtectedEnvironment, ProtectFrom, Requirement, Selector, Subject, SubjectKind
from countersign.wire.guards import Guard, guards
from tests.support.admission import Ask, annotations, patches, refusals
from tests.wire._cluster import (
    ADMIN,
    AGENTS_ONLY,
    ALICE,
    ALL,
    DEFAULT,
    DEPLOYER,
    IDENTITIES,
    KIRO,
    MANY,
    NAMESPACE_CONTROLLER,
    PAYMENTS,
    PROD,
    ROGUE,
    SITE,
    namespace,
    thing,
)


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
