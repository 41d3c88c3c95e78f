"""The rule: every way to a Permit, and that nothing else leads there."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from countersign.domain.answer import Reason
from countersign.domain.classify import Deletion, Relabelling, Setting
from countersign.domain.decide import Facts, Permit, Withhold, act_of_home, current_round, decide, holding
from countersign.domain.identify import Agent, Human
from countersign.domain.protect import Hold
from countersign.domain.request import Operation
from countersign.domain.resources import (
    Approval,
    Change,
    ChangeRequest,
    Losses,
    Meta,
    Mode,
    ProtectedEnvironment,
    Requester,
    Selector,
    Target,
    Verdict,
)
from countersign.domain.statement import act_of, digest_deleted
from tests.support.objects import HOUR, KIRO, MINUTE, NOW, approval, change_request, environment, namespace, person, snapshot, user

AGENT = Agent(KIRO, ("kiro",), ("alice",), KIRO)
DEFAULT = environment()
HOME = namespace("payments", uid="6b1f0000-0000-4000-8000-000000000001")
OLD = digest_deleted(HOME.document)
REQUEST = change_request(change=Change(old=OLD))
LATER = NOW + 30 * MINUTE
NAMESPACE = Deletion(REQUEST.target, Change(old=OLD), {}, {}, "")
CLAIM = Deletion(Target("", "v1", "persistentvolumeclaims", "data", "payments", "claim-1"), Change(old="sha256:c"), {}, {}, "payments")


def facts(change: Any = NAMESPACE, *objects: object, **fields: Any) -> Facts:
    world = snapshot(*objects)
    held = fields.pop("held", Hold(tuple(world.environments.values()), ()))
    plain = Facts(
        who=AGENT,
        user=user(KIRO),
        change=change,
        snapshot=world,
        now=LATER,
        cool_off=HOUR,
        held=held,
        home=HOME if isinstance(change, Deletion) and change.target.namespace else None,
        losses=Losses(2, 1),
    )
    return replace(plain, **fields)


def permitted(found: Permit | Withhold) -> Reason:
    assert isinstance(found, Permit)
    return found.reason


def withheld(found: Permit | Withhold) -> Withhold:
    assert isinstance(found, Withhold)
    return found


# ── 1 and 2 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SETTING = Setting(Target("kube-countersign.dev", "v1alpha1", "reviewers", "erin"), Change(new="sha256:n"), Operation.CREATE)


def test_agents_never_write_our_settings_signed_for_or_not() -> None:
    signed = change_request(operation="CREATE", target=SETTING.target, change=SETTING.change)
    for held in (Hold((), ()), Hold((), (DEFAULT,)), Hold((DEFAULT,), ())):
        assert withheld(decide(facts(SETTING, signed, approval(signed), held=held))).reason is Reason.FORBIDDEN


def test_what_nothing_holds_is_let_through() -> None:
    assert permitted(decide(facts(held=Hold((), ())))) is Reason.NOT_HELD
    assert permitted(decide(facts(held=Hold((), (DEFAULT,))))) is Reason.EXCEPTED
    assert withheld(decide(facts(held=Hold((DEFAULT,), (environment("x"),))))).reason is Reason.PENDING


def test_settings_are_judged_elsewhere() -> None:
    with pytest.raises(TypeError):
        holding(SETTING, AGENT, user(KIRO), snapshot())


def test_what_holds_a_deletion_and_a_relabelling() -> None:
    prod = environment("prod", selector=Selector({"tier": "prod"}))
    world = snapshot(DEFAULT, prod)
    deletion = replace(NAMESPACE, labels={"tier": "prod"})
    relabelling = Relabelling(REQUEST.target, Change(), {"tier": "prod"}, {})
    assert holding(deletion, AGENT, user(KIRO), world).held == (DEFAULT, prod)
    assert holding(relabelling, AGENT, user(KIRO), world).held == (prod,)


# ── 3: own work ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

MINE = replace(NAMESPACE, annotations={"kube-countersign.dev/created-by": KIRO})
FRESH = environment(own_work=HOUR)
NOTHING = Losses(0, 5)


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({}, True),
        ({"losses": Losses(1, 0)}, False),
        ({"losses": Losses(None, None)}, False),
        ({"created": NOW - HOUR}, False),
        ({"created": None}, False),
        ({"user": user("system:serviceaccount:agents:rogue")}, False),
        ({"change": NAMESPACE}, False),
        ({"held": Hold((FRESH, environment("strict")), ())}, False),
        ({"held": Hold((FRESH, environment("also", own_work=2 * HOUR)), ())}, True),
        ({"held": Hold((FRESH, environment("audit", mode=Mode.AUDIT)), ())}, True),
        ({"change": Relabelling(MINE.target, Change(), {"a": "b"}, {})}, False),
    ],
)
def test_own_work_passes_only_while_all_of_it_holds(fields: dict[str, Any], passes: bool) -> None:
    found = decide(replace(facts(MINE, FRESH, losses=NOTHING, created=NOW), **fields))
    if not passes:
        assert withheld(found).reason is Reason.PENDING
    else:
        assert permitted(found) in (Reason.OWN_WORK, Reason.AUDIT)


# ── 4: signed for ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_act_that_was_signed_for_passes() -> None:
    found = decide(facts(NAMESPACE, REQUEST, approval(REQUEST)))
    assert isinstance(found, Permit)
    assert (found.reason, found.request) == (Reason.APPROVED, REQUEST)


OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("another agent", {"who": replace(AGENT, key="system:serviceaccount:agents:rogue")}),
    ("a human", {"who": Human("alice@example.com", "alice")}),
    ("another object of that name", {"change": replace(NAMESPACE, target=replace(NAMESPACE.target, uid="new"))}),
    ("another name", {"change": replace(NAMESPACE, target=replace(NAMESPACE.target, name="orders"))}),
    ("another kind", {"change": replace(NAMESPACE, target=replace(NAMESPACE.target, resource="persistentvolumes"))}),
    ("another group", {"change": replace(NAMESPACE, target=replace(NAMESPACE.target, group="example.com"))}),
    ("another content", {"change": replace(NAMESPACE, change=Change(old="sha256:other"))}),
    ("another operation", {"change": Relabelling(NAMESPACE.target, NAMESPACE.change, {"a": "b"}, {})}),
    ("too late", {"now": NOW + 2 * HOUR}),
    ("expired", {"now": REQUEST.expires_at}),
    ("more volumes to lose", {"losses": Losses(3, 1)}),
    ("more load balancers to lose", {"losses": Losses(2, 2)}),
    ("an environment more that nobody signed enough for", {"held": Hold((DEFAULT, environment("strict", required=2)), ())}),
    ("the signer sponsors the agent now", {"who": replace(AGENT, sponsors=("alice", "bob"))}),
]  # fmt: skip


@pytest.mark.parametrize("fields", [pytest.param(row[1], id=row[0]) for row in OTHERS])
def test_nothing_else_passes(fields: dict[str, Any]) -> None:
    signed = facts(NAMESPACE, REQUEST, approval(REQUEST))
    assert permitted(decide(signed)) is Reason.APPROVED
    assert withheld(decide(replace(signed, **fields))).reason is Reason.PENDING


def test_another_version_of_the_api_is_the_same_act() -> None:
    other = replace(NAMESPACE, target=replace(NAMESPACE.target, version="v2"))
    assert permitted(decide(facts(other, REQUEST, approval(REQUEST)))) is Reason.APPROVED


def test_only_the_last_round_counts() -> None:
    second = replace(change_request(change=Change(old=OLD), round=2), meta=Meta("second", created=NOW))
    world = (REQUEST, approval(REQUEST), second)
    found = withheld(decide(facts(NAMESPACE, *world)))
    assert (found.request, found.next_round) == (second, 0)
    assert permitted(decide(facts(NAMESPACE, *world, approval(second, "carol")))) is Reason.APPROVED
    assert current_round(act_of(REQUEST), snapshot(*world)) == second
    assert current_round("unknown", snapshot(*world)) is None


def test_an_update_loses_nothing_so_a_count_of_its_namespace_does_not_end_it() -> None:
    change = Relabelling(NAMESPACE.target, Change(old="sha256:o", new="sha256:n"), {"a": "b"}, {})
    request = change_request(operation="UPDATE", change=change.change, losses=Losses())
    assert permitted(decide(facts(change, request, approval(request), losses=Losses(9, 9)))) is Reason.APPROVED


# ── 4: covered ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_approved_namespace_covers_what_is_inside() -> None:
    found = decide(facts(CLAIM, REQUEST, approval(REQUEST)))
    assert isinstance(found, Permit)
    assert (found.reason, found.request) == (Reason.COVERED, REQUEST)


NOT_COVERED: list[tuple[str, dict[str, Any]]] = [
    ("outside", {"change": replace(CLAIM, target=replace(CLAIM.target, namespace="orders")), "home": namespace("orders")}),
    ("a namespace of that name that came after", {"home": namespace("payments", uid="new")}),
    ("a namespace that has got a cascade", {"home": replace(HOME, document={**HOME.document, "spec": {"finalizers": ["x"]}})}),
    ("a namespace that is gone", {"home": None}),
    ("what belongs to the cluster", {"change": replace(CLAIM, target=replace(CLAIM.target, namespace="", resource="persistentvolumes"))}),
    ("another requester", {"who": replace(AGENT, key="system:serviceaccount:agents:rogue")}),
    ("before the quorum", {"snapshot": snapshot(REQUEST)}),
    ("after the window", {"now": NOW + 2 * HOUR}),
    ("the signer sponsors the agent now", {"who": replace(AGENT, sponsors=("alice", "bob"))}),
    ("after a rejection", {"snapshot": snapshot(REQUEST, approval(REQUEST), approval(REQUEST, "carol", verdict=Verdict.REJECT))}),
    ("more to lose in the namespace", {"losses": Losses(3, 1)}),
    ("an environment more that nobody signed enough for", {"held": Hold((DEFAULT, environment("strict", required=2)), ())}),
    ("an update inside", {"change": Relabelling(CLAIM.target, CLAIM.change, {}, {})}),
]  # fmt: skip


@pytest.mark.parametrize("fields", [pytest.param(row[1], id=row[0]) for row in NOT_COVERED])
def test_it_covers_nothing_else(fields: dict[str, Any]) -> None:
    signed = facts(CLAIM, REQUEST, approval(REQUEST))
    assert permitted(decide(signed)) is Reason.COVERED
    assert withheld(decide(replace(signed, **fields))).reason is Reason.PENDING


def test_an_approved_claim_does_not_cover_its_namespace() -> None:
    claim = change_request(target=CLAIM.target, change=CLAIM.change, losses=Losses(volumes=1))
    assert permitted(decide(facts(CLAIM, claim, approval(claim)))) is Reason.APPROVED
    assert withheld(decide(facts(NAMESPACE, claim, approval(claim)))).reason is Reason.PENDING
    assert act_of_home(facts(NAMESPACE)) == ""


# ── 5: audit ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

AUDIT = environment("audit", mode=Mode.AUDIT, required=5)


def test_audit_lets_through_what_only_it_would_hold() -> None:
    found = decide(facts(held=Hold((AUDIT,), ())))
    assert isinstance(found, Permit)
    assert (found.reason, found.held) == (Reason.AUDIT, (AUDIT,))


def test_audit_neither_helps_nor_hinders_others() -> None:
    waiting = withheld(decide(facts(held=Hold((AUDIT, DEFAULT), ()))))
    assert waiting.held == (DEFAULT,)
    assert permitted(decide(facts(NAMESPACE, REQUEST, approval(REQUEST), held=Hold((AUDIT, DEFAULT), ())))) is Reason.APPROVED


# ── 6: refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

REJECTED_AT = NOW + 10 * MINUTE
NO = approval(REQUEST, "carol", at=REJECTED_AT, verdict=Verdict.REJECT)


@pytest.mark.parametrize(
    ("signed", "now", "reason", "next_round"),
    [
        pytest.param((), LATER, Reason.PENDING, 0, id="waits"),
        pytest.param((), REQUEST.expires_at, Reason.PENDING, 2, id="expired: the next round opens"),
        pytest.param((approval(REQUEST, at=NOW),), NOW + HOUR, Reason.PENDING, 2, id="not used in time: the next round opens"),
        pytest.param((approval(REQUEST), NO), LATER, Reason.REJECTED, 0, id="rejected"),
        pytest.param((NO,), REJECTED_AT + HOUR - timedelta(seconds=1), Reason.REJECTED, 0, id="rejected, within the cool-off"),
        pytest.param((NO,), REJECTED_AT + HOUR, Reason.PENDING, 2, id="after the cool-off the next round opens"),
        pytest.param((NO,), REQUEST.expires_at + HOUR, Reason.PENDING, 2, id="long after"),
        pytest.param(
            (replace(NO, meta=Meta("no")),), REQUEST.expires_at + HOUR, Reason.REJECTED, 0, id="a rejection without a time stands"
        ),
    ],
)
def test_when_the_next_round_opens(signed: tuple[Approval, ...], now: datetime, reason: Reason, next_round: int) -> None:
    found = withheld(decide(facts(NAMESPACE, REQUEST, *signed, now=now)))
    assert (found.reason, found.next_round, found.request) == (reason, next_round, REQUEST)
    if reason is Reason.REJECTED:
        assert found.until == (NO.meta.created + HOUR if NO.meta.created and signed[-1].meta.created else None)


def test_the_first_round_is_opened_where_there_is_none() -> None:
    found = withheld(decide(facts()))
    assert (found.reason, found.next_round, found.request, found.held) == (Reason.PENDING, 1, None, (DEFAULT,))


def test_more_losses_open_the_next_round() -> None:
    assert withheld(decide(facts(NAMESPACE, REQUEST, approval(REQUEST), losses=Losses(3, 1)))).next_round == 2


def test_a_generated_name_cannot_be_signed_for() -> None:
    human = Human("erin@example.com", "")
    found = withheld(decide(facts(replace(SETTING, generated=True), who=human)))
    assert (found.reason, found.next_round) == (Reason.FORBIDDEN, 0)
    assert "metadata.name" in found.sentence
    assert withheld(decide(facts(SETTING, who=human))).reason is Reason.PENDING
    assert permitted(decide(facts(replace(SETTING, generated=True), who=human, held=Hold((), ())))) is Reason.NOT_HELD


def test_a_shared_admin_account_needs_one_more_though_its_agent_asked() -> None:
    """The agent and the human behind it may bear one name, and so share an act."""
    request = change_request(change=Change(old=OLD), requester=Requester("admin", "admin", ("kiro",), ("alice",)))
    agent, human = Agent("admin", ("kiro",), ("alice",), "admin"), Human("admin", "")
    world = (request, approval(request))
    assert permitted(decide(facts(NAMESPACE, *world, who=agent, user=user("admin")))) is Reason.APPROVED
    assert withheld(decide(facts(NAMESPACE, *world, who=human, user=user("admin")))).reason is Reason.PENDING


def test_a_person_is_not_a_requester_under_another_name() -> None:
    request: ChangeRequest = change_request(change=Change(old=OLD), requester=Requester("bob@example.com", "bob@example.com"))
    bob = Human("bob@example.com", "bob")
    people = (person("bob", usernames=("bob@example.com", "oidc:bob")), person("carol"))
    assert withheld(decide(facts(NAMESPACE, request, approval(request), *people, who=bob))).reason is Reason.PENDING
    assert permitted(decide(facts(NAMESPACE, request, approval(request, "carol"), *people, who=bob))) is Reason.APPROVED


def test_each_environment_needs_its_own() -> None:
    sre, web = environment("sre", teams=("sre",)), environment("web", teams=("web",))
    request = change_request(change=Change(old=OLD), environments=("sre", "web"))
    people = (person("bob", teams=("sre",)), person("carol", teams=("web",)))
    both: tuple[ProtectedEnvironment, ...] = (sre, web)
    assert withheld(decide(facts(NAMESPACE, request, approval(request), *both, *people))).reason is Reason.PENDING
    assert permitted(decide(facts(NAMESPACE, request, approval(request), approval(request, "carol"), *both, *people))) is Reason.APPROVED
