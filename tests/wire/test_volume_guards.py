"""What controllers would delete in an agent's place: wire/guards/volumes.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.admission import Ask, refusals
from tests.wire._cluster import ALICE, ALL, COLLECTOR, DEPLOYER, KIRO, thing

CLAIM = {"namespace": "payments", "name": "ledger", "uid": "u1"}


def _volume(user: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[str]:
    before, after = ({"claimRef": each} if each else {} for each in (old, new))
    return refusals(ALL, Ask(user, "UPDATE", "persistentvolumes", object=thing(spec=after), old=thing(spec=before)))


@pytest.mark.parametrize(
    "new", [None, CLAIM | {"uid": "u2"}, CLAIM | {"name": "ghost"}, CLAIM | {"namespace": "kube-system"}, {"name": "ledger"}]
)
def test_agents_set_no_volume_free(new: dict[str, Any] | None) -> None:
    [said] = _volume(KIRO, CLAIM, new)
    assert "claimRef" in said
    assert _volume(ALICE, CLAIM, new) == []


@pytest.mark.parametrize("old", [None, CLAIM])
def test_a_volume_that_is_nobodys_or_stays_whose_it_is(old: dict[str, Any] | None) -> None:
    assert _volume(KIRO, old, CLAIM | {"resourceVersion": "2"}) == []
    assert _volume(KIRO, None, None) == []


def _set(user: str, operation: str, old: dict[str, str] | None, new: dict[str, str] | None = None) -> list[str]:
    before, after = ({"persistentVolumeClaimRetentionPolicy": each} if each else {} for each in (old, new))
    return refusals(
        ALL,
        Ask(
            user,
            operation,
            "statefulsets",
            group="apps",
            object=None if operation == "DELETE" else thing(spec=after),
            old=thing(spec=before),
        ),
    )


@pytest.mark.parametrize("when", ["whenDeleted", "whenScaled"])
def test_agents_turn_no_stateful_set_to_delete(when: str) -> None:
    [said] = _set(KIRO, "UPDATE", {when: "Retain"}, {when: "Delete"})
    assert "Retain" in said
    assert len(_set(KIRO, "UPDATE", None, {when: "Delete"})) == 1
    assert _set(KIRO, "UPDATE", {when: "Delete"}, {when: "Delete"}) == []
    assert _set(KIRO, "UPDATE", {when: "Delete"}, {when: "Retain"}) == []
    assert _set(ALICE, "UPDATE", None, {when: "Delete"}) == []


def test_agents_delete_none_that_takes_its_claims_along() -> None:
    [said] = _set(KIRO, "DELETE", {"whenDeleted": "Delete"})
    assert "whenDeleted" in said
    assert _set(KIRO, "DELETE", {"whenDeleted": "Retain", "whenScaled": "Delete"}) == []
    assert _set(KIRO, "DELETE", None) == []
    assert _set(ALICE, "DELETE", {"whenDeleted": "Delete"}) == []


def _deleting(user: str, *owners: str) -> list[str]:
    """A StatefulSet that retains its claims by now, beside one claim for each owner, "" for nobody's."""
    claims = [thing(f"data-{index}", ownerReferences=[{"uid": owner}] if owner else []) for index, owner in enumerate(owners)]
    claims.append(thing("without-the-field"))
    old = thing("ledger", {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}, uid="set-1")
    return refusals(ALL, Ask(user, "DELETE", "statefulsets", old=old, group="apps", params={"PersistentVolumeClaim": claims}))


def test_agents_delete_none_whose_claims_still_bear_its_ownerreference() -> None:
    """Told to retain them a moment ago: its controller has not heard of it yet, or never looks at the claims of replicas that are gone."""
    [said] = _deleting(KIRO, "", "set-1")
    assert "ownerReference" in said
    assert _deleting(KIRO, "", "another-set") == []
    assert _deleting(KIRO) == []
    for user in (ALICE, DEPLOYER, COLLECTOR):
        assert _deleting(user, "set-1") == []


def _set_of(replicas: int, when_scaled: str = "Delete") -> dict[str, Any]:
    return thing("ledger", {"replicas": replicas, "persistentVolumeClaimRetentionPolicy": {"whenScaled": when_scaled}})


def _scaled(user: str, before: int, after: int, when_scaled: str = "Delete") -> list[str]:
    asked = Ask(user, "UPDATE", "statefulsets", old=_set_of(before, when_scaled), object=_set_of(after, when_scaled), group="apps")
    sets = [_set_of(before, when_scaled), thing("other", {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}})]
    # Zero is left out of a Scale.
    whole = {count: {"replicas": count} if count else {} for count in (before, after)}
    by_scale = replace(
        asked, resource="statefulsets/scale", name="ledger", old=thing("ledger", whole[before]), object=thing("ledger", whole[after])
    )
    said = refusals(ALL, asked)
    assert said == refusals(ALL, replace(by_scale, params={"StatefulSet": sets}))
    return said


def test_agents_take_no_replicas_from_one_that_drops_their_claims() -> None:
    for before, after in ((3, 2), (1, 0)):
        [said] = _scaled(KIRO, before, after)
        assert "whenScaled" in said
        assert _scaled(KIRO, before, after, "Retain") == []
        for user in (ALICE, DEPLOYER, COLLECTOR):
            assert _scaled(user, before, after) == []
    for before, after in ((2, 3), (2, 2), (0, 0)):
        assert _scaled(KIRO, before, after) == []


def test_told_to_retain_in_the_same_breath_they_stay() -> None:
    assert refusals(ALL, Ask(KIRO, "UPDATE", "statefulsets", old=_set_of(3), object=_set_of(1, "Retain"), group="apps")) == []
