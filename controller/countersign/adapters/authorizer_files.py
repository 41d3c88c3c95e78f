"""Keeps the ConfigMap from which a platform team takes the API server's files (docs/authorizer.md) as the identities are.

The chart makes the ConfigMap, empty, and so it goes with the release; this fills it. Agents write nothing in our namespace.
"""

import logging
from collections.abc import Sequence
from typing import Final

from countersign.domain.document import mapping, text
from countersign.domain.resources import AgentIdentity
from countersign.service.ports import Api, Clock, NotFoundError
from countersign.wire.authorizer import Endpoint, Site, files
from countersign.wire.guards.objects import WEBHOOK_SERVICE

CONFIG_MAP: Final = "countersign-authorizer"
INSPECTION: Final = 10.0  # seconds between looks at what stands there

_log = logging.getLogger(__name__)


class ConfigMapFiles:
    """`webhook_url` is "" where the Service is to be called; `shows_certificate` as in `wire.authorizer.Site`."""

    def __init__(self, api: Api, clock: Clock, *, namespace: str, webhook_url: str, folder: str, shows_certificate: bool = False) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._webhook_url = webhook_url
        self._folder = folder
        self._shows_certificate = shows_certificate
        self._kept: tuple[object, float] | None = None

    async def keep(self, identities: Sequence[AgentIdentity], ca_bundle: bytes) -> None:
        """Write the files if they are news. Raises ApiError."""
        known, now = (tuple(identities), ca_bundle), self._clock.monotonic()
        if self._kept is not None and self._kept[0] == known and now - self._kept[1] < INSPECTION:
            return
        endpoint = await self._endpoint()
        if endpoint is None:
            _log.warning("the Service %s has no address yet, so no authorizer files are written", WEBHOOK_SERVICE)
            return
        wanted = files(Site(self._namespace, self._folder, endpoint, ca_bundle, self._shows_certificate), identities)
        await self._write(wanted)
        self._kept = (known, now)

    async def _endpoint(self) -> Endpoint | None:
        if self._webhook_url:
            return Endpoint.beside(self._webhook_url)
        service = await self._api.get(f"/api/v1/namespaces/{self._namespace}/services/{WEBHOOK_SERVICE}")
        address = text(service, "spec", "clusterIP")
        return Endpoint.of_service(address, self._namespace) if address not in {"", "None"} else None

    async def _write(self, wanted: dict[str, str]) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/{CONFIG_MAP}"
        try:
            if mapping(await self._api.get(path), "data") == wanted:
                return
            await self._api.patch(path, {"data": wanted})
        except NotFoundError:
            _log.warning("the ConfigMap %s is gone: `helm upgrade` with authorizer.enabled=true makes it again", CONFIG_MAP)
            return
        _log.info("the files of the API server's authorizer are new: ConfigMap %s/%s", self._namespace, CONFIG_MAP)
