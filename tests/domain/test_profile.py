"""What the hardened profile holds back besides: each deletion of a StatefulSet, from agents alone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from countersign.domain.answer import Reason
from countersign.domain.classify import HARDENED, STATEFULSETS, Deletion, Misunderstood, classify
from countersign.domain.decide import Facts, Permit, Withhold, decide, guarded_kinds, holding
from countersign.domain.identify import Agent, Human, Machine, Requester
from countersign.domain.profile import Profile
from countersign.domain.protect import Hold
from countersign.domain.request import Operation, Request
from countersign.domain.resources import Change, Losses, Meta, Mode, ProtectFrom, Target
from countersign.domain.statement import digest_deleted
from tests.support.objects import HOUR, KIRO, NOW, approval, change_request, environment, namespace, snapshot, user

AGENT = Agent(KIRO, ("kiro",), ("alice",), KIRO)
HOME = namespace("payments", uid="6b1f0000-0000-4000-8000-000000000001")
SET = Deletion(Target("apps", "v1", "statefulsets", "db", "payments", "set-1"), Change(old="sha256:s"), {}, {}, "payments")
EVERYONE = environment(protect_from=ProtectFrom.EVERYONE)
FRESH = environment(own_work=HOUR)


def request(**spec: Any) -> Request:
    old = {"metadata": {"name": "db", "namespace": "payments", "uid": "set-1"}, "spec": spec}
    fields: dict[str, Any] = {"group": "apps", "version": "v1", "resource": "statefulsets", "namespace": "payments", "name": "db"}
    return Request(
        uid="1", operation=Operation.DELETE, subresource="", user=user(KIRO), old_object=old, object=None, dry_run=False, **fields
    )


def facts(environments: Any = (FRESH,), *objects: object, **fields: Any) -> Facts:
    world = snapshot(*environments, *objects)
    plain = Facts(
        who=AGENT, user=user(KIRO), change=SET, snapshot=world, now=NOW, cool_off=HOUR, held=Hold(tuple(environments), ()), home=HOME
    )
    return replace(plain, **fields)


def reason(found: Permit | Withhold) -> Reason:
    return found.reason


def test_it_is_a_guarded_deletion_where_the_profile_says_so() -> None:
    found = classify(request(), HARDENED)
    assert isinstance(found, Deletion)
    assert (found.kind, found.home, found.takes_claims) == (STATEFULSETS, "payments", False)
    assert isinstance(classify(request(), frozenset()), Misunderstood)


def test_whether_it_takes_its_claims_along() -> None:
    for policy, expected in (({"whenDeleted": "Delete"}, True), ({"whenDeleted": "Retain", "whenScaled": "Delete"}, False)):
        found = classify(request(persistentVolumeClaimRetentionPolicy=policy), HARDENED)
        assert isinstance(found, Deletion)
        assert found.takes_claims is expected


@pytest.mark.parametrize(
    ("profile", "who", "held"),
    [
        (Profile.HARDENED, AGENT, True),
        (Profile.STANDARD, AGENT, False),
        (Profile.HARDENED, Human("alice@example.com", ""), False),
        (Profile.HARDENED, Machine("system:serviceaccount:ci:deployer", builtin=False), False),
    ],
)
def test_whom_it_is_held_back_from(profile: Profile, who: Requester, held: bool) -> None:
    world = snapshot(EVERYONE, HOME)
    assert bool(guarded_kinds(profile, who)) is held
    assert bool(holding(SET, who, user(KIRO), world, profile).held) is held


def test_a_team_may_list_it_for_everybody() -> None:
    listing = replace(EVERYONE, resources=(STATEFULSETS,))
    world = snapshot(listing, HOME)
    for profile in Profile:
        assert holding(SET, Human("alice@example.com", ""), user("alice@example.com"), world, profile).held == (listing,)


def test_it_waits_for_signatures_and_passes_with_them() -> None:
    assert reason(decide(facts())) is Reason.PENDING
    signed = change_request(target=SET.target, change=SET.change)
    assert reason(decide(facts((FRESH,), signed, approval(signed), now=NOW + timedelta(minutes=30)))) is Reason.APPROVED


def test_an_approved_namespace_covers_it() -> None:
    signed = change_request(change=Change(old=digest_deleted(HOME.document)))
    now = NOW + timedelta(minutes=30)
    found = decide(facts((FRESH,), signed, approval(signed), now=now, losses=Losses(2, 1)))
    assert reason(found) is Reason.COVERED


OWN = replace(HOME, annotations={"kube-countersign.dev/created-by": KIRO}, meta=replace(HOME.meta, created=NOW))


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({}, True),
        ({"now": NOW + HOUR}, True),
        ({"now": NOW + HOUR + timedelta(seconds=1)}, False),
        ({"home": HOME}, False),
        ({"home": None}, False),
        ({"home": replace(OWN, meta=Meta("payments", uid=OWN.meta.uid))}, False),
        ({"home": replace(OWN, annotations={"kube-countersign.dev/created-by": "somebody"})}, False),
        ({"change": replace(SET, takes_claims=True)}, False),
        ({"held": Hold((FRESH, environment("strict")), ())}, False),
        ({"held": Hold((environment(),), ())}, False),
        ({"who": replace(AGENT, guise=Human("alice@example.com", ""))}, False),
    ],
)
def test_what_lies_in_own_work_goes_as_it_would(fields: dict[str, Any], passes: bool) -> None:
    found = decide(facts(**{"home": OWN, **fields}))
    assert (reason(found) is Reason.OWN_WORK) is passes
    if not passes:
        assert isinstance(found, Withhold)


@pytest.mark.parametrize("kind", ["persistentvolumeclaims", "things.example.com"])
def test_nothing_else_goes_because_it_lies_in_own_work(kind: str) -> None:
    resource, _, group = kind.partition(".")
    other = replace(SET, target=replace(SET.target, group=group, resource=resource))
    for losses in (None, Losses(), Losses(0, 0)):
        assert reason(decide(facts(home=OWN, change=other, losses=losses, created=NOW))) is Reason.PENDING


def test_in_audit_mode_it_is_only_recorded() -> None:
    audited = environment(mode=Mode.AUDIT)
    assert reason(decide(facts((audited,)))) is Reason.AUDIT
