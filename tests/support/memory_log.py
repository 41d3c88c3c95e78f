"""A decision log in memory. It differs from the real one in that it can be told to fail, and never blocks."""

import errno
from collections.abc import Mapping

from countersign.domain.record import Link, start
from countersign.service.ports import Clock


class MemoryDecisionLog:
    def __init__(self, *, replica: str, clock: Clock) -> None:
        self.lines: list[str] = []
        self.broken = False
        self._link = Link(replica=replica, process="memory")
        self.append(start(now=clock.now(), version="0"))

    def append(self, record: Mapping[str, object]) -> None:
        if self.broken:
            raise OSError(errno.EPIPE, "told to fail")
        line, self._link = self._link.append(record)
        self.lines.append(line)
