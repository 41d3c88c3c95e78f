"""By which authorities the API server verifies the webhook now, by its own word, and since when."""

import base64
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from countersign.domain.certificates import Authorities, UnreadableError, certificates
from countersign.domain.document import JsonObject, items, text
from countersign.service.ports import Api, Clock, NotFoundError

CONFIGURATION: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/countersign"
PROPAGATION: Final = timedelta(seconds=30)
"""In which every API server has heard of a change to the webhook configuration; their watches take milliseconds."""


class Trust:
    """`settled` is what has been in every entry of the configuration for `propagation`."""

    def __init__(self, api: Api, clock: Clock, *, propagation: timedelta = PROPAGATION) -> None:
        self._api = api
        self._clock = clock
        self._propagation = propagation
        self._since: dict[x509.Certificate, float] = {}

    async def look(self, now: datetime) -> Authorities:
        """What is trusted as the configuration stands. Raises ApiError."""
        try:
            configuration = await self._api.get(CONFIGURATION)
        except NotFoundError:
            configuration = {}
        live = _authorities(configuration)
        moment = self._clock.monotonic()
        # Stands it unchanged for long, as after a restart of ours, then so does all that is in it.
        age = min(max(now - _written(configuration, now), timedelta()), self._propagation).total_seconds()
        self._since = {each: self._since.get(each, moment - age) for each in live}
        return live

    def settled(self) -> Authorities:
        moment = self._clock.monotonic()
        return tuple(each for each, since in self._since.items() if moment - since >= self._propagation.total_seconds())


def _authorities(configuration: JsonObject) -> Authorities:
    """Those that every entry has, in the first one's order: one entry that lacks it is a request that fails."""
    found: list[Authorities] = []
    for webhook in items(configuration, "webhooks"):
        try:
            found.append(certificates(base64.b64decode(text(webhook, "clientConfig", "caBundle"), validate=True), "caBundle"))
        except (UnreadableError, ValueError):
            return ()
    return tuple(each for each in found[0] if all(each in others for others in found)) if found else ()


def _written(configuration: JsonObject, now: datetime) -> datetime:
    """When anybody changed it last, by the API server's own record; now, where it does not say."""
    times: list[datetime] = []
    for entry in items(configuration, "metadata", "managedFields"):
        try:
            times.append(datetime.fromisoformat(text(entry, "time")))
        except ValueError:
            return now
    return max(times, default=now)
