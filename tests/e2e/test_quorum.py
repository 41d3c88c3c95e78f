"""How many people, which people, and until when: the life of a change request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.controlplane.api import OURS, path
from tests.controlplane.cluster import Cluster
from tests.e2e.people import People
from tests.e2e.story import Person, Story, condition

TTL, COOL_OFF = 10, 3


@pytest.fixture(scope="module")
def two_of_two(story: Story, people: People) -> Iterator[str]:
    with story.environment("two", required=2) as name:
        yield name


@pytest.fixture(scope="module")
def of_the_team(story: Story, people: People) -> Iterator[str]:
    with story.environment("team", required=1, teams=[people.team]) as name:
        yield name


@pytest.fixture
def from_people(story: Story, people: People) -> Iterator[str]:
    with story.environment("people", protect_from="People", required=1) as name:
        yield name


@pytest.fixture
def hardware(story: Story, people: People) -> Iterator[str]:
    with story.environment("hardware", required=1, hardwareKeysOnly=True) as name:
        yield name


@pytest.fixture
def quick(story: Story, people: People) -> Iterator[str]:
    with story.environment("quick", required=1, useWithin="2s") as name:
        yield name


# --- how many -------------------------------------------------------------------------------------


def test_two_of_two_are_needed(story: Story, people: People, two_of_two: str) -> None:
    url = path("namespaces", story.in_environment(two_of_two))
    request = story.ask("kiro", url)
    assert story.request(request)["spec"]["required"] == 2
    assert story.request(request)["spec"]["environments"] == sorted(["default", two_of_two])

    story.signed(request, people.bob)
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    assert reply.request == request
    assert f"needs 2 people to sign {request} (1 of 2, until" in reply.message
    status = story.wait_for_status(request, lambda status: len(status.get("approvals", [])) == 1, "one signature")
    assert status["outcome"] == "Pending"
    assert condition(status, "Approved").get("status") != "True"

    story.signed(request, people.carol)
    status = story.wait_for(request, "Approved")
    assert [each["reviewer"] for each in status["approvals"]] == ["bob", "carol"]
    story.passes("kiro", url)


def test_one_person_twice_is_one(story: Story, people: People, two_of_two: str) -> None:
    """With another key, another username, and another name of the Approval."""
    url = path("namespaces", story.in_environment(two_of_two))
    request = story.ask("kiro", url)
    story.signed(request, people.dave)
    again = story.approve(request, people.dave_again, key="second", name=f"{request}-again")
    assert again.fault == "SignedAlready", str(again)
    assert "has signed" in again.message
    assert len(story.approvals(request)) == 1, "what adds nothing is not stored"
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    assert "(1 of 2, " in reply.message
    status = story.wait_for_status(request, lambda status: bool(status.get("approvals")), "one signature")
    assert [each["reviewer"] for each in status["approvals"]] == [people.dave.name]
    assert status["outcome"] == "Pending"
    story.signed(request, people.bob)
    story.passes("kiro", url)


def test_a_human_nobody_knows_needs_one_more(cluster: Cluster, story: Story, people: People, from_people: str) -> None:
    """`admin` is nobody's username: whoever uses it might be the one who signs."""
    namespace = story.in_environment(from_people)
    url = path("namespaces", namespace)
    ran = cluster.kubectl("admin", "delete", "namespace", namespace)
    assert ran.returncode != 0
    [waiting] = story.requests_for(namespace)
    request = waiting["metadata"]["name"]
    assert waiting["spec"]["required"] == 2
    assert f"needs 2 people to sign {request} (0 of 2" in ran.stderr
    assert "ssh-keygen -Y sign -n approve@kube-countersign.dev" in ran.stderr
    assert "Who can sign: " in ran.stderr

    story.signed(request, people.bob)
    assert "(1 of 2, " in story.delete("admin", url).message
    story.signed(request, people.carol)
    story.passes("admin", url)


def test_a_known_human_needs_as_many_as_the_environment_says_and_does_not_count(story: Story, people: People, from_people: str) -> None:
    url = path("namespaces", story.in_environment(from_people))
    request = story.ask("alice", url)
    assert story.request(request)["spec"]["required"] == 1
    reply = story.approve(request, people.alice)
    assert reply.fault == "IsTheRequester", str(reply)
    story.signed(request, people.bob)
    story.passes("alice", url)


# --- which people ---------------------------------------------------------------------------------


def test_only_the_team_counts(story: Story, people: People, of_the_team: str) -> None:
    url = path("namespaces", story.in_environment(of_the_team))
    request = story.ask("kiro", url)
    status = story.wait_for(request, "Pending")
    assert people.dave.name in status["eligibleReviewers"]
    # bob is not in the team: for the environment `default` his signature counts, for the team's it does not.
    story.signed(request, people.bob)
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    assert "(1 of 1, " not in reply.message, "nobody is told that all have signed while one is missing"
    status = story.wait_for_status(request, lambda status: bool(status.get("approvals")), "bob's signature")
    assert status["outcome"] == "Pending"
    story.signed(request, people.dave)
    story.wait_for(request, "Approved")
    story.passes("kiro", url)


def test_each_environment_is_judged_by_itself(story: Story, people: People, of_the_team: str, two_of_two: str) -> None:
    """One wants two people, the other one of its team: bob and carol satisfy the first only, dave counts for both."""
    url = path("namespaces", story.in_environment(of_the_team, two_of_two))
    request = story.ask("kiro", url)
    assert story.request(request)["spec"]["required"] == 2
    assert story.request(request)["spec"]["environments"] == sorted(["default", of_the_team, two_of_two])
    story.signed(request, people.bob, people.carol)
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    assert "(2 of 2, " not in reply.message
    status = story.wait_for_status(request, lambda status: len(status.get("approvals", [])) == 2, "two signatures")
    assert status["outcome"] == "Pending"
    story.signed(request, people.dave)
    story.wait_for(request, "Approved")
    story.passes("kiro", url)


def test_one_of_the_team_and_one_more_are_enough_for_both(story: Story, people: People, of_the_team: str, two_of_two: str) -> None:
    url = path("namespaces", story.in_environment(of_the_team, two_of_two))
    request = story.ask("kiro", url)
    story.signed(request, people.dave)
    assert story.delete("kiro", url).outcome == "Pending"
    story.signed(request, people.bob)
    story.passes("kiro", url)


def test_only_hardware_keys_count(story: Story, people: People, hardware: str) -> None:
    url = path("namespaces", story.in_environment(hardware))
    request = story.ask("kiro", url)
    # It counts for the environment `default`, which takes any key.
    story.signed(request, people.bob)
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    touched = story.approve(request, people.frank, key="sk-ecdsa")
    assert touched.ok, str(touched)
    story.wait_for(request, "Approved")
    story.passes("kiro", url)


# --- until when -----------------------------------------------------------------------------------


def test_what_is_not_used_in_time_ends(story: Story, people: People, quick: str) -> None:
    url = path("namespaces", story.in_environment(quick))
    first = story.ask("kiro", url)
    story.signed(first, people.bob)
    time.sleep(3)
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    assert reply.request != first
    assert "The round before this one is over: it was approved, but not used before " in reply.message
    assert story.request(reply.request)["spec"]["round"] == 2
    status = story.wait_for(first, "Expired")
    assert "not used before" in status["message"]
    assert condition(status, "Settled")["status"] == "True"
    late = story.approve(first, people.carol)
    assert late.fault == "RequestEnded", str(late)
    story.signed(reply.request, people.bob)
    story.passes("kiro", url)


@pytest.fixture(scope="module")
def hurried(cluster: Cluster, people: People) -> Iterator[None]:
    """Requests live for seconds. The tests that need it stand together at the end, so that this happens once."""
    cluster.reconfigure(requestTTL=f"{TTL}s", coolOff=f"{COOL_OFF}s")
    yield
    cluster.reconfigure(requestTTL="24h", coolOff="1h")


@pytest.fixture
def waiting(hurried: None, story: Story) -> tuple[str, str]:
    """A namespace's path and the change request of kiro's deletion of it."""
    url = path("namespaces", story.namespace())
    return url, story.ask("kiro", url)


@pytest.mark.parametrize("approved_first", [False, True], ids=["while it waits", "after another approved"])
def test_one_rejection_ends_it_and_asking_again_opens_a_round_after_the_cool_off(
    story: Story, people: People, waiting: tuple[str, str], *, approved_first: bool
) -> None:
    url, first = waiting
    if approved_first:
        story.signed(first, people.bob)
    rejecting = story.reject(first, people.carol, "payments-v2 is not there yet")
    assert rejecting.ok, str(rejecting)

    reply = story.delete("kiro", url)
    assert reply.outcome == "Rejected", str(reply)
    assert reply.request == first
    assert reply.message.startswith("REJECTED BY A HUMAN, nothing was deleted: ")
    assert "carol rejected it: payments-v2 is not there yet" in reply.message
    assert "approve" not in reply.message
    assert reply.causes["humanActionRequired"] == "true"
    late = story.approve(first, people.dave)
    assert late.fault == "RequestEnded", str(late)
    assert "carol rejected it" in late.message
    status = story.wait_for(first, "Rejected")
    assert "payments-v2 is not there yet" in status["message"]
    assert condition(status, "Settled")["status"] == "True"
    assert condition(status, "Approved")["status"] == "False"
    assert len(story.requests_for(url.rpartition("/")[2])) == 1, "the rejection is the answer until the cool-off is over"

    time.sleep(COOL_OFF + 1)
    second = story.ask("kiro", url)
    assert second != first
    assert story.request(second)["spec"]["round"] == 2
    assert story.request(first)["status"]["outcome"] == "Rejected"
    # What was signed for the first round is worth nothing in the second.
    old = story.signature(people.bob.key(), story.request(first)["spec"]["statement"])
    assert story.bring(second, people.bob, old).fault == "SignatureRefused"
    story.signed(second, people.bob)
    story.passes("kiro", url)


def test_a_rejection_is_withdrawn_by_nothing(cluster: Cluster, story: Story, people: People, waiting: tuple[str, str]) -> None:
    """Not by its reviewer's approval, and not by taking the reviewer's key away."""
    url, request = waiting
    assert story.reject(request, people.judy, "no").ok
    assert story.approve(request, people.judy).fault == "RequestEnded"
    cluster.api.patch(path("reviewers", people.judy.name), {"spec": {"keys": None}})
    assert story.delete("kiro", url).outcome == "Rejected"


@pytest.mark.parametrize("who", ["sponsor", "stranger", "borrowed"])
def test_who_may_not_sign_may_not_reject(story: Story, people: People, waiting: tuple[str, str], who: str) -> None:
    url, request = waiting
    if who == "borrowed":
        person, fault = Person("bob", "bob", people.carol.keys), "KeyNotRegistered"
    else:
        person, fault = {"sponsor": (people.alice, "IsASponsor"), "stranger": (people.mallory, "NotRegistered")}[who]
    reply = story.reject(request, person, "no")
    assert reply.fault == fault, str(reply)
    story.signed(request, people.bob)
    story.passes("kiro", url)


def test_what_nobody_signs_expires(story: Story, people: People, waiting: tuple[str, str]) -> None:
    url, first = waiting
    expires = story.request(first)["spec"]["expiresAt"]
    left = datetime.fromisoformat(expires).timestamp() - time.time()
    assert 0 < left <= TTL
    signature = story.signature(people.bob.key(), story.request(first)["spec"]["statement"])
    time.sleep(left + 1)
    late = story.bring(first, people.bob, signature)
    assert late.fault == "RequestEnded", str(late)
    assert f"it expired at {expires}" in late.message
    status = story.wait_for(first, "Expired")
    assert condition(status, "Settled")["status"] == "True"
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    assert f"The round before this one is over: it expired at {expires}" in reply.message
    assert story.request(reply.request)["spec"]["round"] == 2


def test_a_signature_in_time_is_worth_nothing_after_the_request_has_expired(story: Story, people: People, waiting: tuple[str, str]) -> None:
    """`useWithin` is an hour, and yet no approval outlives what it was given for."""
    url, first = waiting
    story.signed(first, people.bob)
    left = datetime.fromisoformat(story.request(first)["spec"]["expiresAt"]).timestamp() - time.time()
    time.sleep(left + 1)
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    assert reply.request != first
    assert story.request(reply.request)["spec"]["round"] == 2
    assert f"changerequests.{OURS}" in reply.causes["changeRequest"]
