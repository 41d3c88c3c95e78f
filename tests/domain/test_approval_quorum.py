"""Quorums: how many people, for which environments, in what time, and what ends a round."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.domain.approval import Phase, standing, tally
from countersign.domain.identify import Human
from countersign.domain.resources import (
    Losses,
    Requester,
    Verdict,
)
from tests.domain._signed import BOTH, LATER, ONE, PEOPLE, SRE, TEAMS, TWO, WEB, state
from tests.support.objects import (
    HOUR,
    KIRO,
    MINUTE,
    NOW,
    approval,
    change_request,
    environment,
    key_of,
    person,
    snapshot,
)

T1, T2, T3 = (NOW + count * MINUTE for count in (1, 2, 3))


SECOND = timedelta(seconds=1)
HUMAN = Requester("erin@example.com", "erin@example.com")


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
