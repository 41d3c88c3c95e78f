"""Who may announce broken glass, in the API server's own process: wire/guards/glass.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from countersign.domain.names import GROUP
from tests.support.admission import Ask, refusals
from tests.wire._cluster import ALICE, ALL, DEPLOYER, KIRO, thing

GLASS = {"from": "2026-11-22T12:10:00Z", "by": ALICE, "why": "all reviewers have left"}
VERB = frozenset({(GROUP, "protectedenvironments", "break-glass")})
EDITOR = frozenset({(GROUP, "protectedenvironments", verb) for verb in ("get", "create", "update", "patch", "delete")})


def environment(glass: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return thing("default", {"protectFrom": "Agents", **spec, **({"glass": glass} if glass else {})})


def announcing(
    user: str = ALICE, *, old: dict[str, Any] | None, new: dict[str, Any], rights: frozenset[tuple[str, str, str]] = VERB
) -> Ask:
    operation = "CREATE" if old is None else "UPDATE"
    return Ask(user, operation, "protectedenvironments", object=new, old=old, group=GROUP, name="default", rights=rights)


ANNOUNCED = [
    pytest.param(environment(), environment(GLASS), id="announced"),
    pytest.param(None, environment(GLASS), id="in a default that is written anew"),
    pytest.param(environment(GLASS), environment(GLASS | {"from": "2026-11-22T13:10:00Z"}), id="moved"),
    pytest.param(environment(GLASS), environment(GLASS | {"why": "another reason"}), id="told otherwise"),
    pytest.param(environment(GLASS | {"by": "bob@example.com"}), environment(GLASS), id="taken over from another"),
]


@pytest.mark.parametrize(("old", "new"), ANNOUNCED)
def test_it_takes_a_human_with_the_verb(old: dict[str, Any] | None, new: dict[str, Any]) -> None:
    asked = announcing(old=old, new=new)
    assert refusals(ALL, asked) == []
    [said] = refusals(ALL, replace(asked, rights=EDITOR))
    assert "takes a human with the verb break-glass" in said
    [said] = refusals(ALL, replace(asked, user=DEPLOYER))
    assert "takes a human with the verb break-glass" in said
    assert any("takes a human with the verb break-glass" in each for each in refusals(ALL, replace(asked, user=KIRO)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(environment(GLASS), environment(), id="taken out"),
        pytest.param(environment(GLASS), environment(GLASS, ownWork="1h"), id="something else changed"),
        pytest.param(environment(), environment(ownWork="1h"), id="without any"),
        pytest.param(None, environment(), id="written anew without any"),
    ],
)
def test_what_announces_nothing_is_free(old: dict[str, Any] | None, new: dict[str, Any]) -> None:
    for user in (ALICE, DEPLOYER):
        assert refusals(ALL, announcing(user, old=old, new=new, rights=EDITOR)) == []
