"""Notes and the list of heads in our namespace: the webhook's `Outbox`, the operator's `Inbox`, by ConfigMaps.

Each bears an ownerReference to the chart's ClusterRole, so that it goes with the release.
"""

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote

from countersign.domain.document import JsonObject
from countersign.domain.notes import Heads, Note, Waiting
from countersign.service.keeping import Owner
from countersign.service.ports import Api, ConflictError, NotFoundError
from countersign.wire.lists import listed
from countersign.wire.notes import HEADS, LABEL, parse_heads, parse_note, render_heads, render_note


class Reader(Protocol):
    async def get(self, path: str) -> JsonObject:
        """Raises ApiError."""


class NoteBox:
    def __init__(self, api: Api, owner: Owner, *, namespace: str) -> None:
        self._api = api
        self._owner = owner
        self._collection = collection_in(namespace)

    async def post(self, note: Note) -> bool:
        """As `service.noting.Outbox`."""
        references = await self._owner.references()
        if not references:
            return False
        try:
            await self._api.create(self._collection, render_note(note, references))
        except ConflictError:
            return False
        return True

    async def waiting(self) -> Sequence[Waiting]:
        """Raises ApiError, WireError."""
        page = await self._api.get(self._collection, query={"labelSelector": f"{LABEL}=webhook"})
        return [parse_note(each) for each in listed(page)]

    async def remove(self, name: str, uid: str) -> None:
        """Raises ApiError."""
        try:
            await self._api.delete(f"{self._collection}/{quote(name, safe='')}", uid=uid)
        except (ConflictError, NotFoundError):  # gone, or another of its name
            return

    async def heads(self) -> Heads:
        """Raises ApiError, WireError."""
        return await read_heads(self._api, self._collection)

    async def keep(self, heads: Heads) -> None:
        """Raises ApiError."""
        references = await self._owner.references()
        if not references:
            return
        body = render_heads(heads, references)
        if heads.version:
            await self._api.replace(f"{self._collection}/{HEADS}", body)
        else:
            await self._api.create(self._collection, body)


def collection_in(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


async def read_heads(api: Reader, collection: str) -> Heads:
    """The list that lies in a collection of ConfigMaps; an empty one where none was made yet. Raises ApiError, WireError."""
    try:
        return parse_heads(await api.get(f"{collection}/{HEADS}"))
    except NotFoundError:
        return Heads()
