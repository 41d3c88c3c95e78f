"""Whole reviews: who is held back, one's own work, what an approval covers, and what is written."""

import pytest

from countersign.domain.answer import Reason
from countersign.domain.request import UserInfo
from tests.service._reviews import PROD, SECOND, approved
from tests.support.objects import HOUR, user
from tests.support.replicas import KIRO_USER, Story, cause, request_in, reviewer_spec


@pytest.fixture
def story() -> Story:
    return Story()


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
