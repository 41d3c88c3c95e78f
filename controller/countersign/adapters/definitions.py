"""Our CRDs, kept at the version of this package: Helm installs them once and never again.

They only ever go forward. An operator of an older release leaves newer definitions alone, so that two releases that take turns in leading
do not undo each other's, and what only the newer knows is not lost (docs/decisions/0008-crd-versions.md).
"""

import logging
from typing import Any, Final

from countersign.domain.document import JsonObject, mapping, text
from countersign.service.ports import Api, ConflictError, NotFoundError
from countersign.wire.crds import manifests
from countersign.wire.crdversions import converts, revision_of, shortcomings

_COLLECTION: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_KEPT: Final = ("labels", "annotations")

_log = logging.getLogger(__name__)


class PackagedDefinitions:
    """The `Definitions` port. Once they agree, only an event on one of them (`changed`) makes it look again."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._names = {str(manifest["metadata"]["name"]) for manifest in manifests()}
        self._agreed = False
        self._told: set[str] = set()

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
        if self._is_newer(name, live, wanted):
            return True
        if revision_of(live) == revision_of(wanted) and covers(live.get("spec"), wanted["spec"]) and not converts(live):
            return True
        own = wanted["metadata"]
        metadata = {key: {**mapping(live, "metadata", key), **own[key]} for key in _KEPT}
        try:
            await self._api.replace(
                f"{_COLLECTION}/{name}",
                {**wanted, "metadata": {**metadata, "name": name, "resourceVersion": text(live, "metadata", "resourceVersion")}},
            )
        except ConflictError:
            return False
        _log.warning("brought the CustomResourceDefinition %s to the version of this image", name)
        return True

    def _is_newer(self, name: str, live: JsonObject, wanted: dict[str, Any]) -> bool:
        """Whether a newer release wrote it. What only says so, and is no extension of ours, somebody has tampered with."""
        revision = revision_of(live)
        if revision <= revision_of(wanted):
            return False
        if lacking := shortcomings(live, wanted):
            _log.error("the CustomResourceDefinition %s says that it is newer (%d), but: %s", name, revision, "; ".join(lacking))
            return False
        if name not in self._told:
            self._told.add(name)
            _log.warning("the CustomResourceDefinition %s is of a newer release (%d): left as it is", name, revision)
        return True


def covers(live: Any, wanted: Any) -> bool:
    """Whether a live tree says all that is wanted; what the API server adds by default is no difference."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and covers(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
    return bool(live == wanted)
