"""What is refused when a setting is created or changed: lock-outs, weak or doubled keys, two people of one name."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from countersign.domain.request import GroupResource
from countersign.domain.resources import (
    ApprovalRules,
    ProtectedEnvironment,
    ProtectFrom,
    Registration,
    Requirement,
    Reviewer,
    ReviewerKey,
    Selector,
    Subject,
    SubjectKind,
)
from countersign.domain.selfcheck import able_to_sign, check_environment, check_identity, check_reviewer
from tests.support import sshkeygen
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.objects import NOW, account, change_request, environment, identity, key_of, person, snapshot, user

USER, GROUP = SubjectKind.USER, SubjectKind.GROUP
ERIN = user("erin@example.com", "system:authenticated", "staff")  # who writes the identities
WORLD = snapshot(environment(), person("alice"), person("bob", usernames=("bob@example.com", "oidc:bob")), identity())


def named(name: str, **fields: Any) -> Subject:
    return Subject(USER, name, **fields)


def group(name: str) -> Subject:
    return Subject(GROUP, name)


BAD_SUBJECTS = [
    (named("system:serviceaccount:agents:kiro"), "cluster's own"),
    (named("system:*"), "cluster's own"),
    (named("system:masters"), "cluster's own"),
    (named("*"), "cluster's own"),
    (named("s*"), "cluster's own"),
    (named("?ystem:*"), "cluster's own"),
    (named("*-bot"), "cluster's own"),
    (named("*", groups=("system:authenticated",)), "cluster's own"),
    (named("*", extra={"authentication.kubernetes.io/credential-id": ("*",)}), "cluster's own"),
    (named("*", extra={"authentication.kubernetes.io/credential-id": ("X509SHA256=1", "JTI=?")}), "cluster's own"),
    (named("bob@example.com", extra={"authentication.kubernetes.io/credential-id": ("X509SHA256=*",)}), "is also the Reviewer bob"),
    (named("erin@*.com", groups=("staff",)), "matches you"),
    (group("staff"), "matches you"),
    (group("system:authenticated"), "cluster's own"),
    (group("system:masters"), "cluster's own"),
    (group("system:serviceaccounts"), "cluster's own"),
    (group("system:serviceaccounts:"), "cluster's own"),
    (group("system:serviceaccounts:kube-system"), "cluster's own"),
    (group("system:nodes"), "cluster's own"),
    (account("kube-system", "*"), "cluster's own"),
    (account("kube-system", "namespace-controller"), "cluster's own"),
    (account("countersign", "countersign-webhook"), "Countersign's own"),
    (account("countersign", "countersign-operator"), "Countersign's own"),
    (account("countersign", "*"), "Countersign's own"),
    (group("system:serviceaccounts:countersign"), "Countersign's own"),
    (account("agents", "ki*"), "named exactly"),
    (named("bob@example.com"), "is also the Reviewer bob"),
    (named("oidc:b?b"), "is also the Reviewer bob"),
    (named("bob@example.com", groups=("system:authenticated",)), "is also the Reviewer bob"),
]
GOOD_SUBJECTS = [
    account("agents", "kiro"),
    account("agents", "*"),
    account("kube-system", "my-agent"),
    account("countersign", "some-agent"),
    group("system:serviceaccounts:agents"),
    group("ai-agents"),
    named("kiro"),
    named("arn:aws:sts::1:assumed-role/kiro/*"),
    named("*", groups=("ai-agents",)),
    named("*", extra={"agent": ("*",)}),
    named("bob@example.com", groups=("ai-agents",)),
    named("bob@example.com", extra={"agent": ("kiro",)}),
    named("bob@example.com", extra={"authentication.kubernetes.io/credential-id": ("X509SHA256=1f",)}),
]


@pytest.mark.parametrize(("subject", "why"), BAD_SUBJECTS)
def test_an_identity_that_would_lock_out_is_refused(subject: Subject, why: str) -> None:
    errors = check_identity(identity("x", account("agents", "fine"), subject), WORLD, our_namespace="countersign", by=ERIN).errors
    assert any(why in error for error in errors), errors


@pytest.mark.parametrize("subject", GOOD_SUBJECTS)
def test_an_identity_that_is_well(subject: Subject) -> None:
    found = check_identity(identity("x", subject), WORLD, our_namespace="countersign", by=ERIN)
    assert (found.errors, found.warnings) == ((), ())


def test_under_sponsor_from_username_the_agent_may_bear_its_humans_name() -> None:
    own = identity("x", named("bob@example.com"), sponsors=(), sponsor_from_username=True)
    assert check_identity(own, WORLD, our_namespace="countersign", by=ERIN).errors == ()


def test_an_identity_without_a_sponsor_or_a_subject() -> None:
    (error,) = check_identity(identity("x", named("kiro"), sponsors=()), WORLD, our_namespace="c", by=ERIN).errors
    assert "sponsor" in error
    (error,) = check_identity(replace(identity("x"), subjects=()), WORLD, our_namespace="c", by=ERIN).errors
    assert "subject" in error


def test_a_sponsor_nobody_knows_is_a_warning() -> None:
    found = check_identity(identity("x", named("kiro"), sponsors=("alice", "oidc:bob", "alcie")), WORLD, our_namespace="c", by=ERIN)
    assert found.errors == ()
    (unknown, _) = found.warnings
    assert "'alcie'" in unknown


def test_sponsors_who_leave_nobody_to_sign_are_a_warning() -> None:
    found = check_identity(identity("x", sponsors=("alice", "oidc:bob")), WORLD, our_namespace="c", by=ERIN)
    (warning,) = found.warnings
    assert "Everybody who could sign" in warning
    keyless = snapshot(environment(), person("alice"), person("bob", keys=()))
    assert "Everybody" in "".join(check_identity(identity("x"), keyless, our_namespace="c", by=ERIN).warnings)
    nobody = snapshot(environment(), person("alice", keys=()))
    assert check_identity(identity("x"), nobody, our_namespace="c", by=ERIN).warnings == (), "there is nobody yet"


# ── reviewers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SESSIONS = snapshot(environment(), person("bob"), identity("team", named("kiro-*"), named("dave", groups=("ai",))))
OWN_NAME = snapshot(environment(), person("bob"), identity("own", named("*@example.com"), sponsors=(), sponsor_from_username=True))


def with_keys(*keys: tuple[str, str]) -> Reviewer:
    return replace(person("erin"), keys=tuple(ReviewerKey(name, text) for name, text in keys))


@pytest.mark.parametrize(
    ("new", "world", "why"),
    [
        (person("erin", usernames=("oidc:bob",)), WORLD, "belongs to the Reviewer bob"),
        (person("erin", keys=(key_of("bob"),)), WORLD, "belongs to the Reviewer bob"),
        (person("erin", keys=(key_of("a"), key_of("a"))), WORLD, "are the same"),
        (person("erin", usernames=("system:serviceaccount:a:b",)), WORLD, "not a person's"),
        (person("erin", usernames=("kiro-7",)), SESSIONS, "is an agent's (team)"),
        (with_keys(("a", "ssh-ed25519 rubbish")), WORLD, "The key 'a':"),
        (with_keys(("a", sshkeygen.pair("rsa-2048").public_key)), WORLD, "3072 is the least"),
        (with_keys(("a", key_of("a").public_key), ("a", key_of("b").public_key)), WORLD, "Two keys are called 'a'"),
        (with_keys(("a", key_of("bob").public_key + " another comment")), WORLD, "belongs to the Reviewer bob"),
    ],
)
def test_a_reviewer_is_refused(new: Reviewer, world: Any, why: str) -> None:
    errors = check_reviewer(new, world, NOW).errors
    assert any(why in error for error in errors), errors


@pytest.mark.parametrize(
    ("new", "world"),
    [
        (person("erin"), WORLD),
        (person("erin", keys=()), WORLD),
        (person("bob", usernames=("bob@example.com", "third")), WORLD),
        (person("dave", usernames=("dave",)), SESSIONS),
        (person("erin"), OWN_NAME),
        (with_keys(("a", SoftwareAuthenticator().public_key)), WORLD),
    ],
)
def test_a_reviewer_that_is_well(new: Reviewer, world: Any) -> None:
    assert check_reviewer(new, world, NOW).errors == ()


def test_an_expired_key_is_a_warning() -> None:
    expired = replace(person("erin"), keys=(ReviewerKey("old", key_of("erin").public_key, NOW),))
    found = check_reviewer(expired, WORLD, NOW)
    assert found.errors == ()
    assert "'old' has expired" in found.warnings[0]
    assert check_reviewer(expired, WORLD, NOW - timedelta(seconds=1)).warnings == ()


# ── environments ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_more_signatures_than_people_is_a_warning_until_registration_closes() -> None:
    too_many = environment("x", required=3)
    early, late = (check_environment(too_many, WORLD, closed=closed, now=NOW) for closed in (False, True))
    assert (len(early.errors), len(early.warnings)) == (0, 1)
    assert (len(late.errors), len(late.warnings)) == (1, 0)
    assert "requires 3 signatures, and 2 people could sign (alice, bob)" in late.errors[0]
    assert check_environment(environment("x", required=2), WORLD, closed=True, now=NOW).errors == ()


HARD = SoftwareAuthenticator()
EXPIRED = replace(person("old"), keys=(ReviewerKey("k", key_of("old").public_key, NOW),))
PEOPLE = snapshot(
    person("a", teams=("sre",)),
    person("b", teams=("web", "sre"), keys=(HARD,)),
    person("c", keys=()),
    EXPIRED,
    replace(person("e"), keys=(ReviewerKey("k", "rubbish"),)),
)


@pytest.mark.parametrize(
    ("rules", "people"),
    [
        (ApprovalRules(), ("a", "b")),
        (ApprovalRules(teams=("sre",)), ("a", "b")),
        (ApprovalRules(teams=("web",)), ("b",)),
        (ApprovalRules(hardware_keys_only=True), ("b",)),
        (ApprovalRules(teams=("none",)), ()),
    ],
)
def test_who_could_sign(rules: ApprovalRules, people: tuple[str, ...]) -> None:
    assert able_to_sign(replace(environment(), approvals=rules), PEOPLE, NOW) == people
    if "a" in people:
        assert "old" in able_to_sign(replace(environment(), approvals=ApprovalRules()), PEOPLE, NOW - timedelta(seconds=1))


BROAD = snapshot(environment(), person("bob"), identity("x", account("agents", "*"), group("ai"), named("kiro-*")))


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (environment("x", exceptions=(account("agents", "kiro"),)), "agents are never excepted"),
        (environment("x", exceptions=(account("agents", "*"),)), "agents are never excepted"),
        (environment("x", exceptions=(group("ai"),)), "agents are never excepted"),
        (environment("x", exceptions=(named("kiro-7"),)), "agents are never excepted"),
        (environment("x", exceptions=(named("kiro-*"),)), "agents are never excepted"),
        (environment("x", selector=Selector({"kube-countersign.dev/agent": "kiro"})), "a label that Countersign writes itself"),
        (environment("x", selector=Selector({}, (Requirement("kube-countersign.dev/protected", "Exists"),))), "writes itself"),
        (environment("x", resources=(GroupResource("", "namespaces"),)), "guarded already"),
        (environment("x", resources=(GroupResource("kube-countersign.dev", "approvals"),)), "guarded already"),
        (environment("x", ProtectFrom.EVERYONE, resources=(GroupResource("", "pods"),)), "The kubelets delete pods themselves"),
    ],
)
def test_an_environment_is_refused(new: ProtectedEnvironment, why: str) -> None:
    errors = check_environment(new, BROAD, closed=False, now=NOW).errors
    assert any(why in error for error in errors), errors


@pytest.mark.parametrize(
    "new",
    [
        environment("x", ProtectFrom.EVERYONE, exceptions=(account("ci", "deployer"), group("ops"), named("bob@*"))),
        environment("x", selector=Selector({"team": "payments"}), resources=(GroupResource("argoproj.io", "applications"),)),
        environment(),
    ],
)
def test_an_environment_that_is_well(new: ProtectedEnvironment) -> None:
    found = check_environment(new, BROAD, closed=True, now=NOW)
    assert (found.errors, found.warnings) == ((), ())


WITHOUT_DEFAULT = snapshot(environment("other"), person("bob"))
AFTER_REQUESTS = replace(WITHOUT_DEFAULT, reviewers={}, requests={"x": change_request()})


@pytest.mark.parametrize(
    ("new", "world", "refused"),
    [
        (environment(), WITHOUT_DEFAULT, True),
        (environment(registration=Registration.OPEN), WITHOUT_DEFAULT, True),
        (environment(), AFTER_REQUESTS, True),
        (environment(registration=Registration.CLOSED), WITHOUT_DEFAULT, False),
        (environment("more"), WITHOUT_DEFAULT, False),
        (environment(), replace(WITHOUT_DEFAULT, reviewers={}), False),
        (environment(), WORLD, False),
    ],
)
def test_default_cannot_be_written_anew_with_registration_open(new: ProtectedEnvironment, world: Any, refused: bool) -> None:
    errors = check_environment(new, world, closed=False, now=NOW).errors
    assert any("open registration again" in error for error in errors) is refused
