"""The operator's rounds: when they run, and what one failure does to the rest."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from countersign.domain.errors import UnableError
from countersign.domain.snapshot import Snapshot
from countersign.service.ports import ApiError
from countersign.service.upkeep import PERIOD, Upkeep
from tests.support.objects import snapshot
from tests.support.operator import HandClock


@dataclass
class Step:
    """A part of a round that says what it is told to."""

    error: Exception | None = None
    due: datetime | None = None
    rounds: int = 0
    ran: asyncio.Event = field(default_factory=asyncio.Event)

    async def reconcile(self, snapshot: Snapshot) -> datetime | None:  # noqa: ARG002  # as the port says
        self.rounds += 1
        self.ran.set()
        if self.error is not None:
            raise self.error
        return self.due


@dataclass
class Meter:
    results: list[bool] = field(default_factory=list)

    def reconciled(self, *, done: bool, timestamp: float) -> None:
        assert timestamp > 0
        self.results.append(done)


@dataclass
class View:
    error: Exception | None = None

    def snapshot(self) -> Snapshot:
        if self.error is not None:
            raise self.error
        return snapshot()


class World:
    def __init__(self) -> None:
        self.view, self.protection, self.lifecycle, self.clock, self.meter = View(), Step(), Step(), HandClock(), Meter()
        self.upkeep = Upkeep(self.view, self.protection, self.lifecycle, self.clock, self.meter)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_round_without_anything_to_come(world: World) -> None:
    assert await world.upkeep.round() == PERIOD
    assert (world.protection.rounds, world.lifecycle.rounds, world.meter.results) == (1, 1, [True])
    assert world.upkeep.done_once


@pytest.mark.parametrize(("ahead", "pause"), [(2.0, 2.0), (100.0, PERIOD), (0.0, 0.1), (-5.0, 0.1)])
async def test_the_next_round_is_when_a_request_ends(world: World, ahead: float, pause: float) -> None:
    world.lifecycle.due = world.clock.now() + timedelta(seconds=ahead)
    assert await world.upkeep.round() == pytest.approx(pause)


@pytest.mark.parametrize("error", [ApiError(500, "no"), UnableError("no"), ValueError("a bug")])
async def test_guards_that_fail_do_not_keep_status_back(world: World, error: Exception) -> None:
    world.protection.error = error
    await world.upkeep.round()
    assert world.lifecycle.rounds == 1
    assert world.meter.results == [False]
    assert not world.upkeep.done_once


async def test_status_that_fails_is_a_failure(world: World) -> None:
    world.lifecycle.error = ApiError(500, "no")
    await world.upkeep.round()
    assert world.meter.results == [False]


async def test_nothing_is_done_from_a_view_that_cannot_be_trusted(world: World) -> None:
    world.view.error = UnableError("agentidentities that it cannot read: kiro.")
    await world.upkeep.round()
    assert (world.protection.rounds, world.lifecycle.rounds, world.meter.results) == (0, 0, [False])


async def test_failures_slow_it_down_and_one_success_ends_that(world: World) -> None:
    world.protection.error = ApiError(500, "no")
    assert [await world.upkeep.round() for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    world.protection.error = None
    assert await world.upkeep.round() == PERIOD
    world.protection.error = ApiError(500, "no")
    assert await world.upkeep.round() == 1


async def test_an_event_wakes_it_at_once_and_many_are_one_round(world: World) -> None:
    running = asyncio.create_task(world.upkeep.run())
    await world.lifecycle.ran.wait()
    world.lifecycle.ran.clear()
    for _ in range(10):
        world.upkeep.wake()
    await asyncio.wait_for(world.lifecycle.ran.wait(), PERIOD / 2)
    await asyncio.sleep(0.1)
    assert world.lifecycle.rounds == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
