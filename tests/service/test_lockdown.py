"""After tampering: nothing guarded passes for an agent, signed for or not, until a second human says that the incident is over."""

import pytest

from countersign.domain.answer import Reason
from tests.service._emergency import ADMIN, INCIDENT, lifted, lock
from tests.support.replicas import KIRO_USER, Story, cause, request_in


@pytest.fixture
def story() -> Story:
    return Story()


def test_what_was_signed_for_passes_no_more(story: Story) -> None:
    request = request_in(story.delete())
    assert story.sign(request).allowed
    assert story.delete().allowed
    lock(story)
    answer = story.delete()
    assert (answer.allowed, answer.reason, answer.code) == (False, Reason.LOCKED, 403)
    assert answer.message.splitlines()[0].startswith("LOCKED DOWN, nothing was deleted: namespace")
    assert INCIDENT in answer.message.splitlines()[0][:200]
    assert (cause(answer, "outcome"), cause(answer, "incident")) == ("Locked", INCIDENT)
    assert answer.chain["agents"] == ["kiro"]


def test_nor_does_own_work(story: Story) -> None:
    story.change("protectedenvironments", "default", ownWork="24h")
    story.namespace("mine", annotations={"kube-countersign.dev/created-by": KIRO_USER.username})
    assert story.delete("mine").reason is Reason.OWN_WORK
    lock(story)
    assert story.delete("mine").reason is Reason.LOCKED


def test_no_change_request_is_opened_meanwhile(story: Story) -> None:
    lock(story)
    assert story.delete().reason is Reason.LOCKED
    assert story.delete(dry_run=True).reason is Reason.LOCKED
    assert story.world.requests() == []


def test_people_are_not_held_by_it(story: Story) -> None:
    lock(story)
    assert story.delete(by=ADMIN).allowed


def test_nor_is_what_is_only_audited(story: Story) -> None:
    story.change("protectedenvironments", "default", mode="Audit")
    lock(story)
    assert story.delete().reason is Reason.AUDIT


def test_a_memory_that_missed_it_allows_nothing(story: Story) -> None:
    """The allow waits for a live look, which sees the status."""
    request = request_in(story.delete())
    assert story.sign(request).allowed
    late = story.replica()
    assert story.delete(at=late).allowed
    late.state.freeze()
    lock(story)
    assert story.delete(at=late).reason is Reason.LOCKED


def test_it_takes_a_second_human_to_lift_it_whoever_asks(story: Story) -> None:
    exempt = {"kind": "User", "name": ADMIN.username}
    story.change("protectedenvironments", "default", **{"except": [exempt]})
    lock(story)
    held = story.write("protectedenvironments", "default", lifted(INCIDENT), by=ADMIN)
    assert held.reason is Reason.PENDING
    assert story.delete().reason is Reason.LOCKED
    request = request_in(held)
    (stored,) = [each for each in story.world.listed("changerequests") if each["metadata"]["name"] == request]
    assert stored["spec"]["change"]["lines"] == [f'spec.lockdownLifted: absent -> "{INCIDENT}"']
    assert story.sign(request).allowed
    assert story.sign(request, "carol").allowed  # who asks is nobody registered: one signature more
    assert story.write("protectedenvironments", "default", lifted(INCIDENT), by=ADMIN).reason is Reason.APPROVED
    assert story.delete().reason is Reason.PENDING


def test_an_agent_never_lifts_it(story: Story) -> None:
    lock(story)
    assert story.write("protectedenvironments", "default", lifted(INCIDENT), by=KIRO_USER).reason is Reason.FORBIDDEN


def test_the_next_incident_locks_again(story: Story) -> None:
    story.change("protectedenvironments", "default", lockdownLifted=INCIDENT)
    lock(story)
    assert story.delete().reason is Reason.PENDING
    lock(story, "77aa")
    assert story.delete().reason is Reason.LOCKED


def test_nobody_lifts_it_ahead(story: Story) -> None:
    """The number of an incident cannot be known; but neither is a guess free."""
    assert story.write("protectedenvironments", "default", lifted("77aa"), by=ADMIN).reason is Reason.PENDING


def test_taking_the_number_out_again_is_free_and_locks_again(story: Story) -> None:
    story.change("protectedenvironments", "default", lockdownLifted=INCIDENT)
    lock(story)
    assert story.write("protectedenvironments", "default", lambda document: document["spec"].pop("lockdownLifted"), by=ADMIN).allowed
    assert story.delete().reason is Reason.LOCKED
