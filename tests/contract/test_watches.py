"""Watches against a simulated API server: synced before anything is decided, and what breaks them."""

import asyncio
import logging
from datetime import datetime

import pytest

from countersign.adapters.api import KubernetesApi
from countersign.adapters.store import ClusterStore
from countersign.adapters.watch import PART, Watches
from countersign.domain.errors import UnableError
from countersign.domain.resources import Cluster
from tests.contract._apis import NAMESPACES, RUBBISH, status
from tests.support.contracts import ENVIRONMENT, AdaptersSite
from tests.support.objects import NOW
from tests.support.simulated_api import SimulatedApi, until
from tests.support.world import World

# ── watches ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Time:
    """Real time, and a jump."""

    def __init__(self) -> None:
        self.jump = 0.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.jump


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("countersign.adapters.watch._FIRST_PAUSE", 0.02)
    caplog.set_level(logging.CRITICAL)


def environments(site: AdaptersSite) -> set[str]:
    return set(site.watches.snapshot().environments)


async def test_nothing_is_decided_before_all_kinds_are_synced(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    server.answer("/reviewers", 500, status(500), times=5)
    site = AdaptersSite(api, world=world)
    following = asyncio.create_task(site.watches.run())
    await until(lambda: len(site.watches.ages()) == 5)
    with pytest.raises(UnableError, match="reviewers are not synced"):
        site.watches.snapshot()
    await until(lambda: len(site.watches.ages()) == 6)
    site.watches.snapshot()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize("body", RUBBISH)
async def test_rubbish_is_not_synced(api: KubernetesApi, server: SimulatedApi, world: World, body: bytes) -> None:
    world.create("protectedenvironments", "default", spec=ENVIRONMENT)
    server.answer("/protectedenvironments", 200, body, times=3)
    site = AdaptersSite(api, world=world)
    async with site.running():
        assert environments(site) == {"default"}


async def test_thousands_are_listed_in_parts(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    """Whole they would take more memory than a small pod has. What a later list lacks is gone all the same."""
    for number in range(2 * PART + 1):
        world.create("namespaces", f"n-{number}")
    async with AdaptersSite(api, world=world).running() as site:
        known = site.watches.snapshot().namespaces
        assert {f"n-{number}" for number in range(2 * PART + 1)} <= set(known)
        lists = [asked for asked in server.asked if asked.path == NAMESPACES and "watch" not in asked.query]
        assert [asked.query.get("continue") for asked in lists] == [None, str(PART), str(2 * PART)]
        assert all(asked.query["limit"] == str(PART) and "resourceVersion" not in asked.query for asked in lists)
        world.delete("namespaces", "n-0")
        server.forgets = world.latest
        server.cut_watches()
        await until(lambda: "n-0" not in site.watches.snapshot().namespaces)


async def test_a_watch_that_breaks_goes_on_where_it_was(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    async with AdaptersSite(api, world=world).running() as site:
        for number in range(3):
            server.cut_watches()
            world.create("protectedenvironments", f"e{number}", spec=ENVIRONMENT)
            await until(lambda number=number: f"e{number}" in environments(site))  # type: ignore[misc]  # mypy infers no type for a default argument of a lambda
        assert environments(site) == {"e0", "e1", "e2"}
        versions = [
            int(asked.query["resourceVersion"]) for asked in server.asked if asked.query.get("watch") and "environments" in asked.path
        ]
        second = world.get("protectedenvironments", "e1")
        assert second is not None
        assert versions == sorted(versions)
        assert versions[-1] >= int(second["metadata"]["resourceVersion"]), "the last one goes on from what was heard before it broke"


async def test_a_watch_that_says_nothing_and_ends_is_no_sign_of_life(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    """A proxy's empty 200, asked again and again, must not look as if all were well."""
    server.answer("watch=true", 200, b"", times=10**9)
    async with AdaptersSite(api, world=world, stale_after=2.0).running() as site:

        def is_unable() -> bool:
            try:
                site.watches.snapshot()
            except UnableError as error:
                return "nothing was heard of" in str(error)
            return False

        await until(is_unable)
        assert len(server.asked) < 300, "and not as fast as the network carries it"


async def test_a_watch_that_is_too_old_lists_anew(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    world.create("protectedenvironments", "old", spec=ENVIRONMENT)
    async with AdaptersSite(api, world=world).running() as site:
        del world.documents["protectedenvironments", "", "old"]  # an event that nobody will hear
        world.create("protectedenvironments", "new", spec=ENVIRONMENT)
        server.forgets = world.latest + 1
        world.create("namespaces", "later")
        server.cut_watches()
        await until(lambda: environments(site) == {"new"})


@pytest.mark.parametrize("line", [
    b"rubbish\n", b"[]\n", b"{}\n", b'{"type": "ADDED"}\n', b'{"type": "ODD", "object": {"metadata": {"resourceVersion": "1"}}}\n',
    b'{"type": "DELETED", "object": {}}\n', b'{"type": "ERROR"}\n', b'{"type": "ERROR", "object": {"code": 500}}\n',
])  # fmt: skip
async def test_a_watch_that_talks_rubbish_is_taken_up_again(api: KubernetesApi, server: SimulatedApi, world: World, line: bytes) -> None:
    world.create("protectedenvironments", "there", spec=ENVIRONMENT)
    server.answer("/protectedenvironments.*watch=true", 200, line, times=2)
    async with AdaptersSite(api, world=world).running() as site:
        world.create("protectedenvironments", "later", spec=ENVIRONMENT)
        await until(lambda: "later" in environments(site))
        assert environments(site) == {"there", "later"}


async def test_a_large_object_does_not_stop_a_watch(api: KubernetesApi, world: World) -> None:
    async with AdaptersSite(api, world=world).running() as site:
        world.create("namespaces", "large", annotations={"x": "y" * 1_500_000})
        await until(lambda: "large" in site.watches.snapshot().namespaces)


async def test_an_api_server_that_went_silent_is_noticed(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    clock = Time()
    watches = Watches(api, ClusterStore("c"), clock, plurals=ClusterStore.plurals(), stale_after=3.0)
    following = asyncio.create_task(watches.run())
    await until(lambda: len(watches.ages()) == 6)
    watches.snapshot()
    clock.jump = 3.5
    with pytest.raises(UnableError, match="nothing was heard of"):
        watches.snapshot()
    await until(lambda: max(watches.ages().values()) < 3.0)  # the watches' ends and beginnings are heard
    watches.snapshot()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_quiet_is_not_silence(api: KubernetesApi, server: SimulatedApi, world: World) -> None:
    """Nothing happens in the cluster, and no bookmark comes; the ends of watches say that all is well."""
    async with AdaptersSite(api, world=world, stale_after=3.0).running() as site:
        server.silent = True
        for _ in range(8):
            await asyncio.sleep(0.5)
            site.watches.snapshot()


async def test_a_setting_that_cannot_be_read_stops_decisions_until_it_is_mended(api: KubernetesApi, world: World) -> None:
    async with AdaptersSite(api, world=world).running() as site:
        world.create("protectedenvironments", "odd", spec={"protectFrom": "Somebody"})

        def is_unable() -> bool:
            try:
                site.watches.snapshot()
            except UnableError as error:
                return "odd" in str(error)
            return False

        await until(is_unable)
        world.update("protectedenvironments", "odd", lambda doc: doc["spec"].update(protectFrom="Agents"))
        await until(lambda: not is_unable() and "odd" in environments(site))
        world.update("protectedenvironments", "odd", lambda doc: doc["spec"].update(protectFrom="Nobody"))
        await until(is_unable)
        world.delete("protectedenvironments", "odd")
        await until(lambda: not is_unable())


async def test_a_request_that_cannot_be_read_is_as_absent(api: KubernetesApi, world: World) -> None:
    world.create("changerequests", "odd", spec={"what": "ever"})
    async with AdaptersSite(api, world=world).running() as site:
        assert site.watches.snapshot().requests == {}


@pytest.mark.parametrize(("given", "name"), [("", "cluster-1a2b3c4d"), ("prod-eu-1", "prod-eu-1")])
def test_a_cluster_without_a_name_is_called_after_its_uid(given: str, name: str) -> None:
    uid = "1a2b3c4d-0000-4000-8000-000000000001"
    store = ClusterStore(given)
    store.replace("namespaces", [{"metadata": {"name": "kube-system", "uid": uid}}])
    assert store.snapshot().cluster == Cluster(name, uid)
    store.apply("namespaces", "MODIFIED", {"metadata": {"name": "kube-system", "uid": uid, "labels": {"a": "b"}}})
    assert store.snapshot().cluster.name == name


def test_a_store_without_the_cluster_cannot_say_whose_it_is() -> None:
    with pytest.raises(UnableError, match="kube-system"):
        ClusterStore("c").snapshot()
