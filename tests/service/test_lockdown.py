"""After tampering: nothing guarded passes for an agent, signed for or not, until a second human says that the incident is over."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from countersign.domain.answer import Reason
from tests.support.objects import HOUR, MINUTE, user
from tests.support.replicas import KIRO_USER, Story, cause, request_in
from tests.support.world import Json

ADMIN = user("erin@example.com", "system:authenticated")
INCIDENT = "3f9a1c2e"


@pytest.fixture
def story() -> Story:
    return Story()


def lock(story: Story, incident: str = INCIDENT) -> None:
    """As the operator does."""
    lockdown = {"incident": incident, "since": "2026-11-22T12:00:00Z", "guard": "countersign-guards", "what": "changed"}
    story.world.update("protectedenvironments", "default", lambda document: document.update(status={"lockdown": lockdown}))


def lifted(incident: str) -> Callable[[Json], None]:
    return lambda document: document["spec"].update(lockdownLifted=incident)


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


# ── broken glass ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def glass(
    story: Story, ahead: timedelta = 5 * MINUTE, by: str = ADMIN.username, why: str = "all reviewers have left"
) -> Callable[[Json], None]:
    since = (story.world.now + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")
    return lambda document: document["spec"].update(glass={"from": since, "by": by, "why": why})


@pytest.fixture
def strict(story: Story) -> Story:
    story.change("protectedenvironments", "default", protectFrom="Everyone")
    return story


def test_a_human_does_without_signatures_for_an_hour(strict: Story) -> None:
    assert strict.delete(by=ADMIN).reason is Reason.PENDING
    assert strict.write("protectedenvironments", "default", glass(strict), by=ADMIN).allowed
    assert strict.delete(by=ADMIN).reason is Reason.PENDING, "not before it was announced for a while"
    strict.wait(5 * MINUTE)
    answer = strict.delete(by=ADMIN)
    assert (answer.allowed, answer.reason) == (True, Reason.GLASS_BROKEN)
    assert answer.audit["reason"] == "GlassBroken"
    strict.wait(HOUR)
    assert strict.delete(by=ADMIN).reason is Reason.PENDING


def test_with_it_reviewers_are_registered_again(strict: Story) -> None:
    """Reviewers are lost, registration is closed: the case it is made for."""
    strict.change("protectedenvironments", "default", registration="Closed")
    new = {"usernames": ["dora@example.com"]}
    assert strict.write("reviewers", "dora", new, by=ADMIN).reason is Reason.PENDING
    strict.write("protectedenvironments", "default", glass(strict), by=ADMIN)
    strict.wait(5 * MINUTE)
    assert strict.write("reviewers", "dora", new, by=ADMIN).reason is Reason.GLASS_BROKEN


def test_and_a_lockdown_is_lifted(story: Story) -> None:
    lock(story)
    story.write("protectedenvironments", "default", glass(story), by=ADMIN)
    story.wait(5 * MINUTE)
    assert story.write("protectedenvironments", "default", lifted(INCIDENT), by=ADMIN).reason is Reason.GLASS_BROKEN
    assert story.delete().reason is Reason.PENDING


def test_it_frees_no_agent_and_no_machine(strict: Story) -> None:
    machine = user("system:serviceaccount:ci:deployer")
    strict.write("protectedenvironments", "default", glass(strict), by=ADMIN)
    strict.wait(5 * MINUTE)
    assert strict.delete().reason is Reason.PENDING
    assert strict.delete(by=machine).reason is Reason.PENDING


def test_no_agent_and_no_machine_breaks_it(story: Story) -> None:
    machine = user("system:serviceaccount:ci:deployer")
    announced = glass(story, by=KIRO_USER.username)
    assert story.write("protectedenvironments", "default", announced, by=KIRO_USER).reason is Reason.FORBIDDEN
    refused = story.write("protectedenvironments", "default", glass(story, by=machine.username), by=machine)
    assert refused.reason is Reason.INVALID
    assert "Only a human" in refused.message


@pytest.mark.parametrize("ahead", [-HOUR, timedelta(0), 4 * MINUTE, 25 * HOUR])
def test_it_is_announced_ahead(story: Story, ahead: timedelta) -> None:
    refused = story.write("protectedenvironments", "default", glass(story, ahead), by=ADMIN)
    assert refused.reason is Reason.INVALID
    assert (story.world.now + 5 * MINUTE).strftime("%Y-%m-%dT%H:%M:%SZ") in refused.message


def test_in_ones_own_name(story: Story) -> None:
    refused = story.write("protectedenvironments", "default", glass(story, by="bob@example.com"), by=ADMIN)
    assert refused.reason is Reason.INVALID
    assert ADMIN.username in refused.message


def test_what_was_announced_stays_writable(story: Story) -> None:
    """Others change other things in the environment meanwhile and afterwards."""
    story.write("protectedenvironments", "default", glass(story), by=ADMIN)
    for _ in range(3):
        story.wait(HOUR)
        other = user("ops@example.com")
        assert story.write("protectedenvironments", "default", lambda document: document["spec"].update(ownWork="1h"), by=other).allowed


def test_whoever_sees_it_in_time_takes_it_out_again(strict: Story) -> None:
    strict.write("protectedenvironments", "default", glass(strict), by=ADMIN)
    strict.wait(MINUTE)
    guard = user("carol@example.com")
    assert strict.write("protectedenvironments", "default", lambda document: document["spec"].pop("glass"), by=guard).allowed
    strict.wait(10 * MINUTE)
    assert strict.delete(by=ADMIN).reason is Reason.PENDING


def test_not_in_another_environment(story: Story) -> None:
    story.environment("prod")
    assert story.write("protectedenvironments", "prod", glass(story), by=ADMIN).reason is Reason.INVALID
