"""Somebody sets the clock, back or forward, by hours: nothing passes that was not signed for, and all is as before once it is right again.

The webhook's clock is its node's; creation times are the API server's. That the two are too far apart is noticed by the live look's adapter
(tests/contract/test_live_look.py), which the world here has not got: so this is the rule by itself.
"""

from datetime import timedelta

import pytest

from countersign.domain.answer import Reason
from tests.support.objects import HOUR, MINUTE
from tests.support.replicas import KIRO_USER, Story, request_in

STEPS = [-72 * HOUR, -3 * HOUR, -MINUTE, MINUTE, 3 * HOUR, 25 * HOUR, 24 * 365 * HOUR]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.mark.parametrize("step", STEPS)
def test_unsigned_is_refused_whatever_the_clock_says(story: Story, step: timedelta) -> None:
    story.delete()
    story.main.clock.skew = step
    for _ in range(3):
        assert not story.delete().allowed
    story.main.clock.skew = timedelta()
    assert not story.delete().allowed
    assert len(story.world.requests()) <= 2


@pytest.mark.parametrize("step", STEPS)
def test_a_rejection_stands(story: Story, step: timedelta) -> None:
    request = request_in(story.delete())
    assert story.sign(request, verdict="Reject").allowed
    story.main.clock.skew = step
    assert not story.delete().allowed
    story.main.clock.skew = timedelta()
    assert not story.delete().allowed


@pytest.mark.parametrize("step", [3 * HOUR, 25 * HOUR])
def test_forward_past_the_window_what_was_signed_is_over(story: Story, step: timedelta) -> None:
    request = request_in(story.delete())
    assert story.sign(request).allowed
    story.main.clock.skew = step
    later = story.delete()
    assert (later.allowed, later.reason) == (False, Reason.PENDING)
    assert request_in(later) != request, "a round of its own, which nobody has signed"
    story.main.clock.skew = timedelta()
    assert not story.delete().allowed, "and that is the current one now: a signature for the one before is not for it"


@pytest.mark.parametrize("step", [-3 * HOUR, -MINUTE, MINUTE])
def test_back_or_a_little_forward_what_was_signed_may_still_be_used(story: Story, step: timedelta) -> None:
    request = request_in(story.delete())
    assert story.sign(request).allowed
    story.main.clock.skew = step
    assert story.delete().allowed


def test_a_signature_from_after_the_expiry_never_counts(story: Story) -> None:
    """Its time is the API server's, which nobody at the webhook's node sets."""
    request = request_in(story.delete())
    stored = story.world.get("changerequests", request)
    assert stored is not None
    story.wait(25 * HOUR)
    story.main.clock.skew = -25 * HOUR
    assert story.sign(request).allowed, "by its own clock the webhook takes it"
    assert not story.delete().allowed, "and yet it does not count"


def test_a_key_that_has_expired_is_of_no_use_by_the_right_clock(story: Story) -> None:
    until = (story.world.now + HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = story.world.listed("reviewers")[1]["spec"]["keys"]
    story.change("reviewers", "bob", keys=[{**keys[0], "notAfter": until}])
    request = request_in(story.delete(by=KIRO_USER))
    story.main.clock.skew = 2 * HOUR
    assert not story.sign(request).allowed
    story.main.clock.skew = timedelta()
    assert story.sign(request).allowed
