"""The watch of the guards: every event at once to whoever puts back, and to whoever looks at what others have made."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from countersign.adapters import guard_watch
from countersign.adapters.guard_watch import WATCHED, GuardWatch
from countersign.domain.document import JsonObject
from countersign.service.ports import ApiError, GoneError, NotFoundError

POLICIES = WATCHED["validatingadmissionpolicies"]


class Server:
    """Lists and watches, as told; everything else is empty and silent."""

    def __init__(self) -> None:
        self.listed: dict[str, list[JsonObject]] = {}
        self.events: dict[str, asyncio.Queue[JsonObject | Exception]] = {}
        self.absent: set[str] = set()
        self.asked: list[str] = []
        self.watched: list[tuple[str, str]] = []
        self.pings = 0

    async def get(self, path: str, **_: Any) -> JsonObject:
        if path in self.absent:
            raise NotFoundError(404, "no such API")
        if path.endswith("/countersign-operator"):
            self.pings += 1
            return {}
        self.asked.append(path)
        return {"metadata": {"resourceVersion": "7"}, "items": self.listed.get(path, [])}

    async def watch(self, path: str, *, resource_version: str, seconds: int) -> AsyncGenerator[JsonObject, None]:
        assert seconds > 60
        self.watched.append((path, resource_version))
        queue = self.events.setdefault(path, asyncio.Queue())
        while True:
            event = await queue.get()
            if isinstance(event, Exception):
                raise event
            yield event

    def tell(self, path: str, event: JsonObject | Exception) -> None:
        self.events.setdefault(path, asyncio.Queue()).put_nowait(event)


class Both:
    """The keeper of guards, and whoever looks at the others."""

    def __init__(self) -> None:
        self.seen_of: list[tuple[str, str]] = []
        self.doubted: list[str] = []
        self.others: list[tuple[str, str]] = []
        self.error: ApiError | None = None
        self.slow = asyncio.Event()
        self.slow.set()

    async def seen(self, _: str, event: str, document: JsonObject) -> None:
        self.seen_of.append((event, document["metadata"]["name"]))
        await self.slow.wait()
        if self.error is not None:
            raise self.error

    def doubt(self, _: str, document: JsonObject) -> None:
        self.doubted.append(document["metadata"]["name"])

    def replace(self, _: str, documents: Sequence[JsonObject]) -> None:
        self.others += [("LIST", document["metadata"]["name"]) for document in documents]

    def apply(self, _: str, event: str, document: JsonObject) -> None:
        self.others.append((event, document["metadata"]["name"]))


class World:
    def __init__(self) -> None:
        self.server, self.both, self.failures = Server(), Both(), 0
        self.watch = GuardWatch(self.server, self.both, self.both, self._failed)  # type: ignore[arg-type]  # of the API only what it uses
        self.running: asyncio.Task[None] | None = None

    def _failed(self) -> None:
        self.failures += 1

    async def run(self) -> None:
        self.running = asyncio.create_task(self.watch.run())
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def world() -> World:
    return World()


def named(name: str, version: str = "8") -> JsonObject:
    return {"metadata": {"name": name, "resourceVersion": version}}


async def test_what_stands_and_what_happens_is_handed_on(world: World) -> None:
    world.server.listed[POLICIES] = [named("countersign-guards")]
    await world.run()
    assert set(world.server.asked) == set(WATCHED.values())
    world.server.tell(POLICIES, {"type": "DELETED", "object": named("countersign-guards")})
    await world.settle()
    assert world.both.seen_of == [("MODIFIED", "countersign-guards"), ("DELETED", "countersign-guards")]
    assert world.both.others == [("LIST", "countersign-guards"), ("DELETED", "countersign-guards")]


async def test_an_event_does_not_wait_for_the_repair_before_it(world: World) -> None:
    await world.run()
    world.both.slow.clear()
    for name in ("a", "b", "c"):
        world.server.tell(POLICIES, {"type": "MODIFIED", "object": named(name)})
    await world.settle()
    assert [name for _, name in world.both.seen_of] == ["a", "b", "c"]


async def test_others_webhooks_are_no_guards(world: World) -> None:
    await world.run()
    world.server.tell(WATCHED["mutatingwebhookconfigurations"], {"type": "ADDED", "object": named("istio")})
    await world.settle()
    assert (world.both.seen_of, world.both.others) == ([], [("ADDED", "istio")])


async def test_one_that_could_not_be_put_back_is_tried_by_a_round(world: World) -> None:
    world.both.error = ApiError(500, "no")
    await world.run()
    world.server.tell(POLICIES, {"type": "MODIFIED", "object": named("countersign")})
    await world.settle()
    assert (world.both.doubted, world.failures) == (["countersign"], 1)


async def test_after_the_end_of_a_watch_it_goes_on_and_after_gone_it_lists(world: World) -> None:
    await world.run()
    world.server.tell(POLICIES, {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
    world.server.tell(POLICIES, GoneError(410, "too old"))
    await world.settle()
    assert world.server.asked.count(POLICIES) == 2
    assert world.both.seen_of == []


async def test_an_api_server_that_lacks_a_kind_is_watched_for_the_rest(world: World) -> None:
    absent = WATCHED["mutatingadmissionpolicies"]
    world.server.absent.add(absent)
    await world.run()
    assert absent not in {path for path, _ in world.server.watched}
    assert POLICIES in {path for path, _ in world.server.watched}
    assert world.running is not None
    assert not world.running.done()


async def test_a_kind_that_an_upgrade_brings_is_watched_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_watch, "ABSENT", 0.0)
    brought = WATCHED["mutatingadmissionpolicies"]
    world.server.absent.add(brought)
    world.server.listed[brought] = [named("countersign-label")]
    await world.run()
    assert world.both.seen_of == []
    world.server.absent.clear()
    await world.settle()
    assert world.both.seen_of == [("MODIFIED", "countersign-label")]
    assert brought in {path for path, _ in world.server.watched}


async def test_its_connections_are_kept_warm(world: World) -> None:
    await world.run()
    assert world.server.pings >= 2
