"""Watches our guards and everything of their kinds, and hands each event on at once.

Not by kopf: its queue and worker for each object cost a repair half its time. And with connections of its own that are kept open: a repair
does not wait for a handshake.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

from countersign.domain.document import JsonObject, items, mapping, text
from countersign.service.ports import Api, ApiError, GoneError, NotFoundError
from countersign.wire.guards.objects import API, COLLECTIONS, FLOW_CONTROL, OWNER, root_of

WATCHED: Final = {collection: root_of(kind) for kind, collection in COLLECTIONS.items()} | {
    "mutatingwebhookconfigurations": f"/apis/{API}/mutatingwebhookconfigurations"
}
WATCH_SECONDS: Final = 240
WARM_EVERY: Final = 5.0  # seconds; the client closes a connection that nobody used for 15
_WARM: Final = 3  # connections for repairs at the same time
ABSENT: Final = 60.0  # until a kind that the API server lacks is asked for again: its next version may have it
_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_PING: Final = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{OWNER}"

_log = logging.getLogger(__name__)


class Keeper(Protocol):
    async def seen(self, collection: str, event: str, document: JsonObject) -> None:
        """Raises ApiError."""

    def doubt(self, collection: str, document: JsonObject) -> None: ...


class Others(Protocol):
    """Whoever looks at what others have made of the same kinds."""

    def replace(self, collection: str, documents: Sequence[JsonObject]) -> None: ...

    def apply(self, collection: str, event: str, document: JsonObject) -> None: ...


class GuardWatch:
    """`run` until cancelled. `failed` hears that a guard could not be put back yet."""

    def __init__(self, api: Api, keeper: Keeper, others: Others, failed: Callable[[], None]) -> None:
        self._api = api
        self._keeper = keeper
        self._others = others
        self._failed = failed
        self._repairs: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for collection, root in WATCHED.items():
                tasks.create_task(self._follow(collection, root), name=f"watch {collection}")
            tasks.create_task(self._stay_warm(), name="stay warm")

    async def _follow(self, collection: str, root: str) -> None:
        pause, version = _PAUSE, ""
        while True:
            try:
                version = version or await self._list(collection, root)
                version = await self._watch(collection, root, version)
                pause = _PAUSE
            except GoneError:
                version = ""
            except NotFoundError:
                if root.startswith(f"/apis/{FLOW_CONTROL}") or collection.startswith("mutatingadmission"):
                    _log.info("this API server has no %s", collection)
                    pause = ABSENT
                version = ""
                await asyncio.sleep(pause)
            except ApiError as error:
                _log.warning("watching %s: %s", collection, error)
                version = ""
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self, collection: str, root: str) -> str:
        page = await self._api.get(root, timeout=60)
        documents = [document for document in items(page, "items") if isinstance(document, dict)]
        self._others.replace(collection, documents)
        for document in documents:
            self._hand_on(collection, "MODIFIED", document)
        return text(page, "metadata", "resourceVersion")

    async def _watch(self, collection: str, root: str, version: str) -> str:
        async with aclosing(self._api.watch(root, resource_version=version, seconds=WATCH_SECONDS)) as events:
            async for event in events:
                kind, document = text(event, "type"), mapping(event, "object")
                version = text(document, "metadata", "resourceVersion") or version
                if kind in ("ADDED", "MODIFIED", "DELETED"):
                    self._hand_on(collection, kind, document)
                    self._others.apply(collection, kind, document)
        return version

    def _hand_on(self, collection: str, kind: str, document: JsonObject) -> None:
        """Each in a task of its own: the next event does not wait for a repair."""
        self._spawn(self._seen(collection, kind, document))

    async def _seen(self, collection: str, kind: str, document: JsonObject) -> None:
        if collection not in COLLECTIONS.values():
            return
        try:
            await self._keeper.seen(collection, kind, document)
        except ApiError as error:
            _log.error("a guard could not be put back yet: %s", error)
            self._keeper.doubt(collection, document)
            self._failed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _stay_warm(self) -> None:
        while True:
            await asyncio.gather(*(self._api.get(_PING) for _ in range(_WARM)), return_exceptions=True)
            await asyncio.sleep(WARM_EVERY)
