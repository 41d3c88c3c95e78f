"""What the operator tells of: namespaces that left an environment, settings that were weakened; however that came about."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from countersign.domain.names import ANNOTATION_ENVIRONMENTS
from countersign.domain.resources import Meta, Mode, Namespace, Selector
from countersign.service.drift import Drift
from countersign.service.ports import ApiError
from tests.support.api import MemoryApi
from tests.support.objects import account, environment, identity, key_of, namespace, person, snapshot
from tests.support.operator import MemoryNotices

PROD = environment("prod", selector=Selector({"tier": "prod"}))
DEFAULT = environment("default")
IN, OUT = namespace("payments", {"tier": "prod", "a": "1"}), namespace("payments", {"a": "1"})


@dataclass
class CountingMeter:
    departed: Counter[str] = field(default_factory=Counter)
    weaker: Counter[str] = field(default_factory=Counter)

    def left(self, environment: str) -> None:
        self.departed[environment] += 1

    def weakened(self, kind: str) -> None:
        self.weaker[kind] += 1


@dataclass
class World:
    api: MemoryApi = field(default_factory=MemoryApi)
    notices: MemoryNotices = field(default_factory=MemoryNotices)
    meter: CountingMeter = field(default_factory=CountingMeter)

    def __post_init__(self) -> None:
        self.drift = Drift(self.api, self.notices, self.meter)

    async def see(self, *objects: object) -> list[tuple[str, str, str]]:
        """One round; what was told in it."""
        self.notices.told.clear()
        view = snapshot(*objects)
        for each in view.namespaces.values():
            there = MemoryApi((f"/api/v1/namespaces/{each.meta.name}", {"metadata": {"uid": each.meta.uid}})).objects
            self.api.objects = there | self.api.objects
        await self.drift.reconcile(view)
        return [(notice.kind, notice.reason, notice.message) for notice in self.notices.told]


@pytest.fixture
def world() -> World:
    return World()


def noted(of: Namespace, value: str) -> Namespace:
    return replace(of, annotations={ANNOTATION_ENVIRONMENTS: value})


class TestNamespaces:
    async def test_one_that_loses_its_label_is_told_of_with_before_and_after(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        assert await world.see(PROD, DEFAULT, IN) == []
        told = await world.see(PROD, DEFAULT, OUT)
        assert [(kind, reason) for kind, reason, _ in told] == [
            ("ProtectedEnvironment", "NamespacesLeft"),
            ("Namespace", "LeftEnvironment"),
        ]
        assert all("tier: prod -> (absent)" in message for *_, message in told)
        assert "payments has left the environment prod: tier: prod -> (absent)" in caplog.text
        assert world.meter.departed == {"prod": 1}
        assert await world.see(PROD, DEFAULT, OUT) == [], "once"

    async def test_also_over_a_restart_of_the_operator(self, world: World) -> None:
        told = await world.see(PROD, DEFAULT, noted(OUT, "default,prod"))
        assert [reason for _, reason, _ in told] == ["NamespacesLeft", "LeftEnvironment"]
        assert "while nobody looked" in told[0][2]

    async def test_what_stays_goes_or_is_another_is_not_told(self, world: World) -> None:
        await world.see(PROD, DEFAULT, IN)
        assert await world.see(PROD, DEFAULT, replace(IN, labels={"tier": "prod", "b": "2"})) == []
        assert await world.see(PROD, DEFAULT, replace(OUT, meta=replace(OUT.meta, deleting=True))) == []
        assert await world.see(PROD, DEFAULT, namespace("payments", {}, uid="another")) == []
        assert world.meter.departed == {}

    async def test_an_environment_that_is_narrowed_or_deleted_loses_them_all(self, world: World) -> None:
        many = [namespace(f"n{index}", {"tier": "prod"}) for index in range(30)]
        await world.see(PROD, DEFAULT, *many)
        told = await world.see(replace(PROD, selector=Selector({"tier": "prod", "x": "y"})), DEFAULT, *many)
        assert Counter(reason for _, reason, _ in told) == {"ProtectionWeakened": 1, "NamespacesLeft": 1, "LeftEnvironment": 20}
        assert "and 20 more. its labels are as they were" in next(message for _, reason, message in told if reason == "NamespacesLeft")
        assert world.meter.departed == {"prod": 30}
        await world.see(PROD, DEFAULT, *many)
        told = await world.see(DEFAULT, *many)
        assert [reason for _, reason, _ in told] == ["ProtectionWeakened"]
        assert world.meter.departed == {"prod": 60}

    async def test_an_annotation_that_names_anything_makes_no_noise(self, world: World) -> None:
        assert await world.see(PROD, DEFAULT, noted(OUT, "default,evil,,x")) == []
        assert world.meter.departed == {}

    async def test_where_it_is_in_is_noted_and_only_news_is_written(self, world: World) -> None:
        await world.see(PROD, DEFAULT, IN)
        assert world.api.writes() == [("PATCH", "/api/v1/namespaces/payments")]
        assert world.api.objects["/api/v1/namespaces/payments"]["metadata"]["annotations"] == {ANNOTATION_ENVIRONMENTS: "default,prod"}
        await world.see(PROD, DEFAULT, noted(IN, "default,prod"))
        assert len(world.api.writes()) == 1
        await world.see(DEFAULT, noted(OUT, "default"), namespace("going", {}))
        assert len(world.api.writes()) == 2
        await world.see(DEFAULT, noted(OUT, "default"), replace(namespace("going", {}), meta=Meta("going", deleting=True)))
        assert len(world.api.writes()) == 2

    async def test_a_very_long_note_is_cut_between_names(self, world: World) -> None:
        long = [environment(f"{index:03}-{'e' * 200}", selector=Selector({"tier": "prod"})) for index in range(40)]
        await world.see(*long, IN)
        note = world.api.objects["/api/v1/namespaces/payments"]["metadata"]["annotations"][ANNOTATION_ENVIRONMENTS]
        assert len(note) <= 4000
        assert {len(name) for name in note.split(",")} == {204}

    async def test_what_cannot_be_noted_is_tried_again_and_tells_nothing_twice(self, world: World) -> None:
        await world.see(PROD, DEFAULT, noted(IN, "default,prod"))
        world.api.failing = {("PATCH", "/api/v1/namespaces/payments"): ApiError(500, "no")}
        with pytest.raises(ApiError):
            await world.see(PROD, DEFAULT, noted(OUT, "default,prod"))
        assert len(world.notices.told) == 2
        world.api.failing = {}
        assert await world.see(PROD, DEFAULT, noted(OUT, "default,prod")) == []
        assert world.api.objects["/api/v1/namespaces/payments"]["metadata"]["annotations"] == {ANNOTATION_ENVIRONMENTS: "default"}

    async def test_another_namespace_of_its_name_is_left_alone(self, world: World) -> None:
        await world.see(DEFAULT, noted(OUT, "default"))
        await world.see(DEFAULT, namespace("payments", {}, uid="another"))
        assert "annotations" not in world.api.objects["/api/v1/namespaces/payments"]["metadata"]


class TestSettings:
    async def test_nothing_is_told_of_the_first_look(self, world: World) -> None:
        assert await world.see(PROD, identity(), person("bob")) == []

    async def test_weakened_deleted_and_registered(self, world: World) -> None:
        await world.see(PROD, DEFAULT, identity(), person("bob"))
        audit = replace(PROD, mode=Mode.AUDIT)
        assert await world.see(audit, DEFAULT, identity(), person("bob")) == [
            ("ProtectedEnvironment", "ProtectionWeakened", "it only audits.")
        ]
        more = identity("kiro", account("agents", "kiro"), sponsors=("carol",))
        assert await world.see(audit, DEFAULT, more, person("bob")) == [("AgentIdentity", "ProtectionWeakened", "its sponsors change.")]
        told = await world.see(audit, DEFAULT, identity("another"), person("bob", keys=(key_of("bob"), key_of("more"))))
        assert told == [
            ("AgentIdentity", "ProtectionWeakened", "an agent is no longer recognised."),
            ("Reviewer", "Registered", "Who may sign has changed: a key is added."),
        ]
        assert world.meter.weaker == {"protectedenvironments": 1, "agentidentities": 2, "reviewers": 1}
        assert not world.notices.told[-1].warning

    async def test_what_only_adds_is_not_told(self, world: World) -> None:
        await world.see(PROD, identity(), person("bob"))
        stricter = replace(PROD, approvals=replace(PROD.approvals, required=2))
        wider = identity("kiro", account("agents", "*"))
        assert await world.see(stricter, DEFAULT, wider, person("bob", keys=())) == []

    async def test_deleted_and_written_anew_between_two_looks(self, world: World) -> None:
        await world.see(replace(PROD, approvals=replace(PROD.approvals, required=2)), DEFAULT)
        anew = replace(PROD, meta=replace(PROD.meta, uid="another"))
        assert [reason for _, reason, _ in await world.see(anew, DEFAULT)] == ["ProtectionWeakened"]
