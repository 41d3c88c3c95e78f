"""The operator's entrypoint: what kopf is used for and what not, who hears of an event, and what the kubelet is told."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from countersign.adapters.accounts import AccountBook
from countersign.adapters.census import Census
from countersign.adapters.definitions import PackagedDefinitions
from countersign.adapters.lease import LeaseLost
from countersign.adapters.status import StatusBoard
from countersign.adapters.store import ClusterStore
from countersign.adapters.upkeep import UpkeepMetrics
from countersign.bootstrap_operator import Operator
from countersign.domain.document import JsonObject
from countersign.entrypoints import operator as module
from countersign.service.ports import ApiError
from tests.support.api import MemoryApi
from tests.support.operator import HandClock

SERVED = "/apis/kube-countersign.dev/v1alpha1"
OURS = ("agentidentities", "reviewers", "protectedenvironments", "changerequests", "approvals")
KUBE_SYSTEM: JsonObject = {"metadata": {"name": "kube-system", "uid": "cluster", "resourceVersion": "1"}}


class Guards:
    def __init__(self) -> None:
        self.let_go_of = False

    def let_go(self) -> None:
        self.let_go_of = True


class Ledger:
    """`held_at_end`: whether the lease was still held when the end was noted, None where it was not noted."""

    def __init__(self, lease: "Lease", failure: Exception | None = None) -> None:
        self.lease = lease
        self.failure = failure
        self.held_at_end: bool | None = None

    async def close(self) -> None:
        self.held_at_end = self.lease.held
        if self.failure:
            raise self.failure


class Lease:
    def __init__(self) -> None:
        self.held = False
        self.released = 0
        self.free = asyncio.Event()
        self.lost = asyncio.Event()

    async def acquire(self) -> None:
        await self.free.wait()
        self.held = True

    async def hold(self) -> None:
        await self.lost.wait()
        self.held = False
        raise LeaseLost("lost")

    async def release(self) -> None:
        self.released += 1


class Upkeep:
    def __init__(self) -> None:
        self.woken = 0
        self.done_once = False

    def wake(self) -> None:
        self.woken += 1

    async def run(self) -> None:
        self.done_once = True
        await asyncio.Event().wait()


class Loop:
    """Stands for a part that only runs, and hears."""

    def __init__(self) -> None:
        self.heard_of: list[tuple[str, str]] = []
        self.running = False

    def heard(self, plural: str, event: str, _: JsonObject) -> None:
        self.heard_of.append((plural, event))

    async def run(self) -> None:
        self.running = True
        await asyncio.Event().wait()


class World:
    def __init__(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("first\n")
        api, clock = MemoryApi(), HandClock()
        api.objects[SERVED] = {"resources": [{"name": plural} for plural in OURS]}
        self.guards, self.lease, self.upkeep = Guards(), Lease(), Upkeep()
        self.rights, self.postures, self.guard_watch = Loop(), Loop(), Loop()
        self.ledger = Ledger(self.lease)
        self.settings = SimpleNamespace(
            api_server="https://127.0.0.1:1",
            api_ca_file=tmp_path / "ca.crt",
            token_file=tmp_path / "token",
            listen_host="127.0.0.1",
            listen_port=0,
            replica="me",
            namespace="countersign",
        )
        self.parts = cast(
            "Operator",
            SimpleNamespace(
                settings=self.settings,
                api=api,
                lease=self.lease,
                store=ClusterStore("test"),
                statuses=StatusBoard(api, clock),
                accounts=AccountBook(),
                definitions=PackagedDefinitions(api),
                guards=self.guards,
                metrics=UpkeepMetrics(version="1"),
                census=Census(api, {}),
                upkeep=self.upkeep,
                guard_watch=self.guard_watch,
                repairing=api,
                rights=self.rights,
                ledger=self.ledger,
                postures=self.postures,
            ),
        )
        self.registry: Any = module.handlers(self.parts)

    def watching(self) -> dict[str, Any]:
        return {
            handler.selector.any_name or handler.selector.plural or str(handler.selector): handler
            for handler in self.registry._watching._handlers
        }

    async def tell(self, resource: str, event: str | None, document: JsonObject) -> None:
        await self.watching()[resource].fn(event={"type": event, "object": document})


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestWhatKopfIsUsedFor:
    async def test_events_and_nothing_that_leaves_a_trace(self, world: World) -> None:
        """Its other handlers write finalizers and annotations to what they handle."""
        assert set(world.watching()) == {*OURS, "namespaces", "serviceaccounts", "customresourcedefinitions"}
        for kind in ("_changing", "_spawning", "_webhooks", "_indexing"):
            assert getattr(world.registry, kind)._handlers == [], kind

    async def test_it_begins_once_all_of_our_kinds_are_served(self, world: World) -> None:
        """What is not served at its start it never watches: seen where our definitions had just been made again."""
        api = cast("MemoryApi", world.parts.api)
        del api.objects[SERVED]
        assert not await module.all_served(world.parts)
        kinds = [{"name": name} for plural in OURS for name in (plural, f"{plural}/status")]
        api.objects[SERVED] = {"resources": [kind for kind in kinds if kind["name"] != "approvals"]}
        assert not await module.all_served(world.parts)
        api.objects[SERVED] = {"resources": kinds}
        assert await module.all_served(world.parts)

    async def test_it_looks_for_nothing_and_posts_nothing(self) -> None:
        settings = module._kopf_settings()
        assert settings.scanning.disabled
        assert not settings.posting.enabled

    async def test_a_new_token_is_read_at_each_login(self, world: World) -> None:
        [login] = [handler for handler in world.registry._activities._handlers if handler.fn.__name__ == "login"]
        assert login.fn().token == "first"
        world.settings.token_file.write_text("second\n")
        assert (login.fn().token, login.fn().server) == ("second", "https://127.0.0.1:1")


class TestWhoHears:
    async def test_the_store_and_the_status_board(self, world: World) -> None:
        await world.tell("namespaces", None, KUBE_SYSTEM)
        identity: JsonObject = {
            "metadata": {"name": "kiro", "uid": "u", "resourceVersion": "2"},
            "spec": {"sponsors": ["alice"], "subjects": [{"kind": "User", "name": "kiro"}]},
            "status": {"conditions": []},
        }
        await world.tell("agentidentities", "ADDED", identity)
        assert set(world.parts.store.snapshot().identities) == {"kiro"}
        assert world.parts.statuses.current("agentidentities", "kiro", "u") == {"conditions": []}
        await world.tell("agentidentities", "DELETED", identity)
        assert not world.parts.store.snapshot().identities
        assert world.upkeep.woken == 3
        assert world.postures.heard_of == [("agentidentities", "ADDED"), ("agentidentities", "DELETED")]

    async def test_the_account_book(self, world: World) -> None:
        await world.tell("serviceaccounts", None, {"metadata": {"namespace": "agents", "name": "kiro"}})
        assert [account.name for account in world.parts.accounts.all()] == ["kiro"]
        assert world.upkeep.woken == 1

    async def test_definitions_of_others_wake_nobody(self, world: World) -> None:
        await world.tell("customresourcedefinitions", "MODIFIED", {"metadata": {"name": "things.example.com"}})
        assert world.upkeep.woken == 0
        await world.tell("customresourcedefinitions", "MODIFIED", {"metadata": {"name": "approvals.kube-countersign.dev"}})
        assert world.upkeep.woken == 1


class TestLeading:
    @pytest.fixture(autouse=True)
    async def kopf(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimpleNamespace]:
        """Its loop, without an API server: it says when it runs, and ends when it is told to."""
        seen = SimpleNamespace(running=asyncio.Event(), ended=False, lease=None)

        async def operator(*, stop_flag: asyncio.Event, ready_flag: asyncio.Event, **_: Any) -> None:
            ready_flag.set()
            seen.running.set()
            await stop_flag.wait()
            seen.ended = True

        monkeypatch.setattr("kopf.operator", operator)
        yield seen
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)

    async def test_nothing_is_done_without_the_lease(self, world: World, kopf: SimpleNamespace) -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(module._until(stop, world.parts))
        await asyncio.sleep(0.05)
        assert not kopf.running.is_set()
        assert not world.upkeep.done_once
        stop.set()
        assert await running == 0

    async def test_told_to_end_it_gives_the_lease_back_before_kopf_ends(self, world: World, kopf: SimpleNamespace) -> None:
        world.parts.census.complete = True
        stop = asyncio.Event()
        world.lease.free.set()
        running = asyncio.create_task(module._until(stop, world.parts))
        await kopf.running.wait()
        await asyncio.sleep(0.01)
        assert world.upkeep.done_once
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 5) == 0
        assert (world.lease.released, world.guards.let_go_of, kopf.ended) == (1, True, True)
        assert world.ledger.held_at_end is True

    async def test_an_end_that_cannot_be_noted_keeps_nobody(self, world: World, kopf: SimpleNamespace) -> None:
        world.parts.census.complete = True
        world.ledger.failure = ApiError(0, "no answer")
        stop = asyncio.Event()
        world.lease.free.set()
        running = asyncio.create_task(module._until(stop, world.parts))
        await kopf.running.wait()
        await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 5) == 0
        assert (world.lease.released, kopf.ended) == (1, True)

    async def test_without_the_lease_the_process_ends_as_a_failure(
        self, world: World, kopf: SimpleNamespace, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.lease.free.set()
        running = asyncio.create_task(module._until(asyncio.Event(), world.parts))
        await kopf.running.wait()
        world.lease.lost.set()
        assert await asyncio.wait_for(running, 5) == 1
        assert world.guards.let_go_of
        assert "lease ended, and so does the operator" in caplog.text


class TestHealth:
    async def test_what_the_kubelet_and_prometheus_are_told(self, world: World) -> None:
        runner = await module._listen(world.parts)
        port = runner.addresses[0][1]
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                standing_by = await client.get("/readyz")
                world.lease.held = True
                not_yet = await client.get("/readyz")
                world.upkeep.done_once = True
                leading = await client.get("/readyz")
                alive, metrics = await client.get("/livez"), await client.get("/metrics")
        finally:
            await runner.cleanup()
        assert [(answer.status_code, answer.text.split(",")[0].strip()) for answer in (standing_by, not_yet, leading, alive)] == [
            (200, "standing by"),
            (503, "leading"),
            (200, "leading"),
            (200, "ok"),
        ]
        assert 'countersign_operator_reconciles_total{result="failed"} 0.0' in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain")
