"""The postures of all agents: reckoned, written, told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from countersign.adapters.status import StatusBoard
from countersign.domain.document import JsonObject, items, mapping
from countersign.domain.errors import UnableError
from countersign.domain.posture import Terms
from countersign.domain.rbac import Binding, Rbac, Request, RoleRef, Rule, allows
from countersign.domain.request import UserInfo
from countersign.domain.resources import AgentIdentity, Meta
from countersign.domain.snapshot import Snapshot
from countersign.service.ports import ApiError
from countersign.service.posture import APART, PERIOD, Postures, Told
from countersign.wire.resources.identity import render_could_become
from tests.support.api import MemoryApi
from tests.support.objects import KIRO, identity, snapshot
from tests.support.operator import HandClock, MemoryNotices

MINT = Rule(frozenset({"create"}), frozenset({""}), frozenset({"serviceaccounts/token"}))
READ = Rule(frozenset({"get"}), frozenset({""}), frozenset({"secrets"}))
PATH = "/apis/kube-countersign.dev/v1alpha1/agentidentities"


@dataclass
class Rights:
    """What kiro may, everywhere."""

    rules: tuple[Rule, ...] = ()
    version: int = 1
    fault: str = ""
    unknown: bool = False

    def known(self) -> tuple[Mapping[RoleRef, Sequence[Rule]], Sequence[Binding]] | None:
        role = RoleRef("", "r")
        return None if self.unknown else ({role: self.rules}, [Binding("", "b", role, users=(KIRO,))])

    def change(self, *rules: Rule) -> None:
        self.rules, self.version = rules, self.version + 1


@dataclass
class Access:
    """What RBAC says, but for what is `refused` or `granted` besides. `broken`: no answer."""

    rights: Rights
    refused: set[str] = field(default_factory=set)
    granted: set[str] = field(default_factory=set)
    broken: bool = False
    asked: list[tuple[str, Request]] = field(default_factory=list)

    async def allowed(self, user: UserInfo, request: Request) -> bool:
        self.asked.append((user.username, request))
        if self.broken:
            raise ApiError(403, "not yours to ask")
        known = self.rights.known()
        assert known is not None
        by_rbac = allows(Rbac(*known).grants((user.username,), user.groups), request)
        return (by_rbac or request.subresource in self.granted) and request.subresource not in self.refused


@dataclass
class State:
    view: Snapshot
    broken: bool = False

    def snapshot(self) -> Snapshot:
        if self.broken:
            raise UnableError("not synced")
        return self.view


class Meter:
    found: Mapping[str, Sequence[str] | None] = {}
    held: Mapping[str, bool] = {}

    def postures(self, found: Mapping[str, Sequence[str] | None], held: Mapping[str, bool]) -> None:
        self.found, self.held = found, held


class World:
    def __init__(self) -> None:
        self.api, self.clock, self.notices, self.meter = MemoryApi(), HandClock(), MemoryNotices(), Meter()
        self.rights = Rights()
        self.access = Access(self.rights)
        self.statuses = StatusBoard(self.api, self.clock)
        self.state = State(snapshot())
        self.know("kiro")
        told = Told(self.statuses, self.notices, self.meter, render_could_become)
        self.postures = Postures(
            self.state, self.rights, self.access, told, self.clock, lambda view: Terms("countersign", listed=view.listed)
        )

    def know(self, *names: str) -> None:
        """The identities that are there, as the API server has them."""
        found: dict[str, AgentIdentity] = {}
        for name in names:
            path = f"{PATH}/{name}"
            if path not in self.api.objects:
                self.api.objects[path] = {"metadata": {"name": name, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1"}}
            found[name] = replace(identity(name), meta=Meta(name, f"uid-{name}", generation=1))
        self.state.view = snapshot(*found.values())

    async def later(self, seconds: float = APART) -> None:
        self.clock.forward(timedelta(seconds=seconds))
        await self.postures.round()

    def status(self, name: str = "kiro") -> JsonObject:
        return mapping(self.api.objects[f"{PATH}/{name}"], "status")

    def held(self, name: str = "kiro") -> tuple[str, str]:
        found = next(each for each in items(self.status(name), "conditions") if each["type"] == "Held")
        return found["status"], found["reason"]


@pytest.fixture
def world() -> World:
    return World()


async def test_an_agent_without_a_way_is_held(world: World) -> None:
    await world.postures.round()
    assert world.held() == ("True", "NoWayRound")
    assert world.status()["counts"] == {"couldDelete": 0, "couldBecome": 0, "waysRound": 0}
    assert world.status()["couldBecome"] == {"generation": 1, "users": [], "serviceAccounts": []}
    assert (world.meter.held, world.meter.found) == ({"kiro": True}, {"kiro": []})
    assert not world.notices.told


async def test_one_that_can_mint_tokens_is_not_and_everybody_hears_of_it_once(world: World) -> None:
    world.rights.change(MINT)
    for _ in range(2):
        await world.postures.round()
    assert world.held() == ("False", "CanMintTokens")
    assert world.status()["couldBecome"]["serviceAccounts"] == ["*/*"]
    assert "Remedy" in world.status()["waysRound"][0]
    assert (world.meter.held, world.meter.found) == ({"kiro": False}, {"kiro": ["CanMintTokens"]})
    assert [(notice.reason, notice.about.name, notice.warning) for notice in world.notices.told] == [("NotHeld", "kiro", True)]


async def test_it_flips_back_and_forth_with_its_rights(world: World) -> None:
    for one, expected in ((MINT, "False"), (READ, "True"), (MINT, "False")):
        world.rights.change(one)
        await world.postures.round()
        assert world.held()[0] == expected
    assert world.held() == ("False", "CanMintTokens")
    assert len(world.notices.told) == 2


async def test_indirect_ways_are_told_and_it_is_held_as_itself(world: World) -> None:
    world.rights.change(READ)
    await world.postures.round()
    assert world.held() == ("True", "HeldAsItself")
    assert world.status()["counts"]["waysRound"] == 2


async def test_other_conditions_stay(world: World) -> None:
    in_force = {"type": "InForce", "status": "True", "reason": "Compiled", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    document = {**world.api.objects[f"{PATH}/kiro"], "status": {"conditions": [in_force]}}
    world.api.objects[f"{PATH}/kiro"] = document
    world.statuses.observe("agentidentities", "ADDED", document)
    await world.postures.round()
    assert [each["type"] for each in items(world.status(), "conditions")] == ["InForce", "Held"]


async def test_what_an_authorizer_refuses_is_closed(world: World) -> None:
    world.rights.change(MINT)
    world.access.refused.add("token")
    await world.postures.round()
    assert not world.status(), "heard once: it may be that the API server has not seen the binding yet"
    assert world.postures._woken.is_set()
    await world.later()
    assert world.held() == ("True", "NoWayRound")
    assert not world.notices.told
    assert (KIRO, Request("create", "", "serviceaccounts", "token")) in world.access.asked


async def test_what_another_authorizer_allows_is_open(world: World) -> None:
    world.access.granted.add("token")
    await world.postures.round()
    assert not world.status()
    await world.later()
    assert world.held() == ("False", "CanMintTokens")
    assert "another authorizer than RBAC" in world.status()["waysRound"][0]


async def test_an_authorizer_that_only_lags_behind_closes_nothing(world: World) -> None:
    world.rights.change(MINT)
    world.access.refused.add("token")
    await world.postures.round()
    world.access.refused.clear()
    await world.later()
    assert world.held() == ("False", "CanMintTokens")


async def test_who_changes_its_rights_all_the_time_is_told_of_by_rbac_alone(world: World) -> None:
    world.access.refused |= {"token", ""}
    for number in range(3):
        named = replace(MINT, names=frozenset({f"x{number}"}))
        world.rights.change(named)
        await world.later()
    assert world.held() == ("False", "CanMintTokens")


async def test_authorizers_that_do_not_answer_leave_rbac(world: World) -> None:
    world.rights.change(MINT)
    world.access.broken = True
    await world.postures.round()
    assert world.held() == ("False", "CanMintTokens")


async def test_authorizers_are_asked_again_only_now_and_then(world: World) -> None:
    world.rights.change(READ)
    await world.postures.round()
    asked = len(world.access.asked)
    await world.later()
    assert len(world.access.asked) == 2 * asked, "each answer is heard twice"
    world.rights.version += 1
    await world.later()
    assert len(world.access.asked) == 2 * asked
    await world.later(PERIOD)
    assert len(world.access.asked) == 3 * asked


async def test_while_rights_are_only_being_listed_nothing_is_said(world: World) -> None:
    world.rights.unknown = True
    assert await world.postures.round() == {}
    assert not world.api.writes()


async def test_rights_that_cannot_be_read_are_unknown(world: World) -> None:
    world.rights.unknown, world.rights.fault = True, "forbidden"
    await world.postures.round()
    assert world.held() == ("Unknown", "RightsUnknown")


async def test_who_is_gone_is_gone_from_the_metrics(world: World) -> None:
    world.know("kiro", "lint")
    await world.postures.round()
    assert set(world.meter.held) == {"kiro", "lint"}
    world.know("lint")
    await world.postures.round()
    assert set(world.meter.held) == {"lint"}


async def test_a_view_that_cannot_be_trusted_raises(world: World) -> None:
    world.state.broken = True
    with pytest.raises(UnableError):
        await world.postures.round()


async def test_one_that_cannot_be_written_does_not_keep_the_others_back(world: World) -> None:
    world.know("kiro", "lint")
    world.api.failing["PATCH", f"{PATH}/kiro/status"] = ApiError(500, "no")
    await world.postures.round()
    assert world.held("lint")[0] in ("True", "False")


def test_only_what_an_object_asks_for_wakes(world: World) -> None:
    def seen(generation: int, event: str = "MODIFIED") -> bool:
        world.postures._woken.clear()
        world.postures.heard("agentidentities", event, {"metadata": {"uid": "u", "generation": generation}})
        return world.postures._woken.is_set()

    assert [seen(1), seen(1), seen(2), seen(2, "DELETED"), seen(2)] == [True, False, True, True, True]
