"""The operator's one periodic task: after each event, and every few seconds without one, everything is brought to its place."""

import asyncio
import logging
from datetime import datetime
from typing import Final, Protocol

from countersign.domain.errors import CountersignError
from countersign.domain.snapshot import Snapshot
from countersign.service.ports import Clock, State

PERIOD: Final = 5.0
SETTLE: Final = 0.05  # seconds in which further events join the same round
_LONGEST_PAUSE: Final = 30.0

_log = logging.getLogger(__name__)


class Reconciler(Protocol):
    async def reconcile(self, snapshot: Snapshot) -> object:
        """Raises ApiError."""


class Scheduled(Protocol):
    async def reconcile(self, snapshot: Snapshot) -> datetime | None:
        """When it wants to be called again at the latest. Raises ApiError."""


class UpkeepMeter(Protocol):
    def reconciled(self, *, done: bool, timestamp: float) -> None: ...


class Upkeep:
    """`protection` goes first: status may be late, guards may not."""

    def __init__(self, state: State, protection: Reconciler, lifecycle: Scheduled, clock: Clock, meter: UpkeepMeter) -> None:
        self._state = state
        self._protection = protection
        self._lifecycle = lifecycle
        self._clock = clock
        self._meter = meter
        self._woken = asyncio.Event()
        self._failures = 0
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
        """One round; the seconds until the next is due. Never raises what another round may heal."""
        due: datetime | None = None
        try:
            await self._protection.reconcile(self._state.snapshot())
            due = await self._lifecycle.reconcile(self._state.snapshot())
        except CountersignError as error:
            return self._failed(str(error))
        except Exception:  # noqa: BLE001  # the operator must outlive one bad object
            _log.exception("a round of upkeep failed")
            return self._failed("")
        self._failures = 0
        self.done_once = True
        now = self._clock.now()
        self._meter.reconciled(done=True, timestamp=now.timestamp())
        return PERIOD if due is None else max(0.1, min(PERIOD, (due - now).total_seconds()))

    def _failed(self, why: str) -> float:
        self._failures += 1
        if why:
            _log.warning("a round of upkeep failed: %s", why)
        self._meter.reconciled(done=False, timestamp=0)
        return min(_LONGEST_PAUSE, 0.5 * 2.0 ** min(self._failures, 10))
