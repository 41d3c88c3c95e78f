"""List and watch, kind by kind, into a store; and how fresh what was heard is (invariant 6).

Watches are short, so that their end, which the server announces, bounds how long a connection that died in silence goes unnoticed:
API concepts, "Efficient detection of changes" and "Watch bookmarks" (https://kubernetes.io/docs/reference/using-api/api-concepts/).
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

from countersign.domain.document import JsonObject, mapping, text
from countersign.domain.errors import UnableError
from countersign.domain.names import GROUP, VERSION
from countersign.domain.snapshot import Snapshot
from countersign.service.ports import Api, ApiError, Clock, GoneError
from countersign.wire.errors import WireError
from countersign.wire.lists import part_of_list

_log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
PART: Final = 250
_WATCHES_WITHIN_BOUND: Final = 3
_EVENTS: Final = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})


class Store(Protocol):
    """What the watches feed (adapters/store.py)."""

    def read(self, plural: str, objects: Iterable[JsonObject]) -> list[Any]: ...

    def take(self, plural: str, entries: Iterable[Any]) -> None: ...

    def apply(self, plural: str, event: str, document: JsonObject) -> None: ...

    def snapshot(self) -> Snapshot: ...


def path_of(plural: str) -> str:
    return "/api/v1/namespaces" if plural == "namespaces" else f"/apis/{GROUP}/{VERSION}/{plural}"


class Watches:
    """The `State` port. `run` until cancelled; `snapshot` refuses until all kinds are synced, and when one was silent too long."""

    def __init__(self, api: Api, store: Store, clock: Clock, *, plurals: Iterable[str], stale_after: float) -> None:
        self._api = api
        self._store = store
        self._clock = clock
        self._plurals = tuple(plurals)
        self._stale_after = stale_after
        self._heard: dict[str, float] = {}
        self._versions: dict[str, str] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for plural in self._plurals:
                tasks.create_task(self._follow(plural), name=f"watch {plural}")

    def snapshot(self) -> Snapshot:
        """Raises UnableError."""
        for plural in self._plurals:
            if plural not in self._heard:
                raise UnableError(f"{plural} are not synced yet.")
        silent, age = max(self.ages().items(), key=lambda entry: entry[1])
        if age > self._stale_after:
            raise UnableError(f"nothing was heard of {silent} for {age:.0f} s.")
        return self._store.snapshot()

    def ages(self) -> Mapping[str, float]:
        """Seconds since each kind was last heard of."""
        now = self._clock.monotonic()
        return {plural: now - heard for plural, heard in self._heard.items()}

    async def _follow(self, plural: str) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                if plural not in self._versions:
                    await self._list(plural)
                await self._watch(plural)
                pause = _FIRST_PAUSE
            except GoneError:
                self._versions.pop(plural, None)
            except (ApiError, WireError) as error:
                _log.warning("watching %s: %s", plural, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self, plural: str) -> None:
        """In parts, each parsed before the next is asked for: thousands of records at once are more than a small pod can hold, and
        reviews are answered between them. All parts are of one moment (API concepts, "Retrieving large results sets in chunks").
        """
        entries: list[Any] = []
        query = {"limit": str(PART)}
        while True:
            page = await self._api.get(path_of(plural), query=query, timeout=60)
            items, rest = part_of_list(page)
            entries += self._store.read(plural, items)
            if not rest:
                break
            query = {"limit": str(PART), "continue": rest}
        self._store.take(plural, entries)
        self._touch(plural)
        self._versions[plural] = text(page, "metadata", "resourceVersion")

    async def _watch(self, plural: str) -> None:
        seconds = max(1, int(self._stale_after / _WATCHES_WITHIN_BOUND))
        begun, is_heard = self._clock.monotonic(), False
        watching = self._api.watch(path_of(plural), resource_version=self._versions[plural], seconds=seconds)
        async with aclosing(watching) as events:  # closed with us, not when somebody collects it
            async for event in events:
                kind, document = text(event, "type"), mapping(event, "object")
                heard = text(document, "metadata", "resourceVersion")
                if kind not in _EVENTS or not heard:
                    raise WireError(f"the API server sent an event that is none ({kind or 'no type'})")
                self._touch(plural)
                is_heard = True
                if kind != "BOOKMARK":
                    self._store.apply(plural, kind, document)
                self._versions[plural] = heard  # at once: a watch that breaks goes on from here, not from where it began
        if not is_heard and self._clock.monotonic() - begun < seconds / 2:
            raise WireError("the API server ended a watch before its time and without a word")
        self._touch(plural)

    def _touch(self, plural: str) -> None:
        self._heard[plural] = self._clock.monotonic()
