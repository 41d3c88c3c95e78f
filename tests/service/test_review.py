"""The main flows: refused, signed, let through; and everything that must not let it through."""

from datetime import timedelta

import pytest

from countersign.domain.answer import Reason
from countersign.domain.request import Operation
from tests.service._reviews import PROD, SECOND, approved
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.objects import HOUR, MINUTE, key_of, user
from tests.support.replicas import KIRO_USER, Story, cause, request_in

DAY = 24 * HOUR


@pytest.fixture
def story() -> Story:
    return Story()


# ── refused, signed, let through ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_is_refused_and_the_request_is_recorded(story: Story) -> None:
    story.namespace("shop", claims=6, balancers=2)
    answer = story.delete("shop")
    assert (answer.allowed, answer.code, answer.reason) == (False, 403, Reason.PENDING)
    assert answer.message.startswith(
        'WAITING FOR HUMAN SIGNATURES, nothing was deleted: namespace "shop" on prod-eu-1 needs 1 person to sign'
    )
    (request,) = story.world.requests()
    assert request.meta.name == request_in(answer)
    assert (request.losses.volumes, request.losses.load_balancers) == (6, 2)
    assert (request.requester.agents, request.requester.sponsors) == (("kiro",), ("alice",))
    assert (request.environments, request.required, request.round) == (("default",), 1, 1)
    assert request.expires_at == story.world.now + DAY
    assert answer.warnings == ("countersign: recognised as agent kiro, run by alice",)
    assert answer.audit["agents"] == "kiro"


def test_signed_for_it_passes_as_often_as_the_api_server_asks(story: Story) -> None:
    request = approved(story)
    for _ in range(3):
        answer = story.delete()
        assert (answer.allowed, answer.reason) == (True, Reason.APPROVED)
        assert answer.audit["reviewers"] == "bob"
        assert answer.chain["changeRequest"] == request
        assert answer.chain["approvals"]
    assert len(story.world.requests()) == 1


def test_times_in_a_request_are_whole_seconds(story: Story) -> None:
    story.wait(timedelta(microseconds=654_321))
    assert story.main.clock.now().microsecond
    draft = story.delete()
    (request,) = story.world.requests()
    assert request.expires_at.microsecond == 0
    written = story.world.get("changerequests", request_in(draft))
    assert written is not None
    assert f'expiresAt: "{written["spec"]["expiresAt"]}"' in request.statement
    assert story.main.requests.times == [request.expires_at], "what was answered from is what was written"


def test_asking_again_writes_nothing_more(story: Story) -> None:
    names = {request_in(story.delete()) for _ in range(3)}
    assert len(names) == len(story.main.requests.written) == 1


def test_a_namespace_of_that_name_made_anew_is_held_again(story: Story) -> None:
    first = approved(story)
    assert story.delete().allowed
    story.world.delete("namespaces", "payments")
    story.namespace("payments")
    second = story.delete()
    assert second.reason is Reason.PENDING
    assert request_in(second) != first


def test_another_agent_another_namespace_and_other_content_are_not_covered(story: Story) -> None:
    rogue = story.agent("rogue")
    story.namespace("orders")
    approved(story)
    assert story.delete(by=rogue).reason is Reason.PENDING
    assert story.delete("orders").reason is Reason.PENDING
    story.world.update("namespaces", "payments", lambda doc: doc["metadata"].update(finalizers=["example.com/cascade"]))
    assert story.delete().reason is Reason.PENDING


def test_another_cluster_is_not_covered(story: Story) -> None:
    approved(story)
    story.world.documents["namespaces", "", "kube-system"]["metadata"].update(uid="another", resourceVersion="another")
    assert story.delete().reason is Reason.PENDING


def test_more_to_lose_than_was_signed_for(story: Story) -> None:
    approved(story)
    story.world.create("persistentvolumeclaims", "late", namespace="payments", spec={})
    answer = story.delete()
    assert answer.reason is Reason.PENDING
    assert "more would be lost now than was signed for" in answer.message
    assert [request.round for request in story.world.requests()] == [1, 2]
    assert story.world.requests()[1].losses.volumes == 1


def test_two_of_two_one_person_twice_is_one(story: Story) -> None:
    story.change("protectedenvironments", "default", approvals={"required": 2})
    story.change("reviewers", "bob", keys=[{"name": n, "publicKey": key_of(n).public_key} for n in ("bob", "spare")])
    request = request_in(story.delete())
    assert story.sign(request).allowed
    again = story.sign(request, key=key_of("spare"))
    assert (again.allowed, cause(again, "fault")) == (False, "SignedAlready")
    stored = story.world.listed("approvals")[0]["spec"]
    story.world.create("approvals", "behind-the-webhooks-back", spec=stored)
    waiting = story.delete()
    assert waiting.reason is Reason.PENDING
    assert "(1 of 2," in waiting.message
    assert story.sign(request, "carol").allowed
    assert story.delete().allowed


@pytest.mark.parametrize(
    ("by", "options", "fault"),
    [
        ("alice", {}, "IsASponsor"),
        ("bob", {"creator": KIRO_USER}, "ByAnAgent"),
        ("bob", {"creator": user("system:serviceaccount:ci:deployer")}, "ByAServiceAccount"),
        ("bob", {"creator": user("mallory")}, "NotRegistered"),
        ("bob", {"creator": user("carol@example.com")}, "NotThisReviewer"),
        ("bob", {"key": key_of("lost")}, "KeyNotRegistered"),
        ("bob", {"key": key_of("carol")}, "KeyNotRegistered"),
        ("bob", {"text": "something else"}, "SignatureRefused"),
    ],
)
def test_approvals_that_are_refused(story: Story, by: str, options: dict[str, object], fault: str) -> None:
    request = request_in(story.delete())
    answer = story.sign(request, by, **options)  # type: ignore[arg-type]  # rows of a table name options of several types
    assert (answer.allowed, answer.reason, cause(answer, "fault")) == (False, Reason.INVALID, fault)
    assert story.world.listed("approvals") == []
    assert story.delete().reason is Reason.PENDING


def test_an_approval_for_nothing(story: Story) -> None:
    assert cause(story.sign("delete-namespace-none-00000000"), "fault") == "NoSuchChangeRequest"


def test_an_approval_that_cannot_be_read(story: Story) -> None:
    asked = story.world.review(user("bob@example.com"), Operation.CREATE, "approvals", "x", new={"metadata": {"name": "x"}, "spec": {}})
    answer = story.main.ask(asked)
    assert (answer.allowed, answer.reason) == (False, Reason.INVALID)
    missing = story.main.ask(story.world.review(user("bob@example.com"), Operation.CREATE, "approvals", "x"))
    assert (missing.allowed, missing.reason) == (False, Reason.UNKNOWN)


# ── rounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_rejection_ends_it_until_the_cool_off_is_over(story: Story) -> None:
    request = approved(story)
    assert story.sign(request, "carol", verdict="Reject", comment="we need it\nstill").allowed
    answer = story.delete()
    assert (answer.allowed, answer.reason) == (False, Reason.REJECTED)
    assert "carol rejected it: we need it still" in answer.message
    story.wait(HOUR - SECOND)
    assert story.delete().reason is Reason.REJECTED
    assert len(story.world.requests()) == 1
    story.wait(SECOND)
    again = story.delete()
    assert again.reason is Reason.PENDING
    assert request_in(again) != request
    assert [each.round for each in story.world.requests()] == [1, 2]
    assert cause(story.sign(request, "bob"), "fault") == "RequestEnded"
    assert story.sign(request_in(again)).allowed
    assert story.delete().allowed


def test_a_rejection_stands_when_its_reviewer_is_gone(story: Story) -> None:
    request = approved(story)
    story.sign(request, "carol", verdict="Reject")
    story.world.delete("reviewers", "carol")
    assert story.delete().reason is Reason.REJECTED


def test_after_expiry_asking_opens_the_next_round(story: Story) -> None:
    first = request_in(story.delete())
    story.wait(DAY - SECOND)
    assert request_in(story.delete()) == first
    story.wait(SECOND)
    assert cause(story.sign(first), "fault") == "RequestEnded"
    assert request_in(story.delete()) != first


def test_the_window_to_act(story: Story) -> None:
    story.change("protectedenvironments", "default", approvals={"useWithin": "10m"})
    first = approved(story)
    story.wait(10 * MINUTE - SECOND)
    assert story.delete().allowed
    story.wait(SECOND)
    late = story.delete()
    assert late.reason is Reason.PENDING
    assert request_in(late) != first
    assert "not used before" in late.message


def test_the_window_ends_with_the_request(story: Story) -> None:
    request = request_in(story.delete())
    story.wait(DAY - MINUTE)
    assert story.sign(request).allowed
    story.wait(MINUTE - SECOND)
    assert story.delete().allowed
    story.wait(SECOND)
    assert not story.delete().allowed


# ── keys and people as they are now ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_taken_away_after_signing_does_not_count(story: Story) -> None:
    approved(story)
    story.change("reviewers", "bob", keys=[])
    assert story.delete().reason is Reason.PENDING
    story.change("reviewers", "bob", keys=[{"name": "again", "publicKey": key_of("bob").public_key}])
    assert story.delete().allowed


def test_a_key_that_expires_after_signing_does_not_count(story: Story) -> None:
    ends = (story.world.now + 5 * MINUTE).strftime("%Y-%m-%dT%H:%M:%SZ")
    story.change("reviewers", "bob", keys=[{"name": "main", "publicKey": key_of("bob").public_key, "notAfter": ends}])
    approved(story)
    story.wait(5 * MINUTE - SECOND)
    assert story.delete().allowed
    story.wait(SECOND)
    assert story.delete().reason is Reason.PENDING


def test_a_reviewer_who_becomes_a_sponsor_does_not_count(story: Story) -> None:
    approved(story)
    subject = {"kind": "ServiceAccount", "namespace": "agents", "name": "*"}
    story.agent("second", sponsors=("bob@example.com",), subjects=[subject])
    assert story.delete().reason is Reason.PENDING


def test_hardware_keys_and_teams(story: Story) -> None:
    hardware = SoftwareAuthenticator()
    story.environment("prod", namespaces={"selector": {"matchLabels": PROD}}, approvals={"teams": ["sre"], "hardwareKeysOnly": True})
    keys = [{"name": "hard", "publicKey": hardware.public_key.strip()}, {"name": "soft", "publicKey": key_of("dave").public_key}]
    story.reviewer("dave", keys=keys, teams=["sre"])
    story.namespace("shop", labels=PROD)
    request = request_in(story.delete("shop"))
    assert story.world.requests()[0].environments == ("default", "prod")
    assert story.sign(request, "bob").allowed, "it counts for default"
    assert story.delete("shop").reason is Reason.PENDING
    assert story.sign(request, "dave", key=hardware).allowed
    assert story.delete("shop").allowed


# ── trials ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_hears_of_people_whom_it_alone_would_hold(story: Story) -> None:
    story.environment("trial", protectFrom="People", mode="Audit")
    assert story.delete(by=user("alice@example.com"), dry_run=True).allowed
    assert story.main.witness.trial == []
    answer = story.delete(by=user("alice@example.com"))
    assert (answer.allowed, answer.reason) == (True, Reason.AUDIT)
    [seen] = story.main.witness.trial
    assert (seen.environments, seen.username, seen.kind, seen.operation) == (("trial",), "alice@example.com", "Human", "DELETE")
    assert (seen.target.name, seen.target.uid) == ("payments", story.world.get("namespaces", "payments")["metadata"]["uid"])  # type: ignore[index]  # it is there
    assert not story.delete().allowed, "the agent is held by default"
    assert len(story.main.witness.trial) == 1


def test_what_is_signed_for_is_no_trial(story: Story) -> None:
    story.environment("trial", protectFrom="Everyone", mode="Audit")
    approved(story)
    assert story.delete().reason is Reason.APPROVED
    assert story.main.witness.trial == []
