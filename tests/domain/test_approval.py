"""Which signatures count, and which may be created (docs/rules.md, Signatures, Quorum and its time)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.domain.approval import MOST_APPROVALS, Phase, Standing, check, standing, tally
from countersign.domain.identify import Agent, Human, Machine
from countersign.domain.request import UserInfo
from countersign.domain.resources import (
    Approval,
    ChangeRequest,
    Cluster,
    Losses,
    Meta,
    Requester,
    Reviewer,
    ReviewerKey,
    Subject,
    SubjectKind,
    Verdict,
)
from countersign.domain.signing import ApprovalRefused, Fault
from countersign.domain.sshsig import REJECT
from tests.support import sshkeygen
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.objects import (
    HOUR,
    KIRO,
    MINUTE,
    NOW,
    account,
    approval,
    change_request,
    environment,
    identity,
    key_of,
    person,
    snapshot,
    user,
)

LATER = NOW + 30 * MINUTE
T1, T2, T3 = (NOW + count * MINUTE for count in (1, 2, 3))
SECOND = timedelta(seconds=1)
TWO = change_request(required=2)
ONE = change_request()
PEOPLE = tuple(person(name) for name in ("alice", "bob", "carol", "dave"))
BOB = user("bob@example.com")
HUMAN = Requester("erin@example.com", "erin@example.com")


def state(request: ChangeRequest, *objects: object, now: datetime = LATER, **options: Any) -> Standing:
    return standing(request, snapshot(request, *objects), now, **options)


# ── one signature ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def expiring(at: datetime) -> Reviewer:
    return replace(person("bob"), keys=(ReviewerKey("old", key_of("bob").public_key, at),))


TAMPERED = replace(ONE, environments=())
FOREIGN = change_request(cluster=Cluster("prod-eu-1", "another"))
OTHER = change_request(
    requester=Requester("system:serviceaccount:agents:rogue", "system:serviceaccount:agents:rogue", ("rogue",), ("alice",))
)
EARLIER = change_request(target=replace(ONE.target, uid="the-namespace-before"))
LAST_ROUND = change_request(round=2)
BY_BOB = change_request(requester=Requester("bob@example.com", "bob@example.com"))
HARDWARE = SoftwareAuthenticator()
UNTOUCHED = HARDWARE.sign(ONE.statement.encode(), "approve@kube-countersign.dev", flags=0)
MARKED = identity("marks", Subject(SubjectKind.USER, "bob@*"), sponsors=("zoe",))

COUNTING: list[tuple[str, ChangeRequest, tuple[object, ...]]] = [
    ("a reviewer's", ONE, (approval(ONE),)),
    ("in the last second", ONE, (approval(ONE, at=ONE.expires_at),)),
    ("by a key that has a second to live", ONE, (approval(ONE), expiring(LATER + timedelta(seconds=1)))),
    ("by a hardware key", ONE, (approval(ONE, key=HARDWARE), person("bob", keys=(HARDWARE,)))),
    ("by the second of two keys", ONE, (approval(ONE), person("bob", keys=(key_of("other"), key_of("bob"))))),
    ("beside a registered key that cannot be read", ONE, (
        approval(ONE), replace(person("bob"), keys=(ReviewerKey("broken", "ssh-ed25519 !"), *person("bob").keys)),
    )),
]  # fmt: skip
NOT_COUNTING: list[tuple[str, ChangeRequest, tuple[object, ...], str]] = [
    ("created after expiry", ONE, (approval(ONE, at=ONE.expires_at + timedelta(seconds=1)),), "after the change request expired"),
    ("without a time", ONE, (replace(approval(ONE), meta=Meta("x")),), "after the change request expired"),
    ("by nobody registered", ONE, (approval(ONE, "nobody"),), "no Reviewer 'nobody'"),
    ("by a sponsor", ONE, (approval(ONE, "alice"), *PEOPLE), "is a sponsor"),
    ("by a sponsor whom the spec names by username", change_request(requester=replace(ONE.requester, sponsors=("bob@example.com",))),
     (), "is a sponsor"),
    ("by somebody who is a sponsor now", ONE, (approval(ONE), identity(sponsors=("alice", "bob"))), "is a sponsor"),
    ("by the sponsor of a second identity of that agent", ONE,
     (approval(ONE), identity(), identity("second", account("agents", "*"), sponsors=("bob",))), "is a sponsor"),
    ("by the sponsor of an identity that only the request names", change_request(requester=replace(ONE.requester, agents=("gone", "team"))),
     (identity("team", Subject(SubjectKind.GROUP, "g"), sponsors=("bob@example.com",)),), "is a sponsor"),
    ("by the requester", BY_BOB, (), "asked for this change"),
    ("by the requester under another username", BY_BOB, (person("bob", usernames=("bob@example.com", "oidc:bob")),), "asked for this change"),
    ("by an agent's username", ONE, (approval(ONE), MARKED, identity()), "is an agent's"),
    ("by somebody who is an agent under another username", ONE,
     (approval(ONE), person("bob", usernames=("oidc:bob", "bob@example.com")), MARKED, identity()), "is an agent's"),
    ("by a machine's username", ONE, (approval(ONE), person("bob", usernames=("bob", "system:serviceaccount:a:b"))), "is not a person's"),
    ("by a key of somebody else", ONE, (approval(ONE, key=key_of("carol")),), "is not registered for bob"),
    ("by a key taken away", ONE, (approval(ONE), person("bob", keys=())), "is not registered for bob"),
    ("by a key that has expired this second", ONE, (approval(ONE), expiring(LATER)), "expired at"),
    ("for another text", ONE, (approval(ONE, text=ONE.statement + "x"),), "does not match the text"),
    ("for another agent's request", ONE, (approval(ONE, text=OTHER.statement),), "does not match the text"),
    ("for another object of that name", ONE, (approval(ONE, text=EARLIER.statement),), "does not match the text"),
    ("for another round", ONE, (approval(ONE, text=LAST_ROUND.statement),), "does not match the text"),
    ("for another cluster", ONE, (approval(ONE, text=FOREIGN.statement),), "does not match the text"),
    ("of a request of another cluster", FOREIGN, (), "about another cluster"),
    ("of a tampered request", TAMPERED, (), "is not what its fields say"),
    ("of a request with a planted statement", replace(ONE, statement=OTHER.statement), (approval(ONE, text=OTHER.statement),),
     "is not what its fields say"),
    ("a rejection's signature", ONE, (approval(ONE, namespace=REJECT),), "not for approve@kube-countersign.dev"),
    ("a signature of another program", ONE, (approval(ONE, namespace="git"),), "not for approve@kube-countersign.dev"),
    ("rubbish", ONE, (replace(approval(ONE), signature="rubbish"),), "cannot be read"),
    ("by a hardware key nobody touched", ONE, (replace(approval(ONE), signature=UNTOUCHED), person("bob", keys=(HARDWARE,))),
     "without being touched"),
    ("of another team", ONE, (approval(ONE), environment(teams=("sre",)), person("bob", teams=("web",))), "none of the teams"),
    ("by software where hardware is needed", ONE, (approval(ONE), environment(hardware_keys_only=True)), "Only hardware keys"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "objects"), [pytest.param(*row[1:], id=row[0]) for row in COUNTING])
def test_a_signature_counts(request_: ChangeRequest, objects: tuple[object, ...]) -> None:
    found = state(request_, *objects)
    assert found.phase is Phase.USABLE
    assert [vote.reviewer for vote in found.tally.votes] == ["bob"]


@pytest.mark.parametrize(("request_", "objects", "why"), [pytest.param(*row[1:], id=row[0]) for row in NOT_COUNTING])
def test_a_signature_does_not_count(request_: ChangeRequest, objects: tuple[object, ...], why: str) -> None:
    if not any(isinstance(each, Approval) for each in objects):
        objects = (approval(request_), *objects)
    found = state(request_, *objects)
    assert found.phase is Phase.PENDING
    assert found.tally.votes == ()
    assert found.tally.usable_until is None
    (sentence,) = found.tally.refused.values()
    assert why in sentence


# ── who asks now ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SHARED = change_request(requester=Requester("session-1", '["team/Group:g"]', ("team",), ("alice",)))


@pytest.mark.parametrize(
    ("who", "counts"),
    [
        (Agent("session-2", ("team",), ("alice",), SHARED.requester.key), True),
        (Agent("session-2", ("team",), ("alice", "bob"), SHARED.requester.key), False),
        (Agent("bob@example.com", ("team",), ("alice",), SHARED.requester.key), False),
        (Agent("session-2", ("team",), ("bob@example.com",), SHARED.requester.key), False),
        (Human("bob@example.com", "bob"), False),
        (Machine("system:serviceaccount:a:b", builtin=False), True),
        (None, True),
    ],
)
def test_who_asks_now_cannot_have_signed(who: Agent | Human | Machine | None, counts: bool) -> None:
    """Agents that only globs and groups match share one act: another session may use what the first one asked for."""
    team = identity("team", Subject(SubjectKind.GROUP, "g"))
    assert (state(SHARED, approval(SHARED), team, who=who).phase is Phase.USABLE) is counts


# ── the quorum ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_of_two_are_needed() -> None:
    assert state(TWO, approval(TWO)).phase is Phase.PENDING
    assert state(TWO, approval(TWO), approval(TWO, "carol")).phase is Phase.USABLE


def test_one_person_twice_is_one() -> None:
    twice = state(TWO, approval(TWO, name="first"), approval(TWO, name="second"))
    assert twice.phase is Phase.PENDING
    assert "one person counts once" in twice.tally.refused["second"]
    keys = (key_of("bob"), key_of("spare"))
    with_two_keys = state(TWO, approval(TWO, name="a"), approval(TWO, name="b", key=key_of("spare")), person("bob", keys=keys))
    assert with_two_keys.phase is Phase.PENDING


def test_signing_again_does_not_lengthen_the_window() -> None:
    bob = person("bob", keys=(key_of("bob"), key_of("spare")))
    again = (approval(ONE, name="a", at=T1), approval(ONE, name="b", at=T3, key=key_of("spare")))
    assert state(ONE, *again, bob).tally.quorum_at == T1


def test_one_key_in_two_names_is_one() -> None:
    """Registering refuses it, but two registrations at the same moment could both pass."""
    found = state(TWO, approval(TWO), approval(TWO, "twin", key=key_of("bob")), person("bob"), person("twin", keys=(key_of("bob"),)))
    assert found.phase is Phase.PENDING
    assert "one key counts once" in found.tally.refused[f"{TWO.meta.name}-twin"]


def test_a_later_signature_counts_where_the_first_does_not() -> None:
    found = state(ONE, approval(ONE, name="a", key=key_of("lost")), approval(ONE, name="b", at=NOW + 2 * MINUTE))
    assert [vote.approval for vote in found.tally.votes] == ["b"]


def test_what_the_spec_requires_stands_though_the_environment_asks_for_less_now() -> None:
    assert state(TWO, approval(TWO), environment(required=1)).phase is Phase.PENDING


def test_what_the_environment_requires_now_stands_though_the_spec_asked_for_less() -> None:
    assert state(ONE, approval(ONE), environment(required=2)).phase is Phase.PENDING
    assert state(ONE, approval(ONE), approval(ONE, "carol"), environment(required=2)).phase is Phase.USABLE


BOTH = change_request(environments=("a", "b"), required=1)
SRE, WEB = environment("a", teams=("sre",)), environment("b", teams=("web",))
TEAMS = (person("bob", teams=("sre",)), person("carol", teams=("web",)), person("dave", teams=("sre", "web")))


def test_each_environment_is_judged_by_itself_and_one_signature_counts_for_each() -> None:
    only_sre = state(BOTH, approval(BOTH), SRE, WEB, *TEAMS)
    assert only_sre.phase is Phase.PENDING
    assert {each.environment: each.satisfied for each in only_sre.tally.judgements} == {"a": True, "b": False}
    assert state(BOTH, approval(BOTH), approval(BOTH, "carol"), SRE, WEB, *TEAMS).phase is Phase.USABLE
    assert state(BOTH, approval(BOTH, "dave"), SRE, WEB, *TEAMS).phase is Phase.USABLE


def test_a_signature_that_counts_nowhere_does_not_fill_up_what_the_spec_requires() -> None:
    strangers = person("carol", teams=("web",))
    found = state(TWO, approval(TWO), approval(TWO, "carol"), environment(teams=("sre",)), person("bob", teams=("sre",)), strangers)
    assert found.phase is Phase.PENDING
    assert [vote.reviewer for vote in found.tally.votes] == ["bob"]


def test_environments_that_match_now_are_judged_besides_those_of_the_spec() -> None:
    more = environment("more", required=2)
    assert state(ONE, approval(ONE)).phase is Phase.USABLE
    assert state(ONE, approval(ONE), environments=(more,)).phase is Phase.PENDING
    gone = change_request(environments=("default", "gone"), required=1)
    assert state(gone, approval(gone)).phase is Phase.USABLE


def test_without_any_environment_the_number_in_the_spec_is_what_is_left() -> None:
    bare = change_request(environments=("gone",), required=2)
    assert state(bare, approval(bare)).phase is Phase.PENDING
    assert state(bare, approval(bare), approval(bare, "carol")).phase is Phase.USABLE


@pytest.mark.parametrize(
    ("requester", "objects", "who", "required"),
    [
        (HUMAN, (), None, 2),
        (HUMAN, (*PEOPLE, person("erin")), None, 1),
        (Requester(KIRO, KIRO, ("kiro",), ("alice",)), (), None, 1),
        (Requester("system:serviceaccount:ci:deployer", "system:serviceaccount:ci:deployer"), (), None, 1),
        (Requester("admin", "admin", ("kiro",), ("admin",)), (), Human("admin", ""), 2),
    ],
)
def test_a_human_who_is_nobody_registered_needs_one_more(
    requester: Requester, objects: tuple[object, ...], who: Human | None, required: int
) -> None:
    request = change_request(requester=requester)
    assert tally(request, snapshot(request, *objects), now=LATER, who=who).required == required
    assert state(request, approval(request), *objects, who=who).phase is (Phase.USABLE if required == 1 else Phase.PENDING)
    assert state(request, approval(request), approval(request, "carol"), *objects, who=who).phase is Phase.USABLE


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("now", "phase"),
    [
        (T2 - SECOND, Phase.USABLE),  # a clock behind the API server's
        (T2 + HOUR - SECOND, Phase.USABLE),
        (T2 + HOUR, Phase.ENDED),
        (ONE.expires_at, Phase.ENDED),
    ],
)
def test_the_window_begins_with_the_signature_that_completes_the_quorum(now: datetime, phase: Phase) -> None:
    signed = (approval(TWO, at=T2), approval(TWO, "carol", at=T1), approval(TWO, "dave", at=T3))
    found = state(TWO, *signed, now=now)
    assert found.phase is phase
    assert found.tally.quorum_at == T2, "more signatures do not move it"
    assert bool(found.why) is (phase is Phase.ENDED)


def test_when_a_signature_no_longer_counts_the_quorum_is_that_of_the_others() -> None:
    signed = (approval(TWO, at=T1), approval(TWO, "carol", at=T2), approval(TWO, "dave", at=T3))
    revoked = (person("bob", keys=()), person("carol"), person("dave"))
    assert state(TWO, *signed).tally.quorum_at == T2
    assert state(TWO, *signed, *revoked).tally.quorum_at == T3


def test_signatures_of_one_moment_go_by_name() -> None:
    found = state(TWO, approval(TWO, "dave", name="b", at=T1), approval(TWO, name="a", at=T1), approval(TWO, "carol", name="c", at=T1))
    assert [vote.approval for vote in found.tally.votes] == ["a", "b", "c"]


def test_the_shortest_window_of_all_environments_counts_and_none_outlives_the_request() -> None:
    short, long = environment("a", use_within=10 * MINUTE), environment("b", use_within=100 * HOUR)
    request = change_request(environments=("a", "b"))
    assert state(request, approval(request, at=T1), short, long).tally.usable_until == T1 + 10 * MINUTE
    assert state(request, approval(request, at=T1), long).tally.usable_until == request.expires_at


def test_the_last_hurdle_is_what_the_slowest_environment_needed() -> None:
    signed = (approval(BOTH, at=T1), approval(BOTH, "carol", at=T3))
    assert state(BOTH, *signed, SRE, WEB, *TEAMS).tally.quorum_at == T3


def test_a_request_ends_at_its_expiry() -> None:
    assert state(ONE, now=ONE.expires_at - SECOND).phase is Phase.PENDING
    ended = state(ONE, now=ONE.expires_at)
    assert (ended.phase, ended.why) == (Phase.ENDED, "it expired at 2026-11-23T12:00:00Z")


# ── rejection and losses ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_rejection_ends_it_whatever_becomes_of_who_rejected() -> None:
    no = replace(approval(ONE, "carol", verdict=Verdict.REJECT, at=T3), comment="we need it")
    for people in (PEOPLE, (person("bob"),), (person("bob"), person("carol", keys=()))):
        found = state(ONE, approval(ONE), approval(ONE, "dave"), no, *people)
        assert (found.phase, found.why) == (Phase.REJECTED, "carol rejected it: we need it")
        assert found.tally.rejection == no
        assert "carol" not in {vote.reviewer for vote in found.tally.votes}


@pytest.mark.parametrize(
    ("now", "signed", "more"),
    [
        (Losses(2, 1), Losses(2, 1), False),
        (Losses(1, 0), Losses(2, 1), False),
        (Losses(3, 1), Losses(2, 1), True),
        (Losses(2, 2), Losses(2, 1), True),
        (Losses(0, 2), Losses(9, 1), True),
        (Losses(1, None), Losses(None, None), True),
        (Losses(None, None), Losses(None, None), False),
        (None, Losses(0, 0), False),
    ],
)
def test_more_to_lose_than_was_signed_for_ends_it(now: Losses | None, signed: Losses, more: bool) -> None:
    request = change_request(losses=signed)
    assert state(request, approval(request), losses=now).phase is (Phase.ENDED if more else Phase.USABLE)


# ── who is eligible ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_counts_for_one_environment_is_eligible() -> None:
    assert tally(BOTH, snapshot(BOTH, SRE, WEB, *TEAMS), now=NOW).eligible == ("bob", "carol", "dave")


def test_who_is_eligible() -> None:
    request = change_request(environments=("a",))
    people = (
        person("alice", teams=("sre",)),  # the sponsor
        person("bob", teams=("sre",)),
        person("carol", teams=("web",)),
        person("dave", teams=("sre",), keys=()),
        person("erin", teams=("web", "sre")),
        person("robot", teams=("sre",), usernames=("kiro-session",)),
    )
    agent = identity("sessions", Subject(SubjectKind.USER, "kiro-*"))
    assert tally(request, snapshot(request, SRE, agent, identity(), *people), now=NOW).eligible == ("bob", "erin")
    gone = change_request(environments=("gone",))
    assert tally(gone, snapshot(gone, SRE, agent, identity(), *people), now=NOW).eligible == ("bob", "carol", "erin")


# ── at creation ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def created(
    *objects: object, request: ChangeRequest = ONE, brought: Approval | None = None, creator: UserInfo = BOB, now: datetime = LATER
) -> Fault:
    with pytest.raises(ApprovalRefused) as refused:
        check(brought or approval(request), request, creator, snapshot(request, *objects), now)
    assert str(refused.value).endswith(".")
    return refused.value.fault


def test_a_sound_approval_may_be_created() -> None:
    check(approval(ONE), ONE, BOB, snapshot(), LATER)  # memory need not have heard of the request
    vote = check(approval(ONE), ONE, BOB, snapshot(ONE), LATER)
    assert (vote.reviewer, vote.key, vote.hardware) == ("bob", "key-0", False)
    check(approval(ONE, verdict=Verdict.REJECT), ONE, BOB, snapshot(ONE), LATER)
    check(approval(ONE), ONE, user("oidc:bob"), snapshot(ONE, person("bob", usernames=("bob@example.com", "oidc:bob"))), LATER)


def test_one_made_by_ssh_keygen_too() -> None:
    pair = sshkeygen.pair("ed25519/approval")
    bob = replace(person("bob"), keys=(ReviewerKey("real", pair.public_key),))
    signed = replace(approval(ONE), signature=pair.sign(ONE.statement.encode(), "approve@kube-countersign.dev"))
    assert check(signed, ONE, BOB, snapshot(ONE, bob), LATER).key == "real"


Row = tuple[str, Callable[[], Fault], Fault]
REFUSED: list[Row] = [
    ("an agent brings it", lambda: created(creator=user(KIRO)), Fault.AGENT),
    ("an agent under a reviewer's name", lambda: created(identity("g", Subject(SubjectKind.GROUP, "ai")), creator=user("bob@example.com", "ai")), Fault.AGENT),
    ("a ServiceAccount brings it", lambda: created(creator=user("system:serviceaccount:ci:x")), Fault.SERVICE_ACCOUNT),
    ("a node brings it", lambda: created(creator=user("system:node:x")), Fault.SERVICE_ACCOUNT),
    ("a stranger brings it", lambda: created(creator=user("mallory")), Fault.STRANGER),
    ("another reviewer brings it", lambda: created(creator=user("carol@example.com")), Fault.NOT_THIS_REVIEWER),
    ("the sponsor signs", lambda: created(brought=approval(ONE, "alice"), creator=user("alice@example.com")), Fault.SPONSOR),
    ("a sponsor of now signs", lambda: created(identity(sponsors=("alice", "bob"))), Fault.SPONSOR),
    ("a sponsor of then signs", lambda: created(request=change_request(requester=replace(ONE.requester, sponsors=("bob",)))), Fault.SPONSOR),
    ("the requester signs", lambda: created(request=BY_BOB), Fault.REQUESTER),
    ("a tampered statement", lambda: created(request=TAMPERED), Fault.TAMPERED),
    ("another cluster", lambda: created(request=FOREIGN), Fault.OTHER_CLUSTER),
    ("the wrong team", lambda: created(environment(teams=("sre",))), Fault.WRONG_TEAM),
    ("the wrong team rejects", lambda: created(environment(teams=("sre",)), brought=approval(ONE, verdict=Verdict.REJECT)), Fault.WRONG_TEAM),
    ("a software key where hardware is needed", lambda: created(environment(hardware_keys_only=True)), Fault.SOFTWARE_KEY),
    ("a key that is not registered", lambda: created(brought=approval(ONE, key=key_of("lost"))), Fault.UNKNOWN_KEY),
    ("a key that has expired", lambda: created(expiring(LATER)), Fault.EXPIRED_KEY),
    ("an approval's signature under a rejection", lambda: created(brought=replace(approval(ONE), verdict=Verdict.REJECT)), Fault.SIGNATURE),
    ("another text", lambda: created(brought=approval(ONE, text="x")), Fault.SIGNATURE),
    ("a malformed signature", lambda: created(brought=replace(approval(ONE), signature="x")), Fault.SIGNATURE),
    ("a second time", lambda: created(approval(TWO, name="first"), request=TWO), Fault.AGAIN),
    ("a second time, with another key", lambda: created(
        person("bob", keys=(key_of("bob"), key_of("spare"))), approval(TWO, name="first"), request=TWO, brought=approval(TWO, key=key_of("spare"))
    ), Fault.AGAIN),
    ("one too many", lambda: created(
        *(replace(approval(TWO, "carol", name="c"), meta=Meta(f"c-{number}", created=NOW)) for number in range(MOST_APPROVALS)), request=TWO
    ), Fault.CROWDED),
    ("after expiry", lambda: created(now=ONE.expires_at), Fault.ENDED),
    ("after a rejection", lambda: created(approval(ONE, "carol", verdict=Verdict.REJECT)), Fault.ENDED),
    ("after the window has passed", lambda: created(approval(ONE, "carol", at=NOW), now=NOW + HOUR), Fault.ENDED),
    ("after a later round was opened", lambda: created(replace(change_request(round=2), meta=Meta("next"))), Fault.ENDED),
]  # fmt: skip


@pytest.mark.parametrize(("attempt", "fault"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_creation_is_refused_with_its_reason(attempt: Callable[[], Fault], fault: Fault) -> None:
    assert attempt() is fault


def test_the_reason_is_the_key_where_the_team_would_do() -> None:
    hard = environment("a", teams=("sre",), hardware_keys_only=True)
    assert created(hard, WEB, person("bob", teams=("sre",)), request=BOTH) is Fault.SOFTWARE_KEY
    assert created(hard, WEB, person("bob", teams=("dba",)), request=BOTH) is Fault.WRONG_TEAM


def test_a_request_that_is_not_there() -> None:
    with pytest.raises(ApprovalRefused) as refused:
        check(approval(ONE), None, BOB, snapshot(), LATER)
    assert refused.value.fault is Fault.NO_REQUEST


def test_a_rejection_after_the_quorum_withdraws_it() -> None:
    check(approval(ONE, "carol", verdict=Verdict.REJECT), ONE, user("carol@example.com"), snapshot(ONE, approval(ONE)), LATER)


# ── always ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = ("alice", "bob", "carol", "dave")


@given(
    signers=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 120), st.sampled_from(NAMES)), max_size=6),
    required=st.integers(1, 3),
    gone=st.sets(st.sampled_from(NAMES), max_size=2),
    minutes=st.integers(0, 200),
)
def test_usable_means_enough_people_in_time(signers: list[tuple[str, int, str]], required: int, gone: set[str], minutes: int) -> None:
    """Against a count made in another way: of (who, when, whose key), who is no sponsor and still registered with that key."""
    request = change_request(required=required)
    approvals = [
        approval(request, who, at=NOW + at * MINUTE, key=key_of(key), name=f"a{index}") for index, (who, at, key) in enumerate(signers)
    ]
    people = [person(name) for name in NAMES if name not in gone] or [person("zoe")]
    now = NOW + minutes * MINUTE
    good = [(at, index, who) for index, (who, at, key) in enumerate(signers) if who == key and who != "alice" and who not in gone]
    firsts: dict[str, int] = {}
    for at, _, who in sorted(good):
        firsts.setdefault(who, at)
    times = sorted(firsts.values())
    expected = len(times) >= required and now < NOW + times[required - 1] * MINUTE + HOUR
    found = standing(request, snapshot(request, *approvals, *people), now)
    assert (found.phase is Phase.USABLE) is expected
