"""The operator's one periodic task: after each event, and every few seconds without one, everything is brought to its place."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar

from countersign.domain.errors import CountersignError
from countersign.domain.snapshot import Snapshot
from countersign.service.ports import Clock, State

PERIOD: Final = 5.0
SETTLE: Final = 0.05  # seconds in which further events join the same round
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0  # after many failures; an event ends it sooner

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Reconciler(Protocol):
    async def reconcile(self, snapshot: Snapshot) -> object:
        """Raises ApiError."""


class Scheduled(Protocol):
    async def reconcile(self, snapshot: Snapshot) -> datetime | None:
        """When it wants to be called again at the latest. Raises ApiError."""


class UpkeepMeter(Protocol):
    def reconciled(self, *, done: bool, timestamp: float) -> None: ...


class Upkeep:
    """`protection` goes first: status may be late, guards may not. The failure of one does not keep the other back."""

    def __init__(
        self,
        state: State,
        protection: Reconciler,
        lifecycle: Scheduled,
        clock: Clock,
        meter: UpkeepMeter,
        *,
        watchers: Sequence[Reconciler] = (),
    ) -> None:
        self._state = state
        self._protection = protection
        self._lifecycle = lifecycle
        self._clock = clock
        self._meter = meter
        self._watchers = watchers  # what only looks and tells
        self._woken = asyncio.Event()
        self._failures = 0
        self._failed = False
        self.done_once = False

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._woken.clear()
            pause = await self.round()
            try:
                await asyncio.wait_for(self._woken.wait(), pause)
                await asyncio.sleep(SETTLE)
            except TimeoutError:
                continue

    async def round(self) -> float:
        """One round; the seconds until the next is due."""
        self._failed = False
        await self._tried(self._protect())
        due = await self._tried(self._follow())
        for watcher in self._watchers:
            await self._tried(self._look(watcher))
        now = self._clock.now()
        self._meter.reconciled(done=not self._failed, timestamp=now.timestamp())
        if self._failed:
            self._failures += 1
            return float(min(_LONGEST_PAUSE, 0.5 * 2 ** min(self._failures, 10)))
        self._failures = 0
        self.done_once = True
        return PERIOD if due is None else max(_SHORTEST_PAUSE, min(PERIOD, (due - now).total_seconds()))

    async def _protect(self) -> object:
        return await self._protection.reconcile(self._state.snapshot())

    async def _follow(self) -> datetime | None:
        return await self._lifecycle.reconcile(self._state.snapshot())

    async def _look(self, watcher: Reconciler) -> object:
        return await watcher.reconcile(self._state.snapshot())

    async def _tried(self, step: Awaitable[T]) -> T | None:
        try:
            return await step
        except CountersignError as error:
            _log.warning("a round of upkeep failed: %s", error)
        except Exception:  # noqa: BLE001  # the operator must outlive one bad object
            _log.exception("a round of upkeep failed")
        self._failed = True
        return None
