"""The webhook's certificate: read from its Secret through the API, and changed under a running server.

A new pair is loaded into a context of its own, and new handshakes are moved to that. Loading a pair into the live context would leave it
broken where key and certificate do not fit, and would go on serving the old certificate where the type of key has changed.
"""

import asyncio
import base64
import logging
import os
import ssl
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from countersign.domain.certificates import Pair
from countersign.domain.document import JsonObject, text
from countersign.domain.errors import CountersignError
from countersign.service.ports import Api, ApiError, Clock, NotFoundError

SECRET: Final = "countersign-webhook-tls"  # noqa: S105  (the name of an object)
PERIOD: Final = 10.0
PERIOD_AT_START: Final = 0.25  # seconds; nothing works before the first certificate

_log: Final = logging.getLogger(__name__)


class CertificateRefused(CountersignError):
    """The Secret does not hold a pair that can be served."""


class ServingCertificate:
    """`context` is for the server and never changes; what it serves is the newest good pair of the Secret.

    Until there is one it serves a certificate that nobody trusts, so that a kubelet can ask for /livez and /readyz.
    """

    def __init__(
        self, api: Api, clock: Clock, *, namespace: str, name: str = SECRET, period: float = PERIOD, client_authorities: str = ""
    ) -> None:
        """`client_authorities` (PEM): whose client certificates are verified. One that is not theirs ends the handshake; none at all does not."""
        self._api = api
        self._clock = clock
        self._where = f"{namespace}/{name}"
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        self._period = period
        self._pair: Pair | None = None
        self._fault = f"the Secret {self._where} was not read yet"
        self.expires: datetime | None = None
        self._client_authorities = client_authorities
        self._serving = _context(_stand_in(clock.now()), client_authorities)
        self.context = _empty_context(client_authorities)
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._serving  # OpenSSL calls this for a client that sends no server name as well

    def ready(self) -> str:
        """Empty when the API server can trust what is served."""
        if self._pair is None:
            return f"No certificate to serve yet: {self._fault}. The operator writes it."
        if self.expires is not None and self._clock.now() >= self.expires:
            return f"The certificate in the Secret {self._where} has expired: see why the operator does not renew it."
        return ""

    async def run(self) -> None:
        """Follow the Secret for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._period if self._pair is not None else min(PERIOD_AT_START, self._period))

    async def refresh(self) -> None:
        """Read the Secret and serve what it holds, if that can be served; otherwise go on as before."""
        try:
            pair = _pair(await self._api.get(self._path))
            if pair != self._pair:
                self._serving, self.expires = await asyncio.to_thread(_load, pair, self._client_authorities)
                self._pair, self._fault = pair, ""
                _log.info("serving the certificate of the Secret %s, good until %s", self._where, self.expires)
        except NotFoundError:
            self._complain(f"the Secret {self._where} does not exist")
        except (ApiError, CertificateRefused) as error:
            self._complain(f"the Secret {self._where}: {str(error).rstrip('.')}")

    def _complain(self, fault: str) -> None:
        if fault != self._fault:
            _log.warning("%s; %s", fault, "the certificate in use stays" if self._pair is not None else "waiting")
        self._fault = fault


def _pair(secret: JsonObject) -> Pair:
    try:
        chain, key = (base64.b64decode(text(secret, "data", name), validate=True) for name in ("tls.crt", "tls.key"))
    except ValueError as error:
        raise CertificateRefused("its data are not base64") from error
    if not chain or not key:
        raise CertificateRefused("it lacks tls.crt or tls.key")
    return Pair(chain, key)


def _load(pair: Pair, client_authorities: str) -> tuple[ssl.SSLContext, datetime]:
    try:
        leaf = x509.load_pem_x509_certificate(pair.chain)
    except ValueError as error:
        raise CertificateRefused("its tls.crt does not begin with a PEM certificate") from error
    return _context(pair, client_authorities), leaf.not_valid_after_utc


def _context(pair: Pair, client_authorities: str) -> ssl.SSLContext:
    """Python reads a chain from files only; this one is in memory, and the file system may be read-only. Raises CertificateRefused."""
    context = _empty_context(client_authorities)
    descriptor = os.memfd_create("serving-certificate")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pair.key + b"\n" + pair.chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")  # the empty password: never ask a terminal for one
    except (ssl.SSLError, ValueError) as error:
        raise CertificateRefused(f"its tls.crt and tls.key are no usable pair ({error})") from error
    finally:
        os.close(descriptor)
    return context


def _empty_context(client_authorities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client of TLS 1.2 could else make us shake hands without end
    if client_authorities:
        # Optional, since the kubelet asks for /livez and /readyz without one; who must have one is checked at each request.
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=client_authorities)
    return context


def _stand_in(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "countersign-webhook has no certificate yet")])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), private)
