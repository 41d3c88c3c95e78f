"""Writes to identities, reviewers and environments: what is refused, what is held, what passes."""

from collections.abc import Callable

import pytest

from countersign.domain.answer import Reason
from countersign.domain.request import Operation, UserInfo
from tests.support.objects import HOUR, key_of, user
from tests.support.replicas import KIRO_USER, Story, cause, request_in, reviewer_spec
from tests.support.world import Json

ADMIN = user("erin@example.com", "system:authenticated")
DEPLOYER = user("system:serviceaccount:flux-system:kustomize-controller")
CLOSED = {"registration": "Closed"}
FLUX = {"kind": "ServiceAccount", "namespace": "flux-system", "name": "kustomize-controller"}


@pytest.fixture
def story() -> Story:
    return Story()


def spec(**members: object) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        document["spec"].update(members)
        document["metadata"]["generation"] += 1

    return change


# ── agents ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

IDENTITY = {"sponsors": ["alice"], "subjects": [{"kind": "User", "name": "new"}]}
AGENT_WRITES: list[tuple[str, str, Callable[[Json], None] | Json | None]] = [
    ("reviewers", "mallory", reviewer_spec("mallory")),
    ("reviewers", "bob", spec(teams=["x"])),
    ("reviewers", "bob", None),
    ("agentidentities", "new", IDENTITY),
    ("agentidentities", "kiro", spec(sponsors=["bob"])),
    ("agentidentities", "kiro", None),
    ("protectedenvironments", "more", {"protectFrom": "Agents"}),
    ("protectedenvironments", "default", spec(mode="Audit")),
    ("protectedenvironments", "default", None),
    ("protectedenvironments", "default", spec(protectFrom="Everyone")),
]


@pytest.mark.parametrize(("plural", "name", "change"), AGENT_WRITES)
def test_agents_never_write_them(story: Story, plural: str, name: str, change: Callable[[Json], None] | Json | None) -> None:
    story.change("protectedenvironments", "default", **{"except": [{"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"}]})
    answer = story.write(plural, name, change, by=KIRO_USER)
    assert (answer.allowed, answer.reason) == (False, Reason.FORBIDDEN)
    assert "signed for or not" in answer.message
    assert story.world.requests() == []


def test_what_an_agent_writes_need_not_even_be_readable(story: Story) -> None:
    assert story.write("reviewers", "x", {"nonsense": 1}, by=KIRO_USER).reason is Reason.FORBIDDEN


# ── registration ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_registering_is_free_until_a_change_request_has_been_approved(story: Story) -> None:
    assert story.write("reviewers", "dave", reviewer_spec("dave"), by=ADMIN).reason is Reason.NOT_HELD
    request = request_in(story.delete())
    assert story.write("reviewers", "erin", reviewer_spec("someone"), by=DEPLOYER).allowed, "still open"
    story.sign(request)
    assert story.write("reviewers", "frank", reviewer_spec("frank"), by=ADMIN).reason is Reason.PENDING


def test_it_stays_closed_whatever_becomes_of_the_signature(story: Story) -> None:
    story.sign(request_in(story.delete()))
    story.wait(48 * HOUR)
    assert story.write("reviewers", "bob", None, by=ADMIN).allowed
    assert story.write("reviewers", "mallory", reviewer_spec("mallory"), by=ADMIN).reason is Reason.PENDING
    story.world.delete("protectedenvironments", "default")
    forbidden = story.write("reviewers", "mallory", reviewer_spec("mallory"), by=ADMIN)
    assert forbidden.reason is Reason.FORBIDDEN
    assert "helm upgrade" in forbidden.message


def test_default_cannot_come_back_with_registration_open(story: Story) -> None:
    assert story.write("protectedenvironments", "default", None, by=ADMIN).allowed
    again = story.write("protectedenvironments", "default", {"protectFrom": "Agents"}, by=ADMIN)
    assert (again.allowed, again.reason) == (False, Reason.INVALID)
    assert "spec.registration: Closed" in again.message
    assert story.write("protectedenvironments", "default", {"protectFrom": "Agents", **CLOSED}, by=ADMIN).allowed


@pytest.mark.parametrize("change", [spec(usernames=["bob@example.com", "oidc:bob"]), spec(teams=["sre"]), spec(keys=[])])
def test_additions_are_signed_for_and_removals_are_free(story: Story, change: Callable[[Json], None]) -> None:
    story.change("protectedenvironments", "default", **CLOSED)
    document = story.world.get("reviewers", "bob")
    assert document is not None
    change(document)
    adds = bool(document["spec"]["keys"])
    answer = story.write("reviewers", "bob", change, by=ADMIN)
    assert answer.reason is (Reason.PENDING if adds else Reason.NOT_HELD)


def test_a_registration_that_was_signed_for_passes_once(story: Story) -> None:
    story.change("protectedenvironments", "default", **CLOSED)
    more = spec(keys=[{"name": n, "publicKey": key_of(n).public_key} for n in ("bob", "second")])
    request = request_in(story.write("reviewers", "bob", more, by=ADMIN))
    assert story.world.snapshot().requests[request].required == 2, "the admin is nobody registered"
    assert any("keys" in line for line in story.world.snapshot().requests[request].change.lines)
    assert story.sign(request, "alice").allowed
    assert story.sign(request, "carol").allowed
    other = spec(keys=[{"name": n, "publicKey": key_of(n).public_key} for n in ("bob", "third")])
    assert story.write("reviewers", "bob", other, by=ADMIN).reason is Reason.PENDING, "another key"
    assert story.write("reviewers", "bob", more, by=ADMIN).reason is Reason.APPROVED
    fewer = spec(keys=[{"name": "bob", "publicKey": key_of("bob").public_key}])
    assert story.write("reviewers", "bob", fewer, by=ADMIN).allowed
    assert story.write("reviewers", "bob", more, by=ADMIN).reason is Reason.PENDING, "the generation is another"


def test_who_stands_in_default_except_registers_freely(story: Story) -> None:
    story.change("protectedenvironments", "default", **CLOSED, **{"except": [FLUX]})
    assert story.write("reviewers", "dave", reviewer_spec("dave"), by=DEPLOYER).reason is Reason.EXCEPTED
    assert story.write("reviewers", "frank", reviewer_spec("frank"), by=ADMIN).reason is Reason.PENDING


def test_in_audit_mode_a_registration_passes_and_says_so(story: Story) -> None:
    story.change("protectedenvironments", "default", **CLOSED, mode="Audit")
    assert story.write("reviewers", "dave", reviewer_spec("dave"), by=ADMIN).reason is Reason.AUDIT
    story.environment("prod")
    assert story.write("reviewers", "erin", reviewer_spec("erin"), by=ADMIN).reason is Reason.PENDING


def test_a_generated_name_is_refused_where_it_would_have_to_be_signed_for(story: Story) -> None:
    assert story.write("reviewers", "dave-x7", reviewer_spec("dave"), by=ADMIN, generate=True).allowed
    story.change("protectedenvironments", "default", **CLOSED)
    answer = story.write("reviewers", "frank-x7", reviewer_spec("frank"), by=ADMIN, generate=True)
    assert answer.reason is Reason.FORBIDDEN
    assert "metadata.name" in answer.message
    assert story.world.requests() == []


# ── weakening ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("level", "held"), [("Agents", False), ("People", True), ("Everyone", True)])
@pytest.mark.parametrize("change", [spec(mode="Audit"), spec(approvals={"required": 1}), None])
def test_weakening_is_held_from_whom_it_protects_from(story: Story, level: str, held: bool, change: Callable[[Json], None] | None) -> None:
    story.environment("prod", protectFrom=level, approvals={"required": 2})
    answer = story.write("protectedenvironments", "prod", change, by=ADMIN)
    assert answer.reason is (Reason.PENDING if held else Reason.NOT_HELD)
    assert answer.allowed is not held


def test_what_was_approved_of_an_environment_is_that_one_change(story: Story) -> None:
    story.environment("prod", protectFrom="People", approvals={"required": 2})
    lower = spec(approvals={"required": 1})
    request = request_in(story.write("protectedenvironments", "prod", lower, by=user("alice@example.com")))
    assert "spec.approvals.required: 2 -> 1" in story.world.snapshot().requests[request].change.lines
    assert story.sign(request, "bob").allowed
    assert story.sign(request, "carol").allowed
    audit = spec(approvals={"required": 1}, mode="Audit")
    assert story.write("protectedenvironments", "prod", audit, by=user("alice@example.com")).reason is Reason.PENDING
    assert story.write("protectedenvironments", "prod", lower, by=user("alice@example.com")).reason is Reason.APPROVED


def test_a_change_that_weakens_nothing_passes(story: Story) -> None:
    story.environment("prod", protectFrom="Everyone")
    assert story.write("protectedenvironments", "prod", spec(approvals={"required": 2}), by=ADMIN).reason is Reason.NOT_HELD
    assert story.write("protectedenvironments", "more", {"protectFrom": "People"}, by=ADMIN).allowed
    assert story.write("agentidentities", "new", IDENTITY, by=ADMIN).allowed


def test_an_agents_identity_is_held_by_the_strictest_environment(story: Story) -> None:
    assert story.write("agentidentities", "kiro", spec(sponsors=["bob"]), by=ADMIN).allowed
    story.environment("prod", protectFrom="People")
    assert story.write("agentidentities", "kiro", spec(sponsors=["carol"]), by=ADMIN).reason is Reason.PENDING
    assert story.write("agentidentities", "kiro", None, by=ADMIN).reason is Reason.PENDING


def test_a_sponsor_cannot_shed_the_name_by_which_she_is_one(story: Story) -> None:
    story.environment("prod", protectFrom="People")
    story.change("reviewers", "alice", usernames=["alice@example.com", "oidc:alice"])
    story.change("agentidentities", "kiro", sponsors=["alice@example.com"])
    alice = user("oidc:alice")
    assert story.write("reviewers", "alice", spec(usernames=["oidc:alice"]), by=alice).reason is Reason.PENDING
    request = request_in(story.delete())
    assert cause(story.sign(request, "alice", creator=alice), "fault") == "IsASponsor"


# ── refused at creation ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SYSTEM = {"kind": "Group", "name": "system:authenticated"}
REFUSED: list[tuple[str, str, Json, str]] = [
    ("agentidentities", "x", {"sponsors": ["alice"], "subjects": [SYSTEM]}, "cluster's own"),
    ("agentidentities", "x", {"sponsors": ["alice"], "subjects": [{"kind": "User", "name": "bob@example.com"}]}, "is also the Reviewer bob"),
    ("agentidentities", "x", {"sponsors": ["alice"], "subjects": [{"kind": "ServiceAccount", "namespace": "countersign", "name": "*"}]},
     "Countersign's own"),
    ("reviewers", "x", reviewer_spec("bob"), "one username is one person"),
    ("reviewers", "x", {"usernames": ["x"], "keys": [{"name": "a", "publicKey": key_of("bob").public_key}]}, "one key is one person"),
    ("reviewers", "x", {"usernames": ["x"], "keys": [{"name": "a", "publicKey": "rubbish"}]}, "The key 'a'"),
    ("reviewers", "x", {"usernames": ["system:admin"]}, "not a person's"),
    ("reviewers", "x", {"usernams": ["x"]}, "usernam"),
    ("protectedenvironments", "x", {"protectFrom": "Nobody"}, "protectFrom"),
    ("protectedenvironments", "x", {}, "protectFrom"),
    ("protectedenvironments", "x", {"protectFrom": "People", "except": [{"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"}]},
     "agents are never excepted"),
]  # fmt: skip


@pytest.mark.parametrize(("plural", "name", "body", "why"), REFUSED)
def test_what_is_refused_with_a_sentence(story: Story, plural: str, name: str, body: Json, why: str) -> None:
    answer = story.write(plural, name, body, by=ADMIN)
    assert (answer.allowed, answer.reason, answer.code) == (False, Reason.INVALID, 422)
    assert why in answer.message


def test_what_is_ill_formed_is_never_put_up_for_signing(story: Story) -> None:
    story.environment("prod", protectFrom="People", approvals={"required": 2})
    kiro = {"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"}
    answer = story.write("protectedenvironments", "prod", spec(approvals={"required": 1}, **{"except": [kiro]}), by=ADMIN)
    assert answer.reason is Reason.INVALID
    assert story.world.requests() == []


def test_more_signatures_than_people(story: Story) -> None:
    early = story.write("protectedenvironments", "a", {"protectFrom": "Agents", "approvals": {"required": 9}}, by=ADMIN)
    assert early.allowed
    assert "requires 9 signatures, and 3 people could sign" in early.warnings[0]
    story.change("protectedenvironments", "default", **CLOSED)
    late = story.write("protectedenvironments", "b", {"protectFrom": "Agents", "approvals": {"required": 9}}, by=ADMIN)
    assert late.reason is Reason.INVALID


def test_what_was_wrong_before_does_not_stop_another_change(story: Story) -> None:
    story.change("protectedenvironments", "default", **CLOSED)
    story.environment("old", approvals={"required": 9})
    assert story.write("protectedenvironments", "old", spec(approvals={"required": 9}, ownWork="1h"), by=ADMIN).allowed
    worse = story.write("protectedenvironments", "old", spec(approvals={"required": 10}), by=ADMIN)
    assert worse.reason is Reason.INVALID


def test_an_old_object_that_cannot_be_read_is_a_refusal(story: Story) -> None:
    new = story.world.get("protectedenvironments", "default")
    old = {**(new or {}), "spec": {"protectFrom": "Somebody"}}
    asked = story.world.review(ADMIN, Operation.UPDATE, "protectedenvironments", "default", old=old, new=new)
    assert not story.main.ask(asked).allowed


@pytest.mark.parametrize("who", [ADMIN, DEPLOYER])
def test_what_is_not_ours_to_judge_is_refused(story: Story, who: UserInfo) -> None:
    for plural in ("changerequests", "approvals"):
        old: Json = {"metadata": {"name": "x", "uid": "u"}, "spec": {}}
        for operation in (Operation.UPDATE, Operation.DELETE):
            assert story.main.ask(story.world.review(who, operation, plural, "x", old=old, new=old)).reason is Reason.UNKNOWN


def test_who_is_held_back_is_told_what_may_be_wrong_all_the_same(story: Story) -> None:
    """The statement that people sign shows the name escaped; whoever asks reads why it is odd."""
    story.change("protectedenvironments", "default", **CLOSED)
    twin = reviewer_spec("twin", usernames=["b\u043eb@example.com"], keys=[])
    answer = story.write("reviewers", "twin", twin, by=ADMIN)
    assert answer.reason is Reason.PENDING
    assert any("only by characters that look alike" in warning for warning in answer.warnings)


def test_whoever_writes_is_told_whose_key_it_is_and_what_is_taken_away(story: Story) -> None:
    """A mutating policy of somebody else's may have changed what the person sent."""
    registered = story.write("reviewers", "dave", reviewer_spec("dave"), by=ADMIN)
    assert registered.allowed
    assert any("from now on dave signs with" in warning and "SHA256:" in warning for warning in registered.warnings), registered.warnings
    weakened = story.write("protectedenvironments", "default", spec(mode="Audit"), by=ADMIN)
    assert weakened.allowed
    assert "countersign: this takes protection away: it only audits" in weakened.warnings
