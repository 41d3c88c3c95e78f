"""Our CRDs, kept at the version of this package: Helm installs them once and never again."""

import logging
from typing import Any, Final

from countersign.domain.document import JsonObject, mapping, text
from countersign.service.ports import Api, ConflictError, NotFoundError
from countersign.wire.crds import manifests

_COLLECTION: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_KEPT: Final = ("labels", "annotations")

_log = logging.getLogger(__name__)


class PackagedDefinitions:
    """The `Definitions` port. Once they agree, only an event on one of them (`changed`) makes it look again."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._names = {str(manifest["metadata"]["name"]) for manifest in manifests()}
        self._agreed = False

    def changed(self, document: JsonObject) -> bool:
        """Take an event on any CRD; whether it was one of ours."""
        ours = text(document, "metadata", "name") in self._names
        self._agreed = self._agreed and not ours
        return ours

    async def ensure(self) -> None:
        """Raises ApiError."""
        if self._agreed:
            return
        agreed = [await self._bring(manifest) for manifest in manifests()]
        self._agreed = all(agreed)

    async def _bring(self, wanted: dict[str, Any]) -> bool:
        """False where somebody else wrote it at the same time: look again."""
        name = str(wanted["metadata"]["name"])
        try:
            live = await self._api.get(f"{_COLLECTION}/{name}")
        except NotFoundError:
            await self._api.create(_COLLECTION, wanted)
            return True
        if covers(live.get("spec"), wanted["spec"]):
            return True
        metadata = {key: mapping(live, "metadata")[key] for key in _KEPT if key in mapping(live, "metadata")}
        metadata |= {"name": name, "resourceVersion": text(live, "metadata", "resourceVersion")}
        try:
            await self._api.replace(f"{_COLLECTION}/{name}", {**wanted, "metadata": metadata})
        except ConflictError:
            return False
        _log.warning("brought the CustomResourceDefinition %s to the version of this image", name)
        return True


def covers(live: Any, wanted: Any) -> bool:
    """Whether a live tree says all that is wanted; what the API server adds by default is no difference."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and covers(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
    return bool(live == wanted)
