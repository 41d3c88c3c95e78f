"""What reaches the webhook where an environment widens: anybody's guarded request may be an agent's, and only the webhook knows."""

import pytest

from countersign.domain.names import GROUP, LABEL_PROTECTED
from countersign.domain.resources import (
    AgentIdentity,
    Meta,
    ProtectedEnvironment,
    ProtectFrom,
    Selector,
    Subject,
    SubjectKind,
    WhenImpersonated,
)
from countersign.wire.guards import Guard, Site, guards
from tests.support.admission import Ask, reached

SITE = Site("uid-of-the-role", "countersign", "https://127.0.0.1:9443/validate", b"PEM", mutating=True)
KIRO, ALICE, FLUX = "system:serviceaccount:agents:kiro", "alice@example.com", "system:serviceaccount:flux:kustomize"
KCM, COLLECTOR = "system:kube-controller-manager", "system:serviceaccount:kube-system:generic-garbage-collector"
IDENTITIES = (AgentIdentity(Meta("kiro"), (Subject(SubjectKind.SERVICE_ACCOUNT, "kiro", "agents"),), ("alice",)),)
DEFAULT = ProtectedEnvironment(Meta("default"), ProtectFrom.AGENTS)
WIDE = ProtectedEnvironment(Meta("wide"), ProtectFrom.AGENTS, Selector({"tier": "gold"}), when_impersonated=WhenImpersonated.WIDEN)


def configuration(*environments: ProtectedEnvironment) -> Guard:
    return next(guard for guard in guards(SITE, IDENTITIES, environments) if guard.kind == "ValidatingWebhookConfiguration")


def namespace(tier: str) -> dict[str, object]:
    return {"metadata": {"name": "payments", "labels": {"tier": tier}}}


def deleting(user: str, tier: str) -> Ask:
    return Ask(user, "DELETE", "namespaces", old=namespace(tier))


REACHED = [
    (KIRO, ["agents-0"]),
    (ALICE, ["people"]),
    (FLUX, ["everyone"]),
    (KCM, []),
    (COLLECTOR, []),
]


@pytest.mark.parametrize(("user", "entries"), REACHED)
def test_who_is_sent_for_a_namespace_of_it(user: str, entries: list[str]) -> None:
    built = configuration(DEFAULT, WIDE)
    assert reached(built, deleting(user, "gold")) == entries
    assert reached(built, deleting(user, "plain")) == (entries if user == KIRO else [])


@pytest.mark.parametrize(("user", "entries"), REACHED)
def test_where_it_only_reports_nobody_else_is_sent(user: str, entries: list[str]) -> None:
    built = configuration(DEFAULT)
    assert reached(built, deleting(user, "gold")) == (entries if user == KIRO else [])


def test_a_namespace_that_leaves_it() -> None:
    leaving = Ask(ALICE, "UPDATE", "namespaces", object=namespace("plain"), old=namespace("gold"))
    assert reached(configuration(DEFAULT, WIDE), leaving) == ["people"]
    assert reached(configuration(DEFAULT), leaving) == []


@pytest.mark.parametrize(("user", "entry"), [(ALICE, "people-inside"), (FLUX, "everyone-inside")])
def test_claims_by_the_label_of_their_namespace(user: str, entry: str) -> None:
    claim = Ask(
        user,
        "DELETE",
        "persistentvolumeclaims",
        old={"metadata": {"name": "data"}},
        namespace="payments",
        home={LABEL_PROTECTED: "Everyone"},
    )
    assert reached(configuration(DEFAULT, WIDE), claim) == [entry]
    assert reached(configuration(DEFAULT), claim) == []


@pytest.mark.parametrize("user", [ALICE, FLUX])
def test_its_own_deletion_and_an_identitys(user: str) -> None:
    spec = {"protectFrom": "Agents", "whenAgentsCanImpersonate": "Widen"}
    environment = Ask(user, "DELETE", "protectedenvironments", old={"metadata": {"name": "wide"}, "spec": spec}, group=GROUP)
    identity = Ask(user, "DELETE", "agentidentities", old={"metadata": {"name": "rogue"}, "spec": {}}, group=GROUP)
    built, narrow = configuration(DEFAULT, WIDE), configuration(DEFAULT)
    assert (reached(built, environment), reached(built, identity)) == (["own"], ["own"])
    assert reached(narrow, identity) == []
    plain = Ask(user, "DELETE", "protectedenvironments", old={"metadata": {"name": "x"}, "spec": {"protectFrom": "Agents"}}, group=GROUP)
    assert reached(built, plain) == []
