"""From whom a change to our settings is held back (docs/rules.md, Removing protection)."""

from dataclasses import replace

import pytest

from countersign.domain.classify import Setting
from countersign.domain.identify import identify
from countersign.domain.register import SettingHold, notes, setting_hold
from countersign.domain.request import Operation, UserInfo
from countersign.domain.resources import (
    AgentIdentity,
    Change,
    Mode,
    ProtectedEnvironment,
    ProtectFrom,
    Registration,
    Reviewer,
    ReviewerKey,
    Subject,
    SubjectKind,
    Target,
)
from countersign.domain.snapshot import Snapshot
from countersign.domain.sshkey import parse_public_key
from tests.support.objects import account, environment, identity, key_of, person, snapshot, user

Obj = AgentIdentity | Reviewer | ProtectedEnvironment | None
HUMAN, DEPLOYER, CONTROLLER = user("erin@example.com"), user("system:serviceaccount:ci:deployer"), user("system:kube-controller-manager")
PEOPLE, EVERYONE, AGENTS = ProtectFrom.PEOPLE, ProtectFrom.EVERYONE, ProtectFrom.AGENTS
CLOSED = Registration.CLOSED


def held(old: Obj, new: Obj, who: UserInfo, world: Snapshot, *, kind: str = "", operation: Operation | None = None) -> SettingHold:
    plural = (
        kind or {AgentIdentity: "agentidentities", Reviewer: "reviewers", ProtectedEnvironment: "protectedenvironments"}[type(old or new)]
    )
    operation = operation or (Operation.CREATE if old is None else Operation.DELETE if new is None else Operation.UPDATE)
    change = Setting(Target("kube-countersign.dev", "v1alpha1", plural, "x"), Change(), operation)
    return setting_hold(change, old, new, identify(who, world.identities.values(), ()), who, world)


def names(result: SettingHold) -> set[str]:
    return {each.meta.name for each in result.hold.held}


@pytest.mark.parametrize(
    ("level", "who", "is_held"),
    [
        (AGENTS, HUMAN, False),
        (AGENTS, DEPLOYER, False),
        (PEOPLE, HUMAN, True),
        (PEOPLE, DEPLOYER, False),
        (EVERYONE, HUMAN, True),
        (EVERYONE, DEPLOYER, True),
        (EVERYONE, CONTROLLER, False),
    ],
)
@pytest.mark.parametrize("weaker", ["deleted", "audited"])
def test_an_environment_is_held_for_itself(level: ProtectFrom, who: UserInfo, is_held: bool, weaker: str) -> None:
    old = environment("prod", level)
    new = None if weaker == "deleted" else replace(old, mode=Mode.AUDIT)
    result = held(old, new, who, snapshot(old, environment("other", EVERYONE)))
    assert names(result) == ({"prod"} if is_held else set())
    assert result.weaker


def test_the_environment_as_it_was_says_who_holds_it() -> None:
    old, new = environment("prod", PEOPLE), environment("prod", AGENTS)
    assert names(held(old, new, HUMAN, snapshot(old))) == {"prod"}
    assert names(held(new, old, HUMAN, snapshot(old))) == set()


def test_what_weakens_nothing_is_free_to_people() -> None:
    old = environment("prod", EVERYONE)
    assert held(old, replace(old, approvals=replace(old.approvals, required=5)), HUMAN, snapshot(old)).weaker == ()
    assert names(held(None, environment("new", EVERYONE), HUMAN, snapshot(old))) == set()
    assert names(held(None, identity("new"), HUMAN, snapshot(old))) == set()
    assert (
        names(held(identity(), replace(identity(), subjects=(account("agents", "kiro"), account("a", "b"))), HUMAN, snapshot(old))) == set()
    )


@pytest.mark.parametrize("new", [None, identity(sponsors=("mallory",)), identity("kiro", account("agents", "other"))])
def test_an_identity_is_held_by_the_strictest_of_all(new: Obj) -> None:
    world = snapshot(environment(), environment("b", PEOPLE), environment("c", EVERYONE))
    assert names(held(identity(), new, HUMAN, world)) == {"b", "c"}
    assert names(held(identity(), new, DEPLOYER, world)) == {"c"}
    assert names(held(identity(), new, HUMAN, snapshot(environment()))) == set()


ERIN = person("erin")
OPEN_WORLD = snapshot(environment(), identity(sponsors=("oidc:bob",)))
CLOSED_WORLD = snapshot(environment(registration=CLOSED), environment("sre", teams=("sre",)), environment("b", teams=("web",)))
BOB = person("bob", usernames=("bob@example.com", "oidc:bob"))
ADDITIONS: list[tuple[Obj, Reviewer]] = [
    (None, ERIN),
    (person("bob"), BOB),
    (person("bob"), person("bob", keys=(key_of("bob"), key_of("more")))),
    (person("bob"), person("bob", teams=("sre",))),
]


@pytest.mark.parametrize(("old", "new"), ADDITIONS)
def test_registering_is_free_while_it_is_open(old: Obj, new: Reviewer) -> None:
    for who in (HUMAN, DEPLOYER):
        assert held(old, new, who, OPEN_WORLD).hold.held == ()


@pytest.mark.parametrize(("old", "new"), ADDITIONS)
@pytest.mark.parametrize("who", [HUMAN, DEPLOYER, user("kubernetes-admin", "system:masters")])
def test_registering_is_guarded_for_everybody_once_it_is_closed(old: Obj, new: Reviewer, who: UserInfo) -> None:
    assert names(held(old, new, who, CLOSED_WORLD)) == ({"default", "sre"} if new.teams else {"default"})


def test_but_for_default_except() -> None:
    excepted = environment(registration=CLOSED, exceptions=(account("ci", "deployer"),))
    result = held(None, ERIN, DEPLOYER, snapshot(excepted, environment("other")))
    assert (result.hold.held, result.hold.excepted) == ((), (excepted,))
    assert names(held(None, ERIN, HUMAN, snapshot(excepted))) == {"default"}
    elsewhere = environment("other", exceptions=(account("ci", "deployer"),))
    assert names(held(None, ERIN, DEPLOYER, snapshot(environment(registration=CLOSED), elsewhere))) == {"default", "other"}


def test_who_may_register_without_a_signature_is_nobodys_own_affair() -> None:
    """Under `Agents` a human changes `default` freely. Not its exceptions, where another environment protects from people: who stands there registers people, who sign for that one too."""
    default, strict = environment(registration=CLOSED), environment("prod", PEOPLE)
    world = snapshot(default, strict)
    ghost = replace(default, exceptions=(Subject(SubjectKind.USER, "erin@example.com"),))
    assert names(held(default, ghost, HUMAN, world)) == {"prod"}
    assert names(held(default, replace(default, mode=Mode.AUDIT), HUMAN, world)) == set()
    assert names(held(ghost, default, HUMAN, world)) == set()
    assert names(held(None, ghost, HUMAN, snapshot(strict))) == {"prod"}, "deleted and written anew"
    assert names(held(None, default, HUMAN, snapshot(strict))) == set()
    assert names(held(default, ghost, HUMAN, snapshot(default))) == set()
    other = replace(strict, exceptions=ghost.exceptions)
    assert names(held(replace(other, exceptions=()), other, HUMAN, world)) == {"prod"}
    assert names(held(None, replace(ghost, meta=replace(ghost.meta, name="new")), HUMAN, world)) == set()


def test_without_default_nobody_can_register() -> None:
    result = held(None, ERIN, HUMAN, snapshot(environment("other", exceptions=(Subject(SubjectKind.USER, "*"),))))
    assert result.closed_for_good
    assert result.weaker


def test_taking_a_key_or_a_reviewer_away_is_free() -> None:
    world = snapshot(environment("default", EVERYONE, registration=CLOSED))
    assert names(held(BOB, None, HUMAN, world)) == set()
    assert names(held(BOB, replace(BOB, keys=()), HUMAN, world)) == set()
    assert names(held(BOB, replace(BOB, usernames=("bob@example.com",)), HUMAN, world)) == set(), "nobody's sponsor"


@pytest.mark.parametrize(("level", "expected"), [(AGENTS, set()), (PEOPLE, {"default"})])
@pytest.mark.parametrize("registration", [None, CLOSED])
def test_shedding_the_name_that_bars_a_sponsor_is_as_changing_the_sponsors(
    level: ProtectFrom, expected: set[str], registration: Registration | None
) -> None:
    world = snapshot(environment("default", level, registration=registration), identity(sponsors=("oidc:bob",)))
    assert names(held(BOB, replace(BOB, usernames=("bob@example.com",)), HUMAN, world)) == expected
    assert names(held(BOB, replace(BOB, usernames=("bob@example.com",), keys=()), HUMAN, world)) == set()


# ── what whoever made the change is told ────────────────────────────────────────────────────────────────────────────────────────────


def told(old: Obj, new: Obj, who: UserInfo = HUMAN, world: Snapshot = OPEN_WORLD) -> str:
    return "\n".join(notes(old, new, held(old, new, who, world).weaker))


def test_whose_key_is_registered_is_said_by_its_fingerprint() -> None:
    """A mutating policy of an agent may have put another key in the place of the person's own."""
    more = person("bob", keys=(key_of("bob"), key_of("more")))
    fingerprints = {name: parse_public_key(key_of(name).public_key).fingerprint for name in ("bob", "more")}
    assert told(None, person("bob")) == f"from now on bob signs with key-0 {fingerprints['bob']} (compare with ssh-keygen -l)"
    assert fingerprints["more"] in told(person("bob"), more)
    assert fingerprints["bob"] not in told(person("bob"), more)
    assert told(more, more) == told(more, person("bob")) == ""
    said_otherwise = replace(BOB, keys=tuple(replace(key, public_key=f"{key.public_key.strip()} of my laptop") for key in BOB.keys))
    assert told(BOB, said_otherwise) == "", "another comment is no other key"
    many = person("bob", keys=tuple(key_of(f"key{index}") for index in range(8)))
    assert " and 3 more (compare" in told(None, many)
    assert "(unreadable)" in told(None, replace(BOB, keys=(ReviewerKey("odd", "ssh-ed25519 odd"),)))


def test_what_is_taken_away_is_said_where_it_passes() -> None:
    old = environment("prod", AGENTS, required=2)
    assert told(old, replace(old, mode=Mode.AUDIT), world=snapshot(old)) == "this takes protection away: it only audits"
    assert told(old, None, world=snapshot(old)) == "this takes protection away: an environment is deleted"
    assert told(old, replace(old, exclude=()), world=snapshot(old)) == ""
    assert "its sponsors change" in told(identity(), identity(sponsors=("bob",)), world=snapshot())


def test_what_a_new_identity_or_environment_says_is_repeated() -> None:
    assert told(None, identity()) == "the agent kiro is ServiceAccount 'agents/kiro'"
    assert told(None, environment("prod")) == ""
    assert told(None, environment("prod", exceptions=(account("ci", "x"),))) == "the environment prod lets through ServiceAccount 'ci/x'"


def test_what_fits_no_rule_is_closed() -> None:
    world = snapshot()
    assert held(identity(), environment(), HUMAN, world, kind="agentidentities").closed_for_good
    assert held(BOB, None, HUMAN, world, operation=Operation.UPDATE).closed_for_good
    assert held(None, environment(), HUMAN, world, operation=Operation.UPDATE).closed_for_good
    assert held(None, None, HUMAN, world, kind="reviewers").closed_for_good
    for old, new in ((environment(), None), (environment(), environment()), (identity(), None), (identity(), identity())):
        assert held(old, new, HUMAN, world, kind="reviewers").closed_for_good
    assert held(ERIN, BOB, HUMAN, world, kind="agentidentities").closed_for_good
