"""Broken glass: for an announced hour a human, never an agent and no machine, does without signatures (docs/breaking-glass.md)."""

from datetime import timedelta

import pytest

from countersign.domain.answer import Reason
from tests.service._emergency import ADMIN, INCIDENT, glass, lifted, lock
from tests.support.objects import HOUR, MINUTE, user
from tests.support.replicas import KIRO_USER, Story, request_in
from tests.support.world import Json


@pytest.fixture
def story() -> Story:
    return Story()


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


# ── who would get through ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def anew(story: Story, since: str) -> Json:
    return {
        "protectFrom": "Everyone",
        "registration": "Closed",
        "glass": {"from": since, "by": ADMIN.username, "why": "as it stood in Git"},
    }


@pytest.mark.parametrize("minutes", [-30, 0, 4, 25 * 60])
def test_a_default_that_is_written_anew_announces_it_as_any_other(story: Story, minutes: int) -> None:
    """Deleted, which under `Agents` a human may, and created with glass that is broken already."""
    assert story.write("protectedenvironments", "default", None, by=ADMIN).allowed
    refused = story.write("protectedenvironments", "default", anew(story, at(story, minutes)), by=ADMIN)
    assert refused.reason is Reason.INVALID
    assert "so that nobody breaks it quietly" in refused.message
    assert story.write("protectedenvironments", "default", anew(story, at(story, 6)), by=ADMIN).allowed
    assert story.delete(by=ADMIN).reason is Reason.PENDING


def at(story: Story, minutes: int) -> str:
    return (story.world.now + minutes * MINUTE).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_it_cannot_be_moved_without_a_new_announcement(strict: Story) -> None:
    """Nor made longer: it lasts an hour from what was announced."""
    strict.write("protectedenvironments", "default", glass(strict, 20 * MINUTE), by=ADMIN)
    for ahead in (timedelta(0), MINUTE):
        assert strict.write("protectedenvironments", "default", glass(strict, ahead), by=ADMIN).reason is Reason.INVALID
    other = user("frank@example.com")
    assert strict.write("protectedenvironments", "default", glass(strict, 20 * MINUTE, why="another"), by=other).reason is Reason.INVALID
    assert strict.delete(by=ADMIN).reason is Reason.PENDING


@pytest.mark.parametrize("since", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_whatever_time_is_asked_for_it_is_refused_by_the_rule(story: Story, since: str) -> None:
    def change(document: Json) -> None:
        document["spec"]["glass"] = {"from": since, "by": ADMIN.username, "why": "nobody is left who could sign"}

    refused = story.write("protectedenvironments", "default", change, by=ADMIN)
    assert refused.reason is Reason.INVALID
    assert "so that nobody breaks it quietly" in refused.message


def test_whoever_announces_it_is_told_that_he_did(story: Story) -> None:
    """A mutating policy of somebody else's may have put it into his update, in his name."""
    told = story.write("protectedenvironments", "default", glass(story), by=ADMIN)
    assert told.allowed
    assert any(f"this announces broken glass: {ADMIN.username} does without signatures" in each for each in told.warnings), told.warnings
    other = story.write("protectedenvironments", "default", lambda document: document["spec"].update(ownWork="1h"), by=ADMIN)
    assert not [each for each in other.warnings if "glass" in each]
    story.write("protectedenvironments", "default", None, by=ADMIN)
    created = story.write("protectedenvironments", "default", anew(story, at(story, 6)), by=ADMIN)
    assert any("this announces broken glass" in each for each in created.warnings), created.warnings


def test_each_replica_goes_by_its_own_clock(strict: Story) -> None:
    """So what was announced begins for one of them as much earlier as its clock is ahead: five minutes at the most (docs/rules.md, The live look)."""
    early = strict.replica()
    early.clock.skew = 2 * MINUTE
    strict.write("protectedenvironments", "default", glass(strict), by=ADMIN)
    strict.wait(3 * MINUTE)
    assert strict.delete(by=ADMIN).reason is Reason.PENDING
    assert strict.delete(by=ADMIN, at=early).reason is Reason.GLASS_BROKEN


def test_a_memory_that_missed_the_end_allows_nothing(strict: Story) -> None:
    strict.write("protectedenvironments", "default", glass(strict), by=ADMIN)
    strict.wait(6 * MINUTE)
    late = strict.replica()
    assert strict.delete(by=ADMIN, at=late).reason is Reason.GLASS_BROKEN
    late.state.freeze()
    strict.world.update("protectedenvironments", "default", lambda document: document["spec"].pop("glass"))
    assert strict.delete(by=ADMIN, at=late).reason is Reason.PENDING


# ── under Widen ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def wide(strict: Story) -> Story:
    """kiro's posture is not known, so everybody could be kiro."""
    strict.change("protectedenvironments", "default", whenAgentsCanImpersonate="Widen")
    return strict


def harmless(story: Story) -> None:
    """The right was taken away from kiro, and the operator has seen it."""
    nobody = {"couldBecome": {"generation": 1, "users": [], "serviceAccounts": []}}
    story.world.update("agentidentities", "kiro", lambda document: document.update(status=nobody))


def test_nobody_whom_an_agent_could_become_announces_it(wide: Story) -> None:
    refused = wide.write("protectedenvironments", "default", glass(wide), by=ADMIN)
    assert refused.reason is Reason.INVALID
    assert "take away the agent's right first" in refused.message
    harmless(wide)
    assert wide.write("protectedenvironments", "default", glass(wide), by=ADMIN).allowed


def test_it_frees_nobody_whom_an_agent_could_become(wide: Story) -> None:
    harmless(wide)
    wide.write("protectedenvironments", "default", glass(wide), by=ADMIN)
    wide.wait(6 * MINUTE)
    assert wide.delete(by=ADMIN).reason is Reason.GLASS_BROKEN
    wide.world.update("agentidentities", "kiro", lambda document: document.pop("status"))
    assert wide.delete(by=ADMIN).reason is Reason.PENDING


def test_a_lockdown_ends_all_the_same(wide: Story) -> None:
    """Whom an agent could become is locked down as the agent is, also from lifting it: first the right is taken away, which nothing holds."""
    lock(wide)
    assert wide.write("protectedenvironments", "default", lifted(INCIDENT), by=ADMIN).reason is Reason.LOCKED
    harmless(wide)
    held = wide.write("protectedenvironments", "default", lifted(INCIDENT), by=ADMIN)
    assert held.reason is Reason.PENDING
    assert wide.sign(request_in(held)).allowed
    assert wide.sign(request_in(held), "carol").allowed
    assert wide.write("protectedenvironments", "default", lifted(INCIDENT), by=ADMIN).reason is Reason.APPROVED
