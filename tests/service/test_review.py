"""The main flows: refused, signed, let through; and everything that must not let it through."""

from datetime import timedelta

import pytest

from countersign.domain.answer import Reason
from countersign.domain.request import Operation, UserInfo
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.objects import HOUR, MINUTE, key_of, user
from tests.support.replicas import KIRO_USER, Story, cause, request_in, reviewer_spec

DAY = 24 * HOUR
SECOND = timedelta(seconds=1)
PROD = {"tier": "prod"}


@pytest.fixture
def story() -> Story:
    return Story()


def approved(story: Story, name: str = "payments", by: UserInfo = KIRO_USER) -> str:
    """A deletion that has been asked for and signed by bob; its change request."""
    request = request_in(story.delete(name, by=by))
    assert story.sign(request).allowed
    return request


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


# ── who is held ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

ERIN = user("erin@example.com", "system:authenticated")
DEPLOYER = user("system:serviceaccount:ci:deployer")
CONTROLLER = user("system:serviceaccount:kube-system:namespace-controller")


@pytest.mark.parametrize(
    ("level", "who", "held"),
    [
        ("Agents", KIRO_USER, True),
        ("Agents", ERIN, False),
        ("Agents", DEPLOYER, False),
        ("People", KIRO_USER, True),
        ("People", ERIN, True),
        ("People", DEPLOYER, False),
        ("Everyone", KIRO_USER, True),
        ("Everyone", ERIN, True),
        ("Everyone", DEPLOYER, True),
        ("Everyone", CONTROLLER, False),
    ],
)
def test_whom_an_environment_holds_back(story: Story, level: str, who: UserInfo, held: bool) -> None:
    story.change("protectedenvironments", "default", protectFrom=level)
    answer = story.delete(by=who)
    assert answer.allowed is not held
    assert answer.reason is (Reason.PENDING if held else Reason.NOT_HELD)
    assert len(story.world.requests()) == held


def test_except_lets_people_and_machines_through_never_agents(story: Story) -> None:
    excepted = [{"kind": "Group", "name": "system:authenticated"}, {"kind": "ServiceAccount", "namespace": "ci", "name": "deployer"}]
    story.change("protectedenvironments", "default", protectFrom="Everyone", **{"except": excepted})
    assert story.delete(by=ERIN).reason is Reason.EXCEPTED
    assert story.delete(by=DEPLOYER).reason is Reason.EXCEPTED
    assert story.delete(by=KIRO_USER).reason is Reason.PENDING


def test_excluded_namespaces(story: Story) -> None:
    story.change("protectedenvironments", "default", namespaces={"exclude": ["payments"]})
    assert story.delete().reason is Reason.NOT_HELD


def test_audit_mode_lets_through_and_says_so(story: Story) -> None:
    story.change("protectedenvironments", "default", mode="Audit")
    answer = story.delete()
    assert (answer.allowed, answer.reason) == (True, Reason.AUDIT)
    assert answer.audit["reason"] == "WouldRefuse"
    assert "would be refused" in answer.warnings[0]
    assert story.world.requests() == []


def test_a_human_who_is_nobody_registered_needs_one_more(story: Story) -> None:
    story.change("protectedenvironments", "default", protectFrom="People")
    request = request_in(story.delete(by=ERIN))
    assert story.sign(request).allowed
    assert story.delete(by=ERIN).reason is Reason.PENDING
    assert story.sign(request, "carol").allowed
    assert story.delete(by=ERIN).allowed


def test_a_human_who_is_registered_cannot_sign_for_it(story: Story) -> None:
    story.change("protectedenvironments", "default", protectFrom="People")
    story.change("reviewers", "bob", usernames=["bob@example.com", "oidc:bob"])
    bob = user("bob@example.com")
    answer = story.delete(by=bob)
    assert "Who can sign: alice, carol" in answer.message
    assert cause(story.sign(request_in(answer), creator=user("oidc:bob")), "fault") == "IsTheRequester"
    assert story.sign(request_in(answer), "carol").allowed
    assert story.delete(by=bob).allowed


def test_each_environment_must_be_satisfied_by_itself(story: Story) -> None:
    for team in ("sre", "web"):
        story.environment(team, namespaces={"selector": {"matchLabels": PROD}}, approvals={"teams": [team]})
    story.change("reviewers", "bob", teams=["sre"])
    story.change("reviewers", "carol", teams=["web"])
    story.namespace("shop", labels=PROD)
    request = request_in(story.delete("shop"))
    assert story.sign(request, "bob").allowed
    assert story.delete("shop").reason is Reason.PENDING
    assert story.sign(request, "carol").allowed
    assert story.delete("shop").allowed


def test_an_environment_that_came_after_the_signature_is_judged_too(story: Story) -> None:
    approved(story)
    story.environment("strict", approvals={"required": 2})
    assert story.delete().reason is Reason.PENDING
    assert story.sign(request_in(story.delete()), "carol").allowed
    assert story.delete().allowed


# ── own work, and inside an approved namespace ──────────────────────────────────────────────────────────────────────────────────────

MINE = {"kube-countersign.dev/created-by": KIRO_USER.username}


def test_an_agents_own_fresh_namespace(story: Story) -> None:
    story.change("protectedenvironments", "default", ownWork="1h")
    story.namespace("mine", annotations=MINE)
    story.namespace("theirs", annotations={"kube-countersign.dev/created-by": "somebody"})
    story.namespace("full", claims=1, annotations=MINE)
    assert story.delete("mine").reason is Reason.OWN_WORK
    assert story.delete("theirs").reason is Reason.PENDING
    assert story.delete("full").reason is Reason.PENDING
    story.wait(HOUR + SECOND)
    assert story.delete("mine").reason is Reason.PENDING


def test_own_work_ends_with_the_first_claim(story: Story) -> None:
    story.change("protectedenvironments", "default", ownWork="1h")
    story.namespace("mine", annotations=MINE)
    assert story.delete("mine").allowed
    story.world.create("persistentvolumeclaims", "data", namespace="mine", spec={})
    answer = story.delete("mine")
    assert answer.reason is Reason.PENDING
    assert story.world.requests()[0].losses.volumes == 1


def test_own_work_is_not_all_that_counts(story: Story) -> None:
    story.change("protectedenvironments", "default", ownWork="1h")
    story.environment("prod", namespaces={"selector": {"matchLabels": PROD}})
    story.namespace("mine", annotations=MINE, labels=PROD)
    assert story.delete("mine").reason is Reason.PENDING


def claim(story: Story, name: str = "data-0", *, within: str = "shop", by: UserInfo = KIRO_USER) -> Reason:
    return story.main.ask(story.world.deletion(by, "persistentvolumeclaims", name, namespace=within)).reason


def test_an_approved_namespace_covers_what_is_inside_it(story: Story) -> None:
    rogue = story.agent("rogue")
    story.namespace("shop", claims=2)
    story.namespace("orders", claims=1)
    assert claim(story) is Reason.PENDING
    approved(story, "shop")
    assert claim(story) is Reason.COVERED
    assert claim(story, by=rogue) is Reason.PENDING
    assert claim(story, within="orders") is Reason.PENDING
    story.world.delete("persistentvolumeclaims", "data-1", namespace="shop")
    assert claim(story) is Reason.COVERED, "less to lose"
    story.wait(HOUR)
    assert claim(story) is Reason.PENDING


def test_more_to_lose_in_the_namespace_ends_the_cover(story: Story) -> None:
    story.namespace("shop", claims=1)
    approved(story, "shop")
    story.world.create("persistentvolumeclaims", "late", namespace="shop", spec={})
    assert claim(story) is Reason.PENDING
    story.world.delete("persistentvolumeclaims", "late", namespace="shop")
    assert claim(story) is Reason.COVERED


def test_a_rejection_ends_the_cover(story: Story) -> None:
    story.namespace("shop", claims=1)
    request = approved(story, "shop")
    assert claim(story) is Reason.COVERED
    story.sign(request, "carol", verdict="Reject")
    assert claim(story) is Reason.PENDING


def test_a_claim_and_a_volume_are_signed_for_alone(story: Story) -> None:
    story.namespace("shop", claims=1)
    story.world.create("persistentvolumes", "pv", spec={"claimRef": {"namespace": "shop"}})
    for plural, name, home in (("persistentvolumeclaims", "data-0", "shop"), ("persistentvolumes", "pv", "")):
        asked = story.world.deletion(KIRO_USER, plural, name, namespace=home)
        request = request_in(story.main.ask(asked))
        assert story.world.snapshot().requests[request].losses.volumes == 1
        assert story.sign(request).allowed
        assert story.main.ask(asked).reason is Reason.APPROVED
    assert story.delete("shop").reason is Reason.PENDING


def test_a_listed_kind(story: Story) -> None:
    story.environment("apps", resources=[{"group": "argoproj.io", "resource": "applications"}])
    story.world.create("applications", "web", namespace="payments", spec={})
    asked = story.world.deletion(KIRO_USER, "applications", "web", namespace="payments", group="argoproj.io")
    request = request_in(story.main.ask(asked))
    assert story.world.snapshot().requests[request].environments == ("apps",)
    assert story.sign(request).allowed
    assert story.main.ask(asked).allowed
    story.world.create("configmaps", "web", namespace="payments")
    unknown = story.main.ask(story.world.deletion(KIRO_USER, "configmaps", "web", namespace="payments"))
    assert unknown.reason is Reason.UNKNOWN


# ── what is written, and what is not ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_writes_nothing(story: Story) -> None:
    answer = story.delete(dry_run=True)
    assert (answer.allowed, answer.reason) == (False, Reason.DRY_RUN)
    assert "writes no change request" in answer.message
    assert story.world.requests() == []
    request = request_in(story.delete())
    assert request in story.delete(dry_run=True).message
    story.sign(request)
    assert story.delete(dry_run=True).allowed
    story.wait(2 * HOUR)
    assert story.delete(dry_run=True).reason is Reason.DRY_RUN
    assert len(story.world.requests()) == 1


def test_for_a_target_that_is_gone_nothing_is_written(story: Story) -> None:
    asked = story.world.deletion(KIRO_USER, "namespaces", "payments")
    story.world.delete("namespaces", "payments")
    assert story.main.ask(asked).reason is Reason.NO_TARGET
    story.namespace("payments")
    assert story.main.ask(asked).reason is Reason.NO_TARGET, "another object of that name"
    assert story.world.requests() == []


def test_taking_a_namespace_out_of_an_environment(story: Story) -> None:
    story.environment("prod", namespaces={"selector": {"matchLabels": PROD}})
    story.namespace("shop", labels=PROD)
    out = lambda doc: doc["metadata"].update(labels={})  # noqa: E731  # a change to an object reads best on one line
    other = lambda doc: doc["metadata"]["labels"].update(owner="kiro")  # noqa: E731  # a change to an object reads best on one line
    assert story.write("namespaces", "shop", other, by=KIRO_USER).reason is Reason.NOT_HELD
    answer = story.write("namespaces", "shop", out, by=KIRO_USER)
    assert answer.reason is Reason.PENDING
    request = story.world.snapshot().requests[request_in(answer)]
    assert (request.operation, request.environments) == ("UPDATE", ("prod",))
    assert 'metadata.labels.tier: "prod" -> absent' in request.change.lines
    assert story.sign(request.meta.name).allowed
    elsewhere = lambda doc: doc["metadata"].update(labels={"tier": "dev"})  # noqa: E731  # a change to an object reads best on one line
    assert story.write("namespaces", "shop", elsewhere, by=KIRO_USER).reason is Reason.PENDING, "another change"
    assert story.write("namespaces", "shop", out, by=KIRO_USER).reason is Reason.APPROVED


def test_a_person_registered_anew_under_the_old_name_is_another(story: Story) -> None:
    approved(story)
    story.world.delete("reviewers", "bob")
    story.world.create("reviewers", "bob", spec=reviewer_spec("carlos"))
    assert story.delete().reason is Reason.PENDING


def test_sessions_of_one_agent_share_what_was_signed_but_not_with_the_signer(story: Story) -> None:
    story.agent("cloud", subjects=[{"kind": "Group", "name": "ai-agents"}])
    first, second, signer = (user(name, "ai-agents") for name in ("session-1", "session-2", "bob@example.com"))
    request = request_in(story.delete(by=first))
    assert request_in(story.delete(by=second)) == request
    assert story.sign(request).allowed
    assert story.delete(by=second).allowed
    assert story.delete(by=signer).reason is Reason.PENDING


def test_every_answer_is_recorded_and_counted(story: Story) -> None:
    before = len(story.main.log.lines)
    approved(story)
    assert story.delete().allowed
    assert len(story.main.log.lines) - before == len(story.main.metrics.decisions) == 3
    assert '"decision":"Allow"' in story.main.log.lines[-1].replace(" ", "")
