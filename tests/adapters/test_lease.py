"""The Lease: one holder at a time, whoever dies and however the clocks of two machines differ."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from countersign.adapters.lease import DURATION, RENEW_DEADLINE, Lease, LeaseLost
from countersign.domain.document import JsonObject, text
from countersign.service.ports import ApiError, ConflictError
from tests.support.api import MemoryApi
from tests.support.operator import HandClock, MemoryOwner

COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/countersign/leases"
PATH = f"{COLLECTION}/countersign-operator"


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """Sleeping moves the clock, and lets the others run."""
    clock, real = HandClock(), asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.forward(timedelta(seconds=seconds))
        await real(0)

    monkeypatch.setattr("countersign.adapters.lease.asyncio.sleep", sleep)
    return clock


def lease(api: MemoryApi, clock: HandClock, identity: str, owner: MemoryOwner | None = None) -> Lease:
    return Lease(api, clock, owner or MemoryOwner(), namespace="countersign", name="countersign-operator", identity=identity)


def holder(api: MemoryApi) -> str:
    return text(api.objects[PATH], "spec", "holderIdentity")


async def test_the_first_takes_it(time: HandClock) -> None:
    api = MemoryApi()
    one = lease(api, time, "one")
    await one.acquire()
    assert one.held
    assert holder(api) == "one"
    assert api.objects[PATH]["spec"] == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-22T12:00:00.000000Z",
        "renewTime": "2026-11-22T12:00:00.000000Z",
        "leaseTransitions": 0,
    }


async def test_the_second_waits_for_the_duration_of_its_own_time(time: HandClock) -> None:
    api = MemoryApi()
    await lease(api, time, "one").acquire()
    api.objects[PATH]["spec"]["renewTime"] = "2019-01-01T00:00:00.000000Z"  # a holder whose clock is years behind
    before = time.now()
    await lease(api, time, "two").acquire()
    assert (time.now() - before).total_seconds() > DURATION
    assert holder(api) == "two"
    assert api.objects[PATH]["spec"]["leaseTransitions"] == 1


async def test_a_holder_that_renews_keeps_it(time: HandClock) -> None:
    api = MemoryApi()
    one, two = lease(api, time, "one"), lease(api, time, "two")
    await one.acquire()
    holding = asyncio.create_task(one.hold())
    waiting = asyncio.create_task(two.acquire())
    for _ in range(100):
        await asyncio.sleep(0.1)
    assert holder(api) == "one"
    assert not two.held
    for task in (holding, waiting):
        task.cancel()
    await asyncio.gather(holding, waiting, return_exceptions=True)


async def test_released_it_is_free_at_once(time: HandClock) -> None:
    api = MemoryApi()
    one = lease(api, time, "one")
    await one.acquire()
    await one.release()
    before = time.now()
    await lease(api, time, "two").acquire()
    assert time.now() == before
    assert not one.held


async def test_who_lost_it_releases_nobody_elses(time: HandClock) -> None:
    api = MemoryApi()
    one = lease(api, time, "one")
    await one.acquire()
    api.objects[PATH]["spec"]["holderIdentity"] = "two"
    await one.release()
    assert holder(api) == "two"


async def test_the_process_must_end_when_it_cannot_renew(time: HandClock) -> None:
    api = MemoryApi()
    one = lease(api, time, "one")
    await one.acquire()
    api.failing["GET", PATH] = ApiError(0, "no answer")
    before = time.now()
    with pytest.raises(LeaseLost, match="could not be renewed for 10 s"):
        await one.hold()
    assert RENEW_DEADLINE <= (time.now() - before).total_seconds() < DURATION
    assert not one.held


class SlowApi(MemoryApi):
    """Takes `seconds` for whatever is asked of it, where it is given that long; stops at the hundredth call."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self.clock, self.seconds = clock, 0.0

    def _slow(self, timeout: float) -> None:
        if len(self.calls) > 100:
            raise asyncio.CancelledError
        self.clock.forward(timedelta(seconds=min(self.seconds, timeout)))
        if self.seconds > timeout:
            raise ApiError(0, "no answer in time")

    async def get(self, path: str, *, timeout: float = 10, **parts: Any) -> JsonObject:
        tree = await super().get(path, **parts)
        self._slow(timeout)
        return tree

    async def replace(self, path: str, body: JsonObject, *, timeout: float = 10) -> JsonObject:
        self._slow(timeout)
        return await super().replace(path, body)


async def test_a_slow_api_server_does_not_lose_its_operator(time: HandClock) -> None:
    api = SlowApi(time)
    one = lease(api, time, "one")
    await one.acquire()
    api.seconds = 3.5
    with pytest.raises(asyncio.CancelledError):
        await one.hold()
    assert one.held


async def test_who_renews_too_slowly_ends_before_another_may_take_it(time: HandClock) -> None:
    api = SlowApi(time)
    one = lease(api, time, "one")
    await one.acquire()
    before = time.now()
    api.seconds = 6.0
    with pytest.raises(LeaseLost):
        await one.hold()
    assert (time.now() - before).total_seconds() < DURATION


async def test_the_process_must_end_when_another_holds_it(time: HandClock) -> None:
    api = MemoryApi()
    one = lease(api, time, "one")
    await one.acquire()
    api.objects[PATH]["spec"] |= {"holderIdentity": "two"}
    with pytest.raises(LeaseLost, match="held by two now"):
        await one.hold()


async def test_of_two_that_write_at_once_one_wins(time: HandClock) -> None:
    api = MemoryApi()
    api.failing["POST", COLLECTION] = ConflictError(409, "exists already")
    two = asyncio.create_task(lease(api, time, "two").acquire())
    await asyncio.sleep(0.1)
    assert not two.done()
    two.cancel()
    await asyncio.gather(two, return_exceptions=True)


async def test_it_goes_with_the_charts_role(time: HandClock) -> None:
    api = MemoryApi()
    one = lease(api, time, "one")
    await one.acquire()
    owners = [{"kind": "ClusterRole", "name": "countersign-operator", "uid": "role"}]
    assert api.objects[PATH]["metadata"]["ownerReferences"] == owners
    await one.release()
    assert api.objects[PATH]["metadata"]["ownerReferences"] == owners


async def test_an_older_one_without_owner_gets_one(time: HandClock) -> None:
    api = MemoryApi((PATH, {"spec": {"holderIdentity": ""}}))
    await lease(api, time, "one").acquire()
    assert api.objects[PATH]["metadata"]["ownerReferences"][0]["uid"] == "role"


async def test_none_is_made_while_the_chart_is_uninstalled(time: HandClock) -> None:
    api = MemoryApi()
    waiting = asyncio.create_task(lease(api, time, "one", MemoryOwner("")).acquire())
    for _ in range(5):
        await asyncio.sleep(1)
    assert not waiting.done()
    assert api.writes() == []
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
