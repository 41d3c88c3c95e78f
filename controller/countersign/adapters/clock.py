"""The only place where time is read."""

import time
from datetime import UTC, datetime


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251  # here and nowhere else

    def monotonic(self) -> float:
        return time.monotonic()
