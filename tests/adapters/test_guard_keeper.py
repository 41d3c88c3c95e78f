"""The guards in the cluster: put in force, put back, and let go of when Countersign is uninstalled."""

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from countersign.adapters.guards import GuardKeeper, form
from countersign.domain.document import JsonObject
from countersign.domain.profile import Profile
from countersign.domain.resources import ProtectFrom
from countersign.domain.tampering import Repair
from countersign.service.ports import ApiError
from countersign.wire.guards.exact import NOT_AS_WRITTEN
from tests.support.api import MemoryApi
from tests.support.objects import environment, identity
from tests.support.operator import HandClock

API = "/apis/admissionregistration.k8s.io/v1"
FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1"
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/countersign-operator"
CONFIGURATION = f"{API}/validatingwebhookconfigurations/countersign"
POLICIES = f"{API}/validatingadmissionpolicies"
COLLECTIONS = (
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
)


class Defaulting(MemoryApi):
    """Adds a default to what it is given, as the API server of some later version would."""

    def _stamped(self, tree: dict[str, Any]) -> dict[str, Any]:
        return super()._stamped(self._defaulted(tree))

    def _put(self, path: str, tree: dict[str, Any]) -> JsonObject:
        return super()._put(path, self._defaulted(tree))

    @staticmethod
    def _defaulted(tree: dict[str, Any]) -> dict[str, Any]:
        if "spec" in tree:
            tree["spec"].setdefault("aFieldOfTheFuture", "Default")
        return tree


class World:
    def __init__(self, *, mutating: bool = True, pause: float = 0.0) -> None:
        served = [{"name": name} for name in (COLLECTIONS if mutating else COLLECTIONS[:3])]
        self.api = Defaulting((API, {"resources": served}), (ROLE, {"metadata": {"uid": "role"}}))
        self.api.collections |= {f"{API}/{name}" for name in COLLECTIONS} | {f"{FLOWS}/flowschemas", f"{FLOWS}/prioritylevelconfigurations"}
        self.clock = HandClock()
        self.told: list[tuple[str, str]] = []
        self.repairs: list[Repair] = []
        self.pause = pause
        self.keeper = self.new_keeper()

    def new_keeper(self, profile: Profile = Profile.STANDARD) -> GuardKeeper:
        def told(repair: Repair) -> None:
            self.repairs.append(repair)
            self.told.append((repair.name, repair.what.value))

        return GuardKeeper(
            self.api,
            self.clock,
            namespace="countersign",
            webhook_url="https://127.0.0.1:1/validate",
            told=told,
            profile=profile,
            pause=self.pause,
        )

    async def keep(self, *names: str, bundle: bytes = b"PEM", **options: Any) -> tuple[str, ...]:
        return await self.keeper.keep([identity(name) for name in names or ("kiro",)], [environment(**options)], bundle)

    def guards(self) -> dict[str, Any]:
        return {path: copy.deepcopy(tree) for path, tree in self.api.objects.items() if path.startswith(f"{API}/")}

    def tamper(self, path: str, how: Callable[[Any], object]) -> None:
        """As anybody would: the write gives the object a new version."""
        tree = copy.deepcopy(self.api.objects[path])
        how(tree)
        self.api._put(path, tree)

    async def event(self, path: str, kind: str = "MODIFIED") -> None:
        document = self.api.objects.get(path) or {"metadata": {"name": path.rpartition("/")[2]}}
        await self.keeper.seen(path.split("/")[-2], kind, copy.deepcopy(document))


@pytest.fixture
async def world() -> World:
    world = World()
    await world.keep()
    world.api.calls.clear()
    return world


class TestPuttingInForce:
    async def test_all_at_once_what_guards_the_guards_first(self) -> None:
        world = World()
        assert await world.keep() == ()
        posted = [path for verb, path in world.api.calls if verb == "POST"]
        assert posted[0] == POLICIES
        assert posted[-1].endswith("/validatingwebhookconfigurations")
        owners = {tree["metadata"]["ownerReferences"][0]["uid"] for tree in world.guards().values()}
        assert owners == {"role"}

    async def test_a_second_time_writes_nothing(self, world: World) -> None:
        await world.keep()
        assert world.api.writes() == []

    async def test_only_what_is_new_is_written(self, world: World) -> None:
        await world.keep(bundle=b"ANOTHER")
        written = [("PUT", f"{POLICIES}/countersign-guards"), ("PUT", f"{POLICIES}/countersign-guards-2"), ("PUT", CONFIGURATION)]
        assert world.api.writes() == written, "the guards of the guards first: they demand it to the letter"

    async def test_a_new_agent_is_in_every_guard_that_names_agents(self, world: World) -> None:
        await world.keep("kiro", "kira")
        assert {path.rpartition("/")[2] for _, path in world.api.writes()} == {
            "countersign",
            "countersign-agents",
            "countersign-agents-claims",
            "countersign-agents-controllers",
            "countersign-agents-inside",
            "countersign-agents-scaling",
            "countersign-agents-volumes",
            "countersign-guards",
            "countersign-guards-2",
            "countersign-label",
            "countersign-laundering",
            "countersign-shadows",
        }

    async def test_after_a_restart_what_was_changed_meanwhile_is_right_again(self, world: World) -> None:
        whole = world.guards()
        world.tamper(CONFIGURATION, _emptied)
        world.keeper = world.new_keeper()
        await world.keep()
        assert {path: form(tree) for path, tree in world.guards().items()} == {path: form(tree) for path, tree in whole.items()}

    async def test_guards_that_are_wanted_no_more_go_and_only_those_of_ours(self, world: World) -> None:
        mine = world.api.objects[f"{POLICIES}/countersign-label"]
        stranger = {**copy.deepcopy(mine), "metadata": {**mine["metadata"], "name": "countersign-x", "ownerReferences": []}}
        world.api.objects[f"{POLICIES}/countersign-x"] = stranger
        await world.keeper.keep([], [environment()], b"PEM")
        left = {path.rpartition("/")[2] for path in world.guards()}
        guards = {"countersign-glass", "countersign-guards", "countersign-guards-2"}
        assert left == {"countersign", *guards, "countersign-laundering", "countersign-leaving", "countersign-records", "countersign-x"}

    async def test_below_1_36_without_mutating_policies(self) -> None:
        world = World(mutating=False)
        await world.keep()
        assert not [path for path in world.guards() if "mutating" in path]

    async def test_an_upgrade_of_the_api_server_brings_them(self) -> None:
        world = World(mutating=False)
        await world.keep()
        world.api.objects[API]["resources"] = [{"name": name} for name in COLLECTIONS]
        await world.keep()
        assert not [path for path in world.guards() if "mutating" in path], "not asked with every round"
        world.clock.forward(timedelta(seconds=30))
        await world.keep()
        assert {path for path in world.guards() if "mutating" in path} == {
            f"{API}/mutatingadmissionpolicies/countersign-label",
            f"{API}/mutatingadmissionpolicybindings/countersign-label",
        }

    async def test_protect_from_people_adds_entries(self, world: World) -> None:
        await world.keep(protect_from=ProtectFrom.PEOPLE)
        names = [entry["name"] for entry in world.api.objects[CONFIGURATION]["webhooks"]]
        assert "people.kube-countersign.dev" in names


def _emptied(tree: Any) -> None:
    tree["webhooks"] = []


TAMPERING = {
    "rules taken out": lambda tree: tree.update(**{key: type(tree[key])() for key in ("spec", "webhooks") if key in tree}),
    "a selector slipped in": lambda tree: (tree.get("webhooks") or [tree["spec"]["matchConstraints"]])[0].update(
        objectSelector={"matchLabels": {"a": "b"}}
    ),
    "the owner taken off": lambda tree: tree["metadata"].pop("ownerReferences"),
    "another owner": lambda tree: tree["metadata"]["ownerReferences"].append({"uid": "x"}),
    "a finalizer": lambda tree: tree["metadata"].update(finalizers=["a/b"]),
    "a label taken off": lambda tree: tree["metadata"].update(labels={}),
    "an annotation": lambda tree: tree["metadata"].update(annotations={"a": "b"}),
}


class TestPuttingBack:
    @pytest.mark.parametrize("path", [CONFIGURATION, f"{POLICIES}/countersign-guards"])
    @pytest.mark.parametrize("how", TAMPERING)
    async def test_whatever_was_changed(self, world: World, path: str, how: str) -> None:
        before = copy.deepcopy(form(world.api.objects[path]))
        world.tamper(path, TAMPERING[how])
        assert form(world.api.objects[path]) != before
        await world.event(path)
        after = form(world.api.objects[path])
        assert {**after, "metadata": {key: value for key, value in after["metadata"].items() if value}} == before
        assert world.told == [(path.rpartition("/")[2], "changed")]
        assert len(world.api.writes()) == 1

    async def test_once(self, world: World) -> None:
        world.tamper(CONFIGURATION, _emptied)
        for _ in range(3):
            await world.event(CONFIGURATION)
        assert len(world.told) == 1

    async def test_what_was_deleted(self, world: World) -> None:
        whole = copy.deepcopy(form(world.api.objects.pop(CONFIGURATION)))
        await world.event(CONFIGURATION, "DELETED")
        assert form(world.api.objects[CONFIGURATION]) == whole
        assert world.told == [("countersign", "deleted")]

    async def test_what_was_changed_and_then_deleted(self, world: World) -> None:
        tampered = copy.deepcopy(world.api.objects.pop(CONFIGURATION))
        tampered["webhooks"] = []
        tampered["metadata"]["resourceVersion"] = "99999"
        await world.keeper.seen("validatingwebhookconfigurations", "MODIFIED", tampered)
        assert world.api.objects[CONFIGURATION]["webhooks"]

    async def test_a_status_and_the_servers_own_fields_are_no_change(self, world: World) -> None:
        world.api.objects[CONFIGURATION] |= {"status": {"observedGeneration": 1}}
        world.api.objects[CONFIGURATION]["metadata"] |= {"generation": 7, "managedFields": [{}]}
        await world.event(CONFIGURATION)
        assert world.api.calls == []

    async def test_a_default_of_the_future_is_no_change(self, world: World) -> None:
        path = f"{POLICIES}/countersign-guards"
        assert world.api.objects[path]["spec"]["aFieldOfTheFuture"] == "Default"
        await world.event(path)
        assert world.api.calls == []

    async def test_others_objects_are_nobodys_business(self, world: World) -> None:
        await world.keeper.seen("validatingwebhookconfigurations", "DELETED", {"metadata": {"name": "another"}})
        await world.keeper.seen("validatingwebhookconfigurations", "MODIFIED", {"metadata": {"name": "countersign-x"}, "webhooks": []})
        assert world.api.calls == []

    async def test_an_event_that_is_older_than_our_own_write(self, world: World) -> None:
        old = copy.deepcopy(world.api.objects[CONFIGURATION])
        await world.keep(bundle=b"ANOTHER")
        await world.keeper.seen("validatingwebhookconfigurations", "MODIFIED", old)
        assert "QU5PVEhFUg==" in str(world.api.objects[CONFIGURATION])

    async def test_an_event_of_what_was_put_back_long_ago_is_no_second_attack(self, world: World) -> None:
        world.tamper(CONFIGURATION, _emptied)
        attacked = copy.deepcopy(world.api.objects[CONFIGURATION])
        await world.event(CONFIGURATION)
        world.api.calls.clear()
        await world.keeper.seen("validatingwebhookconfigurations", "MODIFIED", attacked)
        assert world.api.calls == []
        assert world.told == [("countersign", "changed")]

    async def test_one_in_doubt_is_written_again(self, world: World) -> None:
        world.api.failing["PATCH", CONFIGURATION] = ApiError(500, "no")
        world.tamper(CONFIGURATION, _emptied)
        with pytest.raises(ApiError):
            await world.event(CONFIGURATION)
        world.keeper.doubt("validatingwebhookconfigurations", world.api.objects[CONFIGURATION])
        await world.keep()
        assert world.api.objects[CONFIGURATION]["webhooks"]

    async def test_told_is_what_differs_and_who_wrote_it(self, world: World) -> None:
        def weaken(tree: Any) -> None:
            tree["webhooks"][0]["failurePolicy"] = "Ignore"
            tree["webhooks"][0]["timeoutSeconds"] = 1
            tree["metadata"]["managedFields"] = [
                {"manager": "countersign-operator", "time": "2026-11-22T12:00:00Z"},
                {"manager": "kubectl-patch", "time": "2026-11-22T12:00:01Z"},
                {"manager": "some-controller", "time": "2026-11-22T12:00:02Z", "subresource": "status"},
            ]

        world.tamper(CONFIGURATION, weaken)
        await world.event(CONFIGURATION)
        (repair,) = world.repairs
        first = world.api.objects[CONFIGURATION]["webhooks"][0]["name"]
        assert repair.lines == (
            f'webhooks[{first}].failurePolicy: "Fail" -> "Ignore"',
            f"webhooks[{first}].timeoutSeconds: 10 -> 1",
        )
        assert repair.by == "kubectl-patch"
        assert repair.wanted != repair.found
        assert {repair.wanted[:7], repair.found[:7]} == {"sha256:"}

    async def test_what_was_done_while_nobody_kept_it_is_told_at_the_first_look(self, world: World) -> None:
        def weaken(tree: Any) -> None:
            tree["webhooks"] = []
            tree["metadata"]["managedFields"] = [{"manager": "kubectl-patch", "time": "2026-11-22T12:00:01Z"}]

        world.tamper(CONFIGURATION, weaken)
        world.keeper = world.new_keeper()
        await world.keep()
        assert [(repair.name, repair.what, repair.by) for repair in world.repairs] == [("countersign", "changed", "kubectl-patch")]

    async def test_what_an_operator_before_this_one_wrote_is_no_tampering(self, world: World) -> None:
        """An upgrade finds guards that differ, too; but nobody else has written them."""
        world.tamper(CONFIGURATION, _emptied)
        world.keeper = world.new_keeper()
        await world.keep()
        assert world.repairs == []


class Rewriting(Defaulting):
    """Somebody's mutating policy stands before every write of the webhook configuration."""

    def _stamped(self, tree: dict[str, Any]) -> dict[str, Any]:
        return self._weakened(super()._stamped(tree))

    def _put(self, path: str, tree: dict[str, Any]) -> JsonObject:
        return super()._put(path, self._weakened(tree))

    @staticmethod
    def _weakened(tree: dict[str, Any]) -> dict[str, Any]:
        for hook in tree.get("webhooks", []):
            hook["failurePolicy"] = "Ignore"
        return tree


class TestRewriting:
    async def test_our_own_write_that_comes_out_otherwise_is_told_and_tried_again(self) -> None:
        world = World()
        world.api.__class__ = Rewriting
        await world.keep()
        (repair,) = world.repairs
        assert (repair.name, repair.what) == ("countersign", "rewritten")
        assert all(line.endswith('.failurePolicy: "Fail" -> "Ignore"') for line in repair.lines)
        world.api.__class__ = Defaulting
        await world.keep()
        assert {hook["failurePolicy"] for hook in world.api.objects[CONFIGURATION]["webhooks"]} == {"Fail"}
        assert len(world.repairs) == 1


class Refusing(Defaulting):
    """The guards in force let no webhook configuration through, as often as `times` says."""

    times = 0

    def _called(self, verb: str, path: str) -> None:
        if verb in ("POST", "PUT") and "validatingwebhookconfigurations" in path and self.times:
            self.times -= 1
            raise ApiError(403, f"ValidatingAdmissionPolicy 'countersign-guards' denied request: {NOT_AS_WRITTEN}")
        super()._called(verb, path)


def refusing(times: int) -> World:
    world = World(pause=0.001)
    world.api.__class__ = Refusing
    refuse(world, times)
    return world


def refuse(world: World, times: int) -> None:
    assert isinstance(world.api, Refusing)
    world.api.times = times


class TestUntilTheGuardsAreTakenUp:
    async def test_it_is_written_again_until_they_let_it_through(self) -> None:
        world = refusing(19)
        await world.keep()
        assert CONFIGURATION in world.api.objects
        assert world.told == []

    async def test_that_they_do_not_is_an_error_which_says_why(self) -> None:
        world = refusing(20)
        with pytest.raises(ApiError, match="a mutating policy or webhook makes it otherwise: remove that"):
            await world.keep()
        assert f"{POLICIES}/countersign-records" in world.api.objects, "it keeps no other back"
        assert world.told == [], "a slow API server is no attack"
        await world.keep()
        assert CONFIGURATION in world.api.objects

    async def test_for_more_than_a_minute_it_is_told_as_an_attack(self) -> None:
        world = refusing(1000)
        for _ in range(3):
            with pytest.raises(ApiError):
                await world.keep()
            world.clock.forward(timedelta(seconds=30))
        assert world.told == [("countersign", "rewritten")]

    async def test_what_was_let_through_meanwhile_starts_the_minute_anew(self) -> None:
        world = refusing(20)
        with pytest.raises(ApiError):
            await world.keep()
        await world.keep()
        world.clock.forward(timedelta(seconds=90))
        refuse(world, 20)
        with pytest.raises(ApiError):
            await world.keep("kiro", "another")
        assert world.told == []

    async def test_another_refusal_is_not_waited_for(self) -> None:
        world = World(pause=60)
        world.api.__class__ = Forbidding
        with pytest.raises(ApiError, match="cannot create"):
            await world.keep()


class Forbidding(Defaulting):
    def _called(self, verb: str, path: str) -> None:
        if verb in ("POST", "DELETE"):
            raise ApiError(403, f"cannot {'create' if verb == 'POST' else 'delete'} {path}")
        super()._called(verb, path)


class TestInspecting:
    """What a watch has missed, such as what was deleted while it started over."""

    async def test_all_guards_are_looked_at_now_and_then(self, world: World) -> None:
        whole = form(copy.deepcopy(world.api.objects[CONFIGURATION]))
        del world.api.objects[f"{POLICIES}/countersign-guards"]
        world.tamper(CONFIGURATION, _emptied)
        await world.keep()
        assert f"{POLICIES}/countersign-guards" not in world.api.objects, "not at every round"
        world.clock.forward(timedelta(seconds=30))
        await world.keep()
        assert f"{POLICIES}/countersign-guards" in world.api.objects
        assert world.api.objects[CONFIGURATION]["webhooks"] == whole["webhooks"]
        assert sorted(world.told) == [("countersign", "changed"), ("countersign-guards", "deleted")]

    async def test_a_guard_of_another_release_that_may_not_be_deleted_keeps_nothing_back(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        owned = copy.deepcopy(world.api.objects[f"{POLICIES}/countersign-guards"]["metadata"])
        world.api.objects[f"{POLICIES}/countersign-later"] = {"metadata": {**owned, "name": "countersign-later"}, "spec": {}}
        world.api.__class__ = Forbidding
        world.clock.forward(timedelta(seconds=30))
        assert await world.keep() == ()
        assert "countersign-later is a guard of another release" in caplog.text

    async def test_what_is_right_is_left_alone(self, world: World) -> None:
        world.clock.forward(timedelta(seconds=30))
        await world.keep()
        assert world.api.writes() == []


class TestUninstalling:
    async def test_without_its_owner_a_guard_is_not_made_again(self, world: World) -> None:
        del world.api.objects[ROLE]
        del world.api.objects[CONFIGURATION]
        await world.event(CONFIGURATION, "DELETED")
        assert CONFIGURATION not in world.api.objects
        assert await world.keep() == ()
        assert CONFIGURATION not in world.api.objects
        assert world.told == []

    async def test_nor_while_its_owner_goes(self, world: World) -> None:
        world.api.objects[ROLE]["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
        del world.api.objects[CONFIGURATION]
        await world.event(CONFIGURATION, "DELETED")
        assert CONFIGURATION not in world.api.objects

    async def test_with_a_new_owner_all_follow_it(self, world: World) -> None:
        world.api.objects[ROLE]["metadata"]["uid"] = "role-2"
        await world.keep()
        owners = {tree["metadata"]["ownerReferences"][0]["uid"] for tree in world.guards().values()}
        assert owners == {"role-2"}

    async def test_who_leads_no_more_puts_nothing_back(self, world: World) -> None:
        world.keeper.let_go()
        world.tamper(CONFIGURATION, _emptied)
        await world.event(CONFIGURATION)
        assert world.api.calls == []


class TestProfiles:
    @staticmethod
    def hardened(world: World) -> list[str]:
        return [path for path in world.guards() if "/countersign-hardened-" in path]

    async def test_the_hardened_one_is_put_in_force_and_taken_away(self, world: World) -> None:
        assert self.hardened(world) == []
        world.keeper = world.new_keeper(Profile.HARDENED)
        await world.keep()
        assert len(self.hardened(world)) > 10
        world.keeper = world.new_keeper()
        await world.keep()
        assert self.hardened(world) == []

    async def test_the_bound_of_own_work_moves_each_quarter_of_an_hour(self, world: World) -> None:
        world.keeper = world.new_keeper(Profile.HARDENED)
        await world.keep(own_work=timedelta(hours=1))
        for minutes, expected in ((14, []), (1, [("PUT", f"{POLICIES}/countersign-hardened-emptying")])):
            world.api.calls.clear()
            world.clock.forward(timedelta(minutes=minutes))
            await world.keep(own_work=timedelta(hours=1))
            assert world.api.writes() == expected
