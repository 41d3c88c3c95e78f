"""Whatever fails is a refusal, and an outage never looks like a policy."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from countersign.domain.answer import Reason
from countersign.domain.request import Operation
from countersign.service.ports import Question
from countersign.service.review import Review
from tests.support.objects import HOUR, user
from tests.support.replicas import KIRO_USER, Story, at_once, request_in

ADMIN = user("erin@example.com")


@pytest.fixture
def story() -> Story:
    return Story()


def sign_for(story: Story) -> str:
    request = request_in(story.delete())
    assert story.sign(request).allowed
    return request


def test_not_synced_is_unable_and_not_ready(story: Story) -> None:
    sign_for(story)
    assert story.main.review.ready() == ""
    story.main.state.unable = "namespaces are not synced yet."
    answer = story.delete()
    assert (answer.allowed, answer.reason, answer.code) == (False, Reason.UNABLE, 503)
    assert "namespaces are not synced yet." in answer.message
    assert story.main.review.ready() == "namespaces are not synced yet."


@pytest.mark.parametrize("what", ["look"])
def test_without_a_live_look_nothing_passes(story: Story, what: str) -> None:
    sign_for(story)
    story.main.live.broken = what
    for answer in (
        story.delete(),
        story.write("protectedenvironments", "new", {"protectFrom": "Agents"}, by=ADMIN),
        story.sign("any", "carol"),
    ):
        assert (answer.allowed, answer.reason) == (False, Reason.UNABLE)


@pytest.mark.parametrize("what", ["target", "losses"])
def test_a_count_or_a_read_that_fails_refuses_and_writes_nothing(story: Story, what: str) -> None:
    story.main.live.broken = what
    answer = story.delete()
    assert (answer.allowed, answer.reason) == (False, Reason.UNABLE)
    assert story.world.requests() == []


def test_a_request_that_waits_and_cannot_be_counted_is_unable(story: Story) -> None:
    story.delete()
    story.main.live.broken = "count_approvals"
    assert story.delete().reason is Reason.UNABLE


@pytest.mark.parametrize("what", ["create", "get"])
def test_a_change_request_that_cannot_be_written_is_unable(story: Story, what: str) -> None:
    if what == "get":
        frozen = story.replica()
        frozen.state.freeze()
        story.delete()
        frozen.requests.broken = "get"
        answer = story.delete(at=frozen)
    else:
        story.main.requests.broken = "create"
        answer = story.delete()
    assert (answer.allowed, answer.reason) == (False, Reason.UNABLE)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_deadline_that_has_passed(story: Story, seconds: float) -> None:
    sign_for(story)
    asked = story.world.deletion(KIRO_USER, "namespaces", "payments")
    answer = story.main.ask(asked, seconds=seconds)
    assert (answer.allowed, answer.reason) == (False, Reason.UNABLE)
    assert story.main.ask(asked, seconds=1).allowed


def test_a_slow_api_runs_into_the_deadline(story: Story) -> None:
    sign_for(story)
    story.main.live.seconds = 4.9
    assert story.delete().allowed
    story.main.live.seconds = 5.1
    assert story.delete().reason is Reason.UNABLE, "five seconds at the most"
    story.main.live.seconds = 2
    assert story.main.ask(story.world.deletion(KIRO_USER, "namespaces", "payments"), seconds=1).reason is Reason.UNABLE
    story.wait(2 * HOUR)
    story.main.live.seconds = 3
    asked = story.world.deletion(KIRO_USER, "namespaces", "payments")
    assert story.main.ask(asked, seconds=5).reason is Reason.UNABLE, "too little is left for the count after the read"
    assert len(story.world.requests()) == 1


def test_what_cannot_be_recorded_is_not_allowed(story: Story) -> None:
    sign_for(story)
    story.main.log.broken = True
    for answer in (story.delete(), story.write("agentidentities", "kiro", None, by=ADMIN)):
        assert (answer.allowed, answer.reason) == (False, Reason.UNABLE)
        assert "could not be recorded" in answer.message
    assert story.main.metrics.decisions[-1] == (False, "Unable")
    assert story.main.metrics.not_recorded == 2


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("closed"), RuntimeError("odd")])
def test_whatever_the_log_raises(story: Story, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    sign_for(story)

    def fail(record: Mapping[str, object]) -> NoReturn:
        raise error

    monkeypatch.setattr(story.main.log, "append", fail)
    assert story.delete().reason is Reason.UNABLE


@pytest.mark.parametrize("where", ["state.snapshot", "live.look", "clock.now", "requests.create"])
def test_an_exception_anywhere_is_a_refusal(story: Story, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    port, _, method = where.partition(".")
    if port != "requests":
        sign_for(story)

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise ZeroDivisionError(where)

    with monkeypatch.context() as patch:
        patch.setattr(getattr(story.main, port), method, fail)
        if port == "clock":
            patch.setattr(story.main.log, "append", lambda _: None)
        answer = story.delete()
    assert (answer.allowed, answer.reason) == (False, Reason.UNABLE)


def test_an_environment_that_memory_cannot_place_is_a_refusal(story: Story) -> None:
    story.world.create("persistentvolumeclaims", "data", namespace="elsewhere", spec={})
    asked = story.world.deletion(KIRO_USER, "persistentvolumeclaims", "data", namespace="elsewhere")
    assert story.main.ask(asked).reason is Reason.UNABLE


def test_strange_requests_are_refused(story: Story) -> None:
    connect = story.world.review(KIRO_USER, Operation.CONNECT, "pods", "x", namespace="payments", new={"metadata": {}})
    nameless = story.world.review(KIRO_USER, Operation.DELETE, "namespaces", "", old={"metadata": {}})
    for asked in (connect, nameless):
        answer = story.main.ask(asked)
        assert (answer.allowed, answer.reason) == (False, Reason.UNKNOWN)
        assert (answer.audit["decision"], answer.chain["agents"]) == ("refuse", ["kiro"]), "the record says who it was all the same"


def test_a_clock_behind_or_ahead(story: Story) -> None:
    """Times of Approvals are the API server's; ours may be off a little."""
    sign_for(story)
    story.main.clock.skew = -timedelta(seconds=30)
    assert story.delete().allowed
    story.main.clock.skew = 2 * HOUR
    assert not story.delete().allowed


def test_an_approved_request_needs_no_more_reads_than_one_look(story: Story) -> None:
    sign_for(story)
    story.main.live.asked.clear()
    assert story.delete().allowed
    assert story.main.live.asked == ["look"]


def test_refusing_from_memory_reads_nothing_but_the_number_of_approvals(story: Story) -> None:
    request = request_in(story.delete())
    story.main.live.asked.clear()
    story.delete()
    assert story.main.live.asked == ["count_approvals"]
    story.sign(request, "carol", verdict="Reject")
    story.main.live.asked.clear()
    story.delete()
    story.write("reviewers", "mallory", {}, by=KIRO_USER)
    assert story.main.live.asked == []


def test_what_a_look_must_read(story: Story) -> None:
    request = sign_for(story)
    story.main.live.questions.clear()
    story.delete()
    (asked,) = story.main.live.questions
    assert isinstance(asked, Question)
    assert asked.requests[0] == request
    assert len(asked.requests) == 2, "and the next round"
    assert asked.namespace == "payments"
    assert asked.losses is not None
    assert not asked.all_requests


def test_deciding_is_a_coroutine_that_never_raises(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise RecursionError("absurd")

    monkeypatch.setattr(Review, "_answer", fail)
    asked = story.world.deletion(KIRO_USER, "namespaces", "payments")
    assert at_once(story.main.review.review(asked, deadline=1e12)).reason is Reason.UNABLE


# ── what a refusal that nothing was decided by tells ────────────────────────────────────────────────────────────────────────────────


def test_what_could_not_be_decided_says_who_asked(story: Story) -> None:
    sign_for(story)
    story.main.live.broken = "look"
    answer = story.delete()
    assert answer.audit == {"decision": "refuse", "reason": "Unable", "agents": "kiro", "sponsors": "alice"}
    assert answer.warnings == ("countersign: recognised as agent kiro, run by alice",)
    assert answer.chain["agents"] == ["kiro"]


def test_where_nothing_is_known_it_says_at_least_that(story: Story) -> None:
    story.main.state.unable = "namespaces are not synced yet."
    assert story.delete().audit == {"decision": "refuse", "reason": "Unable"}


def test_an_approval_that_is_refused_says_who_brought_it_and_why(story: Story) -> None:
    request = request_in(story.delete())
    answer = story.sign(request, "bob", creator=KIRO_USER)
    assert answer.audit == {"decision": "refuse", "reason": "Invalid", "agents": "kiro", "sponsors": "alice", "fault": "ByAnAgent"}
    assert (answer.chain["changeRequest"], answer.chain["fault"], answer.chain["agents"]) == (request, "ByAnAgent", ["kiro"])


def test_a_setting_that_cannot_be_read_says_who_wrote_it(story: Story) -> None:
    answer = story.write("reviewers", "dan", {"usernames": []}, by=ADMIN)
    assert answer.reason is Reason.INVALID
    assert (answer.audit["decision"], answer.audit["reason"], answer.chain["kind"]) == ("refuse", "Invalid", "Human")
