"""Lists of everything that is watched: at the start, since nothing may be compiled from half a view, and now and then, since a watch
that starts over does not tell what was deleted in between.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from countersign.domain.document import JsonObject, items
from countersign.service.ports import Api, ApiError

PERIOD: Final = 120.0
_ATTEMPTS: Final = 5

_log = logging.getLogger(__name__)


class Sink(Protocol):
    def __call__(self, documents: Sequence[JsonObject]) -> None:
        """Take a whole list: what is not in it is gone."""


class Census:
    """`sinks` by API path of the collection."""

    def __init__(self, api: Api, sinks: Mapping[str, Sink]) -> None:
        self._api = api
        self._sinks = sinks
        self._events: dict[str, int] = dict.fromkeys(sinks, 0)
        self.complete = False

    def heard(self, path: str) -> None:
        """An event of this collection was taken: a list that was asked for before it is old."""
        self._events[path] = self._events.get(path, 0) + 1

    async def take(self) -> None:
        """All collections once. Raises ApiError."""
        for path, sink in self._sinks.items():
            for _ in range(_ATTEMPTS):
                heard = self._events[path]
                page = await self._api.get(path, timeout=60)
                if heard == self._events[path] or not self.complete:
                    sink(items(page, "items"))
                    break
        self.complete = True

    async def run(self) -> None:
        """For ever, after the first."""
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self.take()
            except ApiError as error:  # the watches go on
                _log.warning("a list of everything: %s", error)
