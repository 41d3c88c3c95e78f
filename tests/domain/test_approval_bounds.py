"""Counting signatures stays quick and right, however many somebody has piled up behind the webhook's back."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest

from countersign.domain.approval import MOST_APPROVALS, Phase, standing
from countersign.domain.resources import Approval, ChangeRequest, Meta, Reviewer, Verdict
from tests.support.objects import NOW, approval, change_request, key_of, person, snapshot

LATER = NOW + timedelta(minutes=30)
PILE = 10_000
TWO = change_request(required=2)
WORN = person("mallory", keys=tuple(key_of(f"mallory-{number}") for number in range(64)))
BOUND = 5.0  # seconds, on a machine that others use as well; measured 0.3 on an idle one


def pile(model: Approval, count: int = PILE) -> list[Approval]:
    return [replace(model, meta=Meta(f"pile-{number:05}", created=NOW)) for number in range(count)]


def timed(request: ChangeRequest, *objects: object) -> Phase:
    began = time.perf_counter()
    phase = standing(request, snapshot(request, person("bob"), person("carol"), WORN, *objects), LATER).phase
    assert time.perf_counter() - began < BOUND
    return phase


FORGED = approval(TWO, "mallory", key=key_of("not registered"))
VALID = approval(TWO, "mallory", key=key_of("mallory-63"))
STALE = approval(TWO, "mallory", key=key_of("mallory-63"), text="another statement")


@pytest.mark.parametrize("model", [FORGED, VALID, STALE], ids=["forged", "valid", "over another text"])
def test_ten_thousand_are_one_person_at_the_most(model: Approval) -> None:
    assert timed(TWO, *pile(model)) is Phase.PENDING


def test_what_was_signed_before_the_pile_counts() -> None:
    early = [replace(approval(TWO, who), meta=Meta(who, created=NOW - timedelta(minutes=1))) for who in ("bob", "carol")]
    assert timed(TWO, *early, *pile(FORGED)) is Phase.USABLE


def test_what_comes_after_the_pile_does_not_and_nothing_is_let_through_for_it() -> None:
    late = [approval(TWO, who, at=NOW + timedelta(minutes=1)) for who in ("bob", "carol")]
    assert timed(TWO, *pile(FORGED), *late) is Phase.PENDING
    assert timed(TWO, *pile(FORGED, MOST_APPROVALS - 2), *late) is Phase.USABLE


def test_a_rejection_counts_wherever_it_stands() -> None:
    late = approval(TWO, "bob", at=NOW + timedelta(minutes=1), verdict=Verdict.REJECT)
    assert timed(TWO, *pile(VALID), late) is Phase.REJECTED


def test_a_thousand_reviewers_with_the_most_keys() -> None:
    crowd: list[Reviewer] = [replace(WORN, meta=Meta(f"r-{number}"), usernames=(f"r-{number}@example.com",)) for number in range(1000)]
    assert timed(TWO, *crowd, *pile(FORGED, 1000)) is Phase.PENDING
