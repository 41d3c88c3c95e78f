"""Which signatures count, and which may be created (docs/rules.md, Signatures, Quorum and its time)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from countersign.domain.approval import MOST_APPROVALS, Phase, check, tally
from countersign.domain.identify import Agent, Human, Machine
from countersign.domain.request import UserInfo
from countersign.domain.resources import (
    Approval,
    ChangeRequest,
    Cluster,
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
from tests.domain._signed import BOTH, LATER, ONE, PEOPLE, SRE, TEAMS, TWO, WEB, state
from tests.support import sshkeygen
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.objects import (
    HOUR,
    KIRO,
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

BOB = user("bob@example.com")


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
