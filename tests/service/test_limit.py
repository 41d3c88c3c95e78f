"""How many change requests one requester may have open: past it a refusal of its own, and nothing is written (docs/rules.md, Limits)."""

import re
from collections.abc import Iterable
from datetime import timedelta

import pytest

from countersign.domain.answer import Answer, Reason
from countersign.domain.request import UserInfo
from tests.support.objects import HOUR, MINUTE, user
from tests.support.replicas import KIRO_USER, Replica, Story, cause, request_in


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def small(story: Story) -> Replica:
    """A replica that lets three wait."""
    return story.replica(most=3)


def fill(story: Story, replica: Replica, count: int, *, by: UserInfo = KIRO_USER, first: int = 0) -> list[Answer]:
    answers = []
    for number in range(first, first + count):
        story.namespace(f"team-{number}")
        answers.append(story.delete(f"team-{number}", by=by, at=replica))
    return answers


def reasons(answers: Iterable[Answer]) -> list[Reason]:
    return [answer.reason for answer in answers]


def test_past_the_limit_nothing_is_opened_and_the_refusal_says_so(story: Story, small: Replica) -> None:
    assert reasons(fill(story, small, 5)) == [Reason.PENDING] * 3 + [Reason.LIMITED] * 2
    assert len(story.world.requests()) == 3
    answer = story.delete("team-4", at=small)
    assert (answer.allowed, answer.code) == (False, 403)
    assert (cause(answer, "outcome"), cause(answer, "waiting"), cause(answer, "limit")) == ("Limited", "3", "3")
    assert cause(answer, "humanActionRequired") == "true"
    assert not cause(answer, "pollSeconds")
    first = answer.message.splitlines()[0]
    assert first.startswith("TOO MANY OPEN CHANGE REQUESTS, nothing was deleted: 3 change requests of this requester wait")
    assert 'none was opened for namespace "team-4" on prod-eu-1' in first
    assert all(request.meta.name in answer.message for request in story.world.requests())
    assert answer.audit["reason"] == "Limited"
    assert answer.audit["agents"] == "kiro"
    assert small.metrics.decisions[-1] == (False, "Limited")


def test_what_is_open_already_is_still_answered_and_can_be_used(story: Story, small: Replica) -> None:
    first, *_ = fill(story, small, 4)
    again = story.delete("team-0", at=small)
    assert (again.reason, request_in(again)) == (Reason.PENDING, request_in(first))
    assert story.sign(request_in(first), at=small).allowed
    assert story.delete("team-0", at=small).reason is Reason.APPROVED


def test_also_what_memory_does_not_know_yet(story: Story, small: Replica) -> None:
    """Another replica opened it a moment ago."""
    fill(story, small, 2)
    for name in ("team-2", "last", "none"):
        story.namespace(name)
    small.state.freeze()
    third = story.delete("team-2", at=story.replica())
    assert story.delete("last", at=small).reason is Reason.PENDING, "it has not heard of the third"
    assert story.delete("none", at=small).reason is Reason.LIMITED
    answer = story.delete("team-2", at=small)
    assert (answer.reason, request_in(answer)) == (Reason.PENDING, request_in(third))


def test_a_request_of_another_act_that_bears_the_name_is_not_taken_for_it(story: Story, small: Replica) -> None:
    """The short name is taken: then the longer ones are looked at, and there is none."""
    fill(story, small, 3)
    story.namespace("late")
    small.state.freeze()
    late = request_in(story.delete("late", at=story.replica()))
    other = story.world.get("changerequests", request_in(story.delete("team-0", at=small)))
    assert other is not None
    story.world.update("changerequests", late, lambda document: document.update(spec=other["spec"]))
    answer = story.delete("late", at=small)
    assert answer.reason is Reason.LIMITED, answer.message


def test_a_replica_counts_what_it_opened_itself_before_it_hears_of_it(story: Story, small: Replica) -> None:
    small.state.freeze()
    for number in range(5):
        story.namespace(f"team-{number}")
    small.state.thaw()
    small.state.freeze()
    answers = [story.delete(f"team-{number}", at=small) for number in range(5)]
    assert reasons(answers) == [Reason.PENDING] * 3 + [Reason.LIMITED] * 2
    assert "team-0" in story.delete("team-0", at=small).message


def test_what_it_could_not_write_does_not_count(story: Story, small: Replica) -> None:
    small.requests.broken = "create"
    assert set(reasons(fill(story, small, 6))) == {Reason.UNABLE}
    small.requests.broken = ""
    assert story.delete("team-0", at=small).reason is Reason.PENDING


def test_a_write_that_fails_gives_back_no_room_of_one_that_did_not(story: Story, small: Replica) -> None:
    """Two reviews of one request at a time: the second has written it when the first finds that it could not."""
    for number in range(4):
        story.namespace(f"team-{number}")
    small.state.freeze()
    between: list[Answer] = []

    def meanwhile(_: str) -> None:
        small.requests.meanwhile = lambda _: None
        between.append(story.delete("team-0", at=small))
        small.requests.broken = "create"

    small.requests.meanwhile = meanwhile
    assert story.delete("team-0", at=small).reason is Reason.UNABLE
    small.requests.broken = ""
    answers = [*between, *(story.delete(f"team-{number}", at=small) for number in range(1, 4))]
    assert reasons(answers) == [Reason.PENDING] * 3 + [Reason.LIMITED]


def test_where_it_cannot_look_it_is_unable_not_limited(story: Story, small: Replica) -> None:
    fill(story, small, 3)
    small.requests.broken = "get"
    assert reasons(fill(story, small, 1, first=9)) == [Reason.UNABLE]


@pytest.mark.parametrize("how", ["rejected", "approved", "expired", "target gone"])
def test_what_is_settled_makes_room(story: Story, small: Replica, how: str) -> None:
    first, *_ = fill(story, small, 3)
    match how:
        case "rejected":
            assert story.sign(request_in(first), verdict="Reject", at=small).allowed
        case "approved":
            assert story.sign(request_in(first), at=small).allowed
        case "expired":
            story.wait(timedelta(hours=24))
        case _:
            story.world.delete("namespaces", "team-0")
    assert reasons(fill(story, small, 2, first=10)) == [Reason.PENDING, Reason.PENDING if how == "expired" else Reason.LIMITED]


def test_an_approval_short_of_the_quorum_makes_no_room(story: Story, small: Replica) -> None:
    story.change("protectedenvironments", "default", approvals={"required": 2})
    first, *_ = fill(story, small, 3)
    assert story.sign(request_in(first), at=small).allowed
    assert reasons(fill(story, small, 1, first=10)) == [Reason.LIMITED]


def test_a_dry_run_is_a_dry_run(story: Story, small: Replica) -> None:
    fill(story, small, 3)
    story.namespace("other")
    assert story.delete("other", at=small, dry_run=True).reason is Reason.DRY_RUN


def test_another_requester_has_room_of_its_own(story: Story, small: Replica) -> None:
    fill(story, small, 4)
    rogue = story.agent("rogue")
    assert reasons(fill(story, small, 1, by=rogue, first=20)) == [Reason.PENDING]


def test_sessions_that_only_a_glob_knows_share_one_room(story: Story, small: Replica) -> None:
    story.agent("bots", subjects=[{"kind": "User", "name": "bot-*"}])
    answers = [fill(story, small, 1, by=user(f"bot-{number}"), first=number)[0] for number in range(4)]
    assert reasons(answers) == [Reason.PENDING] * 3 + [Reason.LIMITED]


def test_minted_accounts_of_one_identity_share_a_bound(story: Story, small: Replica) -> None:
    story.agent("crowd", subjects=[{"kind": "ServiceAccount", "namespace": "crowd", "name": "*"}])
    answers = [
        fill(story, small, 1, by=user(f"system:serviceaccount:crowd:minted-{number}", "system:serviceaccounts"), first=number)[0]
        for number in range(17)
    ]
    assert reasons(answers) == [Reason.PENDING] * 15 + [Reason.LIMITED] * 2
    assert "15 change requests of the agent identity crowd wait" in answers[-1].message


def test_all_requesters_together_are_bounded(story: Story) -> None:
    """Whoever forges reviews can be anybody."""
    one = story.replica(most=1)
    story.change("protectedenvironments", "default", protectFrom="People")
    answers = [fill(story, one, 1, by=user(f"forged-{number}@example.com"), first=number)[0] for number in range(52)]
    assert reasons(answers) == [Reason.PENDING] * 50 + [Reason.LIMITED] * 2
    assert "50 change requests of all requesters together wait" in answers[-1].message


def test_a_human_past_the_limit_reads_the_same_facts(story: Story, small: Replica) -> None:
    story.change("protectedenvironments", "default", protectFrom="People")
    answer = fill(story, small, 4, by=user("alice@example.com"))[-1]
    assert answer.reason is Reason.LIMITED
    assert not re.findall(r"kubectl \S+", answer.message)


def test_a_clock_that_is_set_back_opens_no_more_than_once_over(story: Story, small: Replica) -> None:
    fill(story, small, 3)
    small.clock.skew = -3 * HOUR
    assert reasons(fill(story, small, 2, first=10)) == [Reason.LIMITED] * 2
    small.clock.skew = -3 * HOUR + MINUTE
    assert reasons(fill(story, small, 2, first=20)) == [Reason.LIMITED] * 2


def test_and_when_it_is_set_back_what_was_opened_is_not_remembered_until_then(story: Story, small: Replica) -> None:
    """The operator has deleted what was open; nothing but this replica's memory would count it."""
    fill(story, small, 3)
    for request in story.world.requests():
        story.world.delete("changerequests", request.meta.name)
    small.clock.skew = -3 * HOUR
    assert reasons(fill(story, small, 1, first=10)) == [Reason.PENDING]
