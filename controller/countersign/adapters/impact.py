"""What would go with a namespace and can be rebuilt, counted for people. One page of one object tells the number: the rest is counted
by the API server (`remainingItemCount`, Kubernetes API concepts, "Retrieving large results sets in chunks").
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from countersign.domain.document import items, mapping
from countersign.domain.resources import Target
from countersign.service.ports import Api

_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_COUNTED: Final[Mapping[str, str]] = {
    "pods": "/api/v1",
    "services": "/api/v1",
    "configmaps": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "daemonsets": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
    "cronjobs": "/apis/batch/v1",
    "ingresses": "/apis/networking.k8s.io/v1",
}


class ApiImpact:
    """The `Impact` port."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def count(self, target: Target) -> Mapping[str, int]:
        """Kinds of which there is none are left out. Raises ApiError."""
        if (target.group, target.resource) != ("", "namespaces"):
            return {}
        counts = await asyncio.gather(*(self._count(f"{root}/namespaces/{target.name}/{kind}") for kind, root in _COUNTED.items()))
        return {kind: count for kind, count in zip(_COUNTED, counts, strict=True) if count}

    async def _count(self, path: str) -> int:
        page = await self._api.get(path, query={"limit": "1"}, accept=_METADATA)
        remaining = mapping(page, "metadata").get("remainingItemCount")
        return len(items(page, "items")) + (remaining if isinstance(remaining, int) else 0)
