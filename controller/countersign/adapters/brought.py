"""A serving certificate that others make and renew: cert-manager, or the team. It is read from their Secret, and never written there."""

import base64
import logging
from datetime import datetime

from countersign.domain.certificates import Authorities, Pair, UnreadableError, certificates, faults, rewritten
from countersign.domain.document import JsonObject, mapping, text
from countersign.service.keeping import Offer
from countersign.service.ports import Api, ApiError, NotFoundError
from countersign.service.rollover import AUTHORITY_SECRET

_log = logging.getLogger(__name__)


class BroughtPair:
    """The `CertificateSource` of a Secret with tls.crt, tls.key and ca.crt.

    `authorities` (PEM) count besides what stands in ca.crt, which some issuers leave empty. `name` is what the API server calls the webhook by.
    `missing` says what to do where there is no Secret.
    """

    def __init__(self, api: Api, *, namespace: str, secret: str, authorities: str, name: str, keeper: str, missing: str) -> None:
        self._api = api
        self._own_path = f"/api/v1/namespaces/{namespace}/secrets/{AUTHORITY_SECRET}"
        self._own_is_gone = False
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{secret}"
        self._where = f"{namespace}/{secret}"
        self._authorities = authorities.encode()
        self._name = name
        self._missing = missing
        self.secret = secret
        self.keeper = keeper

    async def offer(self, served: JsonObject, now: datetime, references: list[JsonObject]) -> Offer:  # noqa: ARG002  # as the port says
        try:
            secret = await self._api.get(self._path)
        except NotFoundError:
            return Offer((), None, (f"The Secret {self._where} does not exist: {self._missing}.",))
        try:
            pair, authorities = self._read(secret)
        except UnreadableError as error:
            return Offer((), None, (f"The Secret {self._where} cannot be used. {error}",))
        wrong = faults(pair, authorities, self._name, now)
        if wrong:
            return Offer((), None, (f"The Secret {self._where} cannot be used.", *wrong))
        if not self._own_is_gone and text(served, "data", "tls.crt") == base64.b64encode(pair.chain).decode("ascii"):
            await self._destroy_our_own()
        return Offer(authorities, pair)

    async def _destroy_our_own(self) -> None:
        """Where the operator made certificates before: what it signed is still trusted for a while, and nobody is to sign more."""
        try:
            await self._api.delete(self._own_path)
            _log.info("the Secret %s is deleted: our own authority signs no more", AUTHORITY_SECRET)
        except NotFoundError:
            pass
        except ApiError as error:
            _log.warning("the Secret %s, which is not needed any more, cannot be deleted: %s", AUTHORITY_SECRET, error)
            return
        self._own_is_gone = True

    def _read(self, secret: JsonObject) -> tuple[Pair, Authorities]:
        """Raises UnreadableError."""
        chain, key, authority = (_part(secret, name) for name in ("tls.crt", "tls.key", "ca.crt"))
        return rewritten(Pair(chain, key)), (*certificates(authority, "ca.crt"), *certificates(self._authorities, "certificates.caBundle"))


def _part(secret: JsonObject, name: str) -> bytes:
    try:
        return base64.b64decode(text(mapping(secret, "data"), name), validate=True)
    except ValueError as error:
        raise UnreadableError(f"{name} is not base64: write it with kubectl create secret, or through stringData.") from error
