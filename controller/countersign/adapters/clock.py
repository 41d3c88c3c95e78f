"""The only place where time is read."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from countersign.service.ports import Clock


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251  # here and nowhere else

    def monotonic(self) -> float:
        return time.monotonic()


class ServerClock:
    """The API server's time of day, as far as its last answer tells: it is who says whether a certificate holds."""

    def __init__(self, clock: Clock, ahead: Callable[[], timedelta]) -> None:
        """`ahead`: how far `clock` is ahead of it."""
        self._clock = clock
        self._ahead = ahead

    def now(self) -> datetime:
        return self._clock.now() - self._ahead()

    def monotonic(self) -> float:
        return self._clock.monotonic()
