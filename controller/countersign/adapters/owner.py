"""The chart's ClusterRole, which owns all that the operator makes: with it goes the rest, by the garbage collector (docs/rules.md)."""

from countersign.domain.document import JsonObject, text
from countersign.service.ports import Api, NotFoundError
from countersign.wire.guards.objects import OWNER, owner_reference

_PATH = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{OWNER}"


class ChartRole:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def references(self) -> list[JsonObject]:
        """What an object of ours bears as its ownerReferences; nothing where the ClusterRole is gone. Raises ApiError."""
        try:
            role = await self._api.get(_PATH)
        except NotFoundError:
            return []
        return [owner_reference(text(role, "metadata", "uid"))]
