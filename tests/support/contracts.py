"""What State, LiveLook and Requests promise, whoever keeps it: `Ports` is run against the ports in memory, the real adapters on a
simulated API server, and the real adapters on a real cluster.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, Self

from countersign.adapters.api import KubernetesApi
from countersign.adapters.clock import SystemClock
from countersign.adapters.live import ApiLiveLook
from countersign.adapters.requests import ApiRequests
from countersign.adapters.store import ClusterStore
from countersign.adapters.watch import Watches
from countersign.domain.resources import Change, ChangeRequest, Losses, Meta, Target
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import act_of, names_of, render
from countersign.service.ports import LiveLook, Question, Requests, State
from tests.support.objects import NOW, change_request
from tests.support.simulated_api import until
from tests.support.world import Json, World, WorldClock, WorldLook, WorldRequests, WorldState

Changing = Callable[[Json], None]


class PortsSite(Protocol):
    """A place with the three ports, and a hand that changes what there is behind their backs."""

    @property
    def state(self) -> State: ...

    @property
    def live(self) -> LiveLook: ...

    @property
    def requests(self) -> Requests: ...

    async def make(self, plural: str, name: str, *, namespace: str = "", **parts: Any) -> None: ...

    async def change(self, plural: str, name: str, change: Changing, *, namespace: str = "") -> None: ...

    async def remove(self, plural: str, name: str, *, namespace: str = "") -> None: ...

    async def sign(self, request: str) -> None:
        """Have an Approval of that change request stored."""

    async def seen(self, holds: Callable[[Snapshot], bool]) -> Snapshot:
        """The state, as soon as it shows what was done. Raises TimeoutError."""


class _InTheWorld:
    """What there is changes in the world."""

    state: State

    def __init__(self, world: World) -> None:
        self.world = world

    async def make(self, plural: str, name: str, *, namespace: str = "", **parts: Any) -> None:
        self.world.create(plural, name, namespace=namespace, **parts)

    async def change(self, plural: str, name: str, change: Changing, *, namespace: str = "") -> None:
        self.world.update(plural, name, change, namespace=namespace)

    async def remove(self, plural: str, name: str, *, namespace: str = "") -> None:
        self.world.delete(plural, name, namespace=namespace)

    async def sign(self, request: str) -> None:
        spec = {"changeRequest": request, "reviewer": "bob", "decision": "Approve", "signature": "any"}
        await self.make("approvals", f"{request}-{secrets.token_hex(3)}"[-253:], spec=spec)

    async def seen(self, holds: Callable[[Snapshot], bool]) -> Snapshot:
        await until(lambda: holds(self.state.snapshot()))
        return self.state.snapshot()


class MemorySite(_InTheWorld):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.state: WorldState = WorldState(world)
        self.live = WorldLook(world, self.state, WorldClock(world))
        self.requests = WorldRequests(world)


class AdaptersSite(_InTheWorld):
    """The real adapters over an `Api`, behind which the world is."""

    def __init__(self, api: KubernetesApi, *, world: World, stale_after: float = 30.0, name: str = "prod-eu-1") -> None:
        super().__init__(world)
        self.watches = Watches(api, ClusterStore(name), SystemClock(), plurals=ClusterStore.plurals(), stale_after=stale_after)
        self.state = self.watches
        self.live = ApiLiveLook(api, self.watches.snapshot)
        self.requests = ApiRequests(api)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """The watches follow the cluster; synced before the block begins."""
        following = asyncio.create_task(self.watches.run())
        try:
            await until(lambda: len(self.watches.ages()) == len(ClusterStore.plurals()))
            yield self
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


ENVIRONMENT: Mapping[str, Any] = {"protectFrom": "Agents", "namespaces": {"selector": {"matchLabels": {"contract": "none"}}}}
IDENTITY: Mapping[str, Any] = {"sponsors": ["alice"], "subjects": [{"kind": "User", "name": "contract-agent"}]}


def unique(word: str) -> str:
    return f"{word}-{secrets.token_hex(4)}"


async def new_request(site: PortsSite, **fields: Any) -> ChangeRequest:
    """A change request of this test's own, written through the port."""
    snapshot = await site.seen(lambda _: True)
    uid = secrets.token_hex(8)
    draft = change_request(
        cluster=snapshot.cluster,
        target=Target("", "v1", "namespaces", "contract", "", uid),
        change=Change(old=f"sha256:{secrets.token_hex(32)}"),
        expires_at=NOW + timedelta(days=36500),
        **fields,
    )
    request = replace(draft, meta=Meta(next(names_of(draft))))
    assert await site.requests.create(request, timeout=5)
    return request


def same(found: ChangeRequest | None, written: ChangeRequest) -> bool:
    """But for what the API server adds."""
    return found is not None and replace(found, meta=written.meta) == written


class Ports:
    """The suite; `site` is a fixture."""

    # ── Requests ──

    async def test_a_request_is_written_once(self, site: PortsSite) -> None:
        request = await new_request(site)
        assert await site.requests.create(request, timeout=5) is False
        found = await site.requests.get(request.meta.name, timeout=5)
        assert same(found, request)
        assert found is not None
        assert found.meta.created is not None
        assert render(found) == request.statement

    async def test_the_first_of_two_contents_stays(self, site: PortsSite) -> None:
        request = await new_request(site)
        other = replace(request, round=7)
        assert await site.requests.create(replace(other, statement=render(other)), timeout=5) is False
        assert same(await site.requests.get(request.meta.name, timeout=5), request)

    async def test_a_request_that_is_not_there(self, site: PortsSite) -> None:
        assert await site.requests.get(unique("delete-namespace-none"), timeout=5) is None

    # ── State ──

    async def test_the_state_hears_of_what_is_made_changed_and_removed(self, site: PortsSite) -> None:
        name = unique("contract")
        await site.make("protectedenvironments", name, spec=ENVIRONMENT)
        snapshot = await site.seen(lambda seen: name in seen.environments)
        assert snapshot.environments[name].approvals.required == 1
        await site.change("protectedenvironments", name, lambda doc: doc["spec"].update(approvals={"required": 2}))
        changed = await site.seen(lambda seen: seen.environments[name].approvals.required == 2)
        assert changed.environments[name].meta.generation > snapshot.environments[name].meta.generation - 1
        await site.remove("protectedenvironments", name)
        await site.seen(lambda seen: name not in seen.environments)

    async def test_an_agent_is_recognised_as_soon_as_it_is_seen(self, site: PortsSite) -> None:
        name = unique("contract")
        spec = {**IDENTITY, "subjects": [{"kind": "User", "name": name}]}
        await site.make("agentidentities", name, spec=spec)
        snapshot = await site.seen(lambda seen: name in seen.identities)
        assert type(snapshot.directory.named(name)).__name__ == "Agent"
        await site.remove("agentidentities", name)
        snapshot = await site.seen(lambda seen: name not in seen.identities)
        assert type(snapshot.directory.named(name)).__name__ == "Human"

    async def test_namespaces_with_their_labels(self, site: PortsSite) -> None:
        name = unique("contract")
        await site.make("namespaces", name, labels={"team": "a"})
        await site.seen(lambda seen: name in seen.namespaces and seen.namespaces[name].labels.get("team") == "a")
        await site.change("namespaces", name, lambda doc: doc["metadata"]["labels"].update(team="b"))
        snapshot = await site.seen(lambda seen: seen.namespaces[name].labels.get("team") == "b")
        assert snapshot.namespaces[name].meta.uid
        await site.remove("namespaces", name)

    async def test_rounds_and_approvals_are_found_by_act_and_request(self, site: PortsSite) -> None:
        first = await new_request(site)
        second = replace(first, round=2)
        second = replace(second, statement=render(second), meta=Meta(next(names_of(second))))
        assert await site.requests.create(second, timeout=5)
        await site.sign(second.meta.name)
        act = act_of(first)
        snapshot = await site.seen(lambda seen: len(seen.rounds.get(act, ())) == 2 and len(seen.approvals.get(second.meta.name, ())) == 1)
        assert {each.round for each in snapshot.rounds[act]} == {1, 2}
        assert same(snapshot.requests[second.meta.name], second)
        assert tuple(snapshot.approvals.get(first.meta.name, ())) == ()

    # ── LiveLook ──

    async def test_a_look_reads_what_was_asked_for(self, site: PortsSite) -> None:
        request, space = await new_request(site), unique("contract")
        await site.sign(request.meta.name)
        await site.make("namespaces", space, labels={"team": "a"})
        missing = unique("delete-namespace-none")
        look = await site.live.look(Question((request.meta.name, missing), space), timeout=5)
        assert same(look.snapshot.requests[request.meta.name], request)
        assert missing not in look.snapshot.requests
        assert [same(each, request) for each in look.snapshot.rounds[act_of(request)]] == [True]
        assert len(look.snapshot.approvals[request.meta.name]) == 1
        assert tuple(look.snapshot.approvals.get(missing, ())) == ()
        assert look.namespace is not None
        assert look.namespace.labels.get("team") == "a"
        assert look.snapshot.namespaces[space] == look.namespace
        assert look.losses == Losses()
        await site.remove("namespaces", space)

    async def test_a_look_sees_settings_that_were_written_just_before(self, site: PortsSite) -> None:
        name = unique("contract")
        await site.make("protectedenvironments", name, spec=ENVIRONMENT)
        assert name in (await site.live.look(Question(), timeout=5)).snapshot.environments
        await site.change("protectedenvironments", name, lambda doc: doc["spec"].update(approvals={"required": 3}))
        assert (await site.live.look(Question(), timeout=5)).snapshot.environments[name].approvals.required == 3
        await site.remove("protectedenvironments", name)
        assert name not in (await site.live.look(Question(), timeout=5)).snapshot.environments

    async def test_a_look_at_a_namespace_that_is_gone(self, site: PortsSite) -> None:
        look = await site.live.look(Question(namespace=unique("none")), timeout=5)
        assert look.namespace is None

    async def test_a_look_at_everything_has_every_request(self, site: PortsSite) -> None:
        requests = [await new_request(site) for _ in range(2)]
        await site.sign(requests[1].meta.name)
        snapshot = (await site.live.look(Question(all_requests=True), timeout=5)).snapshot
        for request in requests:
            assert same(snapshot.requests[request.meta.name], request)
            assert len(snapshot.rounds[act_of(request)]) == 1
        assert len(snapshot.approvals[requests[1].meta.name]) == 1

    async def test_losses_are_counted(self, site: PortsSite) -> None:
        space = unique("contract")
        await site.make("namespaces", space)
        target = Target("", "v1", "namespaces", space)
        assert await site.live.losses(target, timeout=5) == Losses(0, 0)
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        await site.make("persistentvolumeclaims", "data", namespace=space, spec=claim)
        await site.make("services", "lb", namespace=space, spec={"type": "LoadBalancer", "ports": [{"port": 80}]})
        for name in ("inner", "other"):
            await site.make("services", name, namespace=space, spec={"type": "ClusterIP", "ports": [{"port": 80}]})
        assert await site.live.losses(target, timeout=5) == Losses(1, 1)
        assert (await site.live.look(Question(namespace=space, losses=target), timeout=5)).losses == Losses(1, 1)
        assert await site.live.losses(Target("", "v1", "persistentvolumes", "any"), timeout=5) == Losses(volumes=1)
        assert await site.live.losses(Target("x.io", "v1", "things", "any"), timeout=5) == Losses()
        await site.remove("namespaces", space)

    async def test_targets_are_found_by_what_they_are(self, site: PortsSite) -> None:
        space = unique("contract")
        await site.make("namespaces", space)
        found = await site.live.target(Target("", "v1", "namespaces", space), timeout=5)
        assert found is not None
        assert found["metadata"]["name"] == space
        assert await site.live.target(Target("", "v1", "persistentvolumeclaims", "none", space), timeout=5) is None
        assert await site.live.target(Target("", "v1", "namespaces", f"{space}/status"), timeout=5) is None
        await site.remove("namespaces", space)

    async def test_approvals_are_counted_by_request(self, site: PortsSite) -> None:
        one, other = await new_request(site), await new_request(site)
        assert await site.live.count_approvals(one.meta.name, timeout=5) == 0
        await site.sign(one.meta.name)
        assert await site.live.count_approvals(one.meta.name, timeout=5) == 1
        assert await site.live.count_approvals(other.meta.name, timeout=5) == 0
