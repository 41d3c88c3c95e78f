"""Posture: who the agent is, what closes ways, that more rights are never less power, and what is said."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.domain.posture import PROBES, Posture, assess, questions, representatives
from countersign.domain.posturereport import Findings, as_json, as_markdown
from countersign.domain.profile import Profile
from countersign.domain.rbac import Binding, Rbac, Request, Rule
from countersign.domain.request import GroupResource
from countersign.domain.resources import ANYBODY, Becoming, Subject, SubjectKind
from countersign.domain.waysround import REMEDY, WHAT, Way
from tests.domain._rights import (
    ADMISSION,
    IMPERSONATE,
    NOBODY,
    TERMS,
    bindings,
    of,
    people,
    rights,
    rule,
    ways,
)
from tests.support.objects import KIRO, account, identity

HARDENED = replace(TERMS, profile=Profile.HARDENED)


# --- who the agent is -----------------------------------------------------------------------------

MINT = rule("create", "serviceaccounts/token")


WHO: list[tuple[str, Subject, Rbac, bool]] = [
    ("its account", account("agents", "kiro"), rights(MINT), True),
    ("its account named as a user is the same", account("agents", "kiro"), rights(MINT, to="system:serviceaccount:agents:kiro"), True),
    ("another account", account("agents", "lint"), rights(MINT), False),
    ("all accounts of its namespace", account("agents", "lint"), rights(MINT, to="", groups=("system:serviceaccounts:agents",)), True),
    ("all accounts", account("agents", "lint"), rights(MINT, to="", groups=("system:serviceaccounts",)), True),
    ("everybody with a login", account("agents", "lint"), rights(MINT, to="", groups=("system:authenticated",)), True),
    ("all accounts of another namespace", account("agents", "lint"), rights(MINT, to="", groups=("system:serviceaccounts:shop",)), False),
    ("one of a whole namespace", account("agents", "*"), rights(MINT), True),
    ("a user", Subject(SubjectKind.USER, "kiro"), rights(MINT, to="kiro"), True),
    ("a glob that fits a bound user", Subject(SubjectKind.USER, "arn:*/kiro/*"), rights(MINT, to="arn:x/kiro/1"), True),
    ("a glob that does not", Subject(SubjectKind.USER, "arn:*/kiro/*"), rights(MINT, to="arn:x/lint/1"), False),
    ("a group", Subject(SubjectKind.GROUP, "ai"), rights(MINT, to="", groups=("ai",)), True),
    ("a user's named group", Subject(SubjectKind.USER, "kiro", groups=("ai",)), rights(MINT, to="", groups=("ai",)), True),
    ("the accounts of a namespace, as a group", Subject(SubjectKind.GROUP, "system:serviceaccounts:agents"), rights(MINT), True),
]  # fmt: skip


@pytest.mark.parametrize(("subject", "rbac", "found"), [pytest.param(*row[1:], id=row[0]) for row in WHO])
def test_which_bindings_are_an_agents(subject: Subject, rbac: Rbac, found: bool) -> None:
    posture = assess(identity("x", subject), rbac, TERMS)
    assert (Way.TOKENS in ways(posture)) is found
    assert posture.groups_unknown is (subject.kind is not SubjectKind.SERVICE_ACCOUNT)


def test_of_whom_an_authorizer_is_asked() -> None:
    rbac = rights(MINT, to="arn:x/kiro/1")
    who = identity("x", account("agents", "kiro"), Subject(SubjectKind.USER, "arn:*/kiro/*"), Subject(SubjectKind.GROUP, "ai"))
    found = {user.username: user.groups for user in representatives(who, rbac)}
    assert found == {
        KIRO: {"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:agents"},
        "arn:x/kiro/1": {"system:authenticated"},
        "countersign-posture": {"ai", "system:authenticated"},
    }
    unknown = representatives(identity("x", Subject(SubjectKind.USER, "a*b", extra={"role": ("kiro-*",)}), account("ai", "*")), rbac)
    assert [(user.username, dict(user.extra)) for user in unknown] == [
        ("axb", {"role": ("kiro-x",)}),
        ("system:serviceaccount:ai:default", {}),
    ]


# --- what it could delete -------------------------------------------------------------------------


def test_what_it_could_delete() -> None:
    claims, namespaces = "persistentvolumeclaims", "namespaces"
    assert of(rule("delete", claims), within="shop").deletes == ((claims, "in shop"),)
    assert of(rule("deletecollection", claims)).deletes == ((claims, "everywhere"),)
    assert of(rule("delete", namespaces, names="a b c d")).deletes == ((namespaces, "for a, b, c and 1 more"),)
    assert of(rule("delete", namespaces), within="shop").deletes == ((namespaces, "for shop"),), "a right in it is one to it"
    assert of(rule("delete", "persistentvolumes"), within="shop").deletes == (), "it lies in no namespace"
    assert of(rule("deletecollection", namespaces)).deletes == (), "there is no such thing"
    apps = replace(TERMS, listed=frozenset({GroupResource("argoproj.io", "applications")}))
    assert of(rule("delete", "applications", "argoproj.io"), terms=apps).deletes == (("applications.argoproj.io", "everywhere"),)
    assert of(rule("delete", "applications", "argoproj.io")).deletes == ()


# --- what closes ways -----------------------------------------------------------------------------


def test_the_profile_hardened_closes_what_its_policies_refuse() -> None:
    everything = Rule(frozenset({"*"}), frozenset({"*"}), frozenset({"*"}))
    posture = of(everything, terms=HARDENED)
    assert ways(posture) == {
        Way.IMPERSONATE,
        Way.POLICIES,
        Way.RIGHTS,
        Way.KUBELETS,
        Way.WEBHOOKS,
        Way.UNREAD,
        Way.OUR_SECRETS,
        Way.SECRETS,
    }
    minting = of(MINT, terms=HARDENED)
    assert (minting.held, minting.becoming) == (True, NOBODY)
    assert [(opening.way, opening.closed_by) for opening in minting.openings] == [(Way.TOKENS, "the profile hardened")]


def test_the_jail_closes_writes_to_policies_for_whom_it_names() -> None:
    jailed = replace(TERMS, jailed=frozenset({"kiro"}))
    write = rule("update create", "validatingadmissionpolicies mutatingwebhookconfigurations", ADMISSION)
    assert of(write, terms=jailed).held
    assert not of(write, terms=replace(TERMS, jailed=frozenset({"lint"}))).held


def test_an_authorizer_closes_what_it_refuses() -> None:
    rbac = rights(IMPERSONATE)
    first = assess(identity(), rbac, TERMS)
    asked = questions(first)
    assert Request("impersonate", "", "groups") in asked
    refused = dict.fromkeys(asked, False)
    second = assess(identity(), rbac, TERMS, refused)
    assert (second.held, second.becoming) == (True, NOBODY)
    assert [opening.closed_by for opening in second.openings] == ["an authorizer"]
    one_left = refused | {Request("impersonate", "", "users"): True}
    assert not assess(identity(), rbac, TERMS, one_left).held
    unanswered = {request: answer for request, answer in refused.items() if request.resource != "users"}
    assert not assess(identity(), rbac, TERMS, unanswered).held, "what nobody has said is not refused"


def test_an_authorizer_that_allows_more_than_rbac() -> None:
    posture = assess(identity(), Rbac({}, []), TERMS, {request: way is Way.IMPERSONATE for way, request in PROBES})
    assert ways(posture) == {Way.IMPERSONATE}
    assert posture.becoming == ANYBODY
    assert "another authorizer than RBAC" in posture.openings[0].sentence


def _covers(wide: Becoming, narrow: Becoming) -> bool:
    probes = ["alice", "bob", "somebody", "system:node:n", "system:serviceaccount:shop:ci", "system:serviceaccount:agents:kiro"]
    return all(wide.covers(probe) for probe in [*probes, *(narrow.users - {"*"})] if narrow.covers(probe))


@settings(max_examples=150, deadline=None)
@given(st.lists(bindings(), max_size=4), bindings())
def test_another_binding_never_lessens_what_an_agent_could_do(
    some: list[tuple[Binding, tuple[Rule, ...]]], one: tuple[Binding, tuple[Rule, ...]]
) -> None:
    def posture(all_of: list[tuple[Binding, tuple[Rule, ...]]]) -> Posture:
        return assess(identity(), Rbac({each.role: rules for each, rules in all_of}, [each for each, _ in all_of]), TERMS)

    before, after = posture(some), posture([*some, one])
    assert ways(before) <= ways(after)
    assert {kind for kind, _ in before.deletes} <= {kind for kind, _ in after.deletes}
    assert _covers(after.becoming, before.becoming)
    assert before.held or not after.held


# --- what is said ---------------------------------------------------------------------------------


def test_every_way_has_its_words_and_its_remedy() -> None:
    assert set(WHAT) == set(REMEDY) == set(Way)


def test_a_way_names_what_gives_it_and_what_helps() -> None:
    posture = of(MINT, within="shop")
    assert posture.openings[0].sentence == (
        "CanMintTokens in shop: it may issue tokens of other ServiceAccounts; given by RoleBinding/b in shop (ClusterRole/r). "
        "Remedy: take create on serviceaccounts/token away, or name those accounts in the AgentIdentity."
    )


def findings(*postures: Posture, asked: bool = True) -> Findings:
    return Findings("prod-eu-1", Profile.STANDARD, asked, postures)


def test_the_report_says_who_is_not_held_and_why() -> None:
    text = as_markdown(findings(of(MINT, within="shop"), replace(of(rule("delete", "namespaces")), agent="lint")))
    assert "**NOT HELD: kiro** (1 of 2 agents)" in text
    assert "| kiro | **NO: CanMintTokens** | 0 kinds | shop/* | 1 |" in text
    assert "| lint | yes | 1 kinds | nobody | 0 |" in text
    assert "- Could delete, if a second human signs: namespaces everywhere" in text
    assert "Only RBAC was looked at" in as_markdown(findings(asked=False))
    assert "There is no AgentIdentity" in as_markdown(findings())


def test_the_report_is_no_table_of_an_agents_own_making() -> None:
    becoming = people("a|b\nc", "x")
    assert "a\\|b c, x" in as_markdown(findings(replace(of(), becoming=becoming)))


def test_the_report_for_machines() -> None:
    tree = as_json(findings(of(MINT, within="shop")))
    assert (tree["held"], tree["authorizersAsked"], tree["agents"][0]["reason"]) == (False, True, "CanMintTokens")
    way = tree["agents"][0]["waysRound"][0]
    assert (way["direct"], way["where"], way["by"], way["closedBy"]) == (True, "in shop", ["RoleBinding/b in shop (ClusterRole/r)"], "")
    assert tree["agents"][0]["couldBecome"] == {"users": [], "serviceAccounts": ["shop/*"]}
