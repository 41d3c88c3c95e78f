"""The webhook's serving certificate and the authority that signs it, kept in one Secret (the API server trusts nothing else).

The authority lives ten years and its key stays in the Secret, so that a renewed certificate needs no new caBundle. Both are renewed after
two thirds of their life. The Secret goes with the chart's ClusterRole, as the guards do.
"""

import base64
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from countersign.domain.document import JsonObject, items, mapping, text
from countersign.service.keeping import Owner
from countersign.service.ports import Api, Clock, ConflictError, NotFoundError

SECRET: Final = "countersign-webhook-tls"  # noqa: S105  # the name of an object
AUTHORITY_LIFE: Final = timedelta(days=3650)
CERTIFICATE_LIFE: Final = timedelta(days=365)
_CLOCK_SKEW: Final = timedelta(minutes=5)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def server_names(namespace: str, webhook_url: str) -> tuple[str, ...]:
    """What the API server calls the webhook by."""
    if webhook_url:
        return tuple(dict.fromkeys([urlsplit(webhook_url).hostname or "localhost", "localhost", "127.0.0.1"]))
    return (f"countersign-webhook.{namespace}.svc", f"countersign-webhook.{namespace}.svc.cluster.local")


class Authority:
    """Keeps the Secret."""

    def __init__(self, api: Api, clock: Clock, owner: Owner, *, namespace: str, names: Sequence[str]) -> None:
        self._api = api
        self._clock = clock
        self._owner = owner
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._path = f"{self._collection}/{SECRET}"
        self._names = tuple(names)

    async def ensure(self) -> bytes:
        """Make or renew what is due; the CA bundle (PEM), empty where Countersign is being uninstalled. Raises ApiError."""
        references = await self._owner.references()
        if not references:
            return b""
        try:
            secret = await self._api.get(self._path)
        except NotFoundError:
            secret = {}
        now = self._clock.now()
        authority = _read(secret, "ca")
        if authority is None or _is_due(authority.certificate, now):
            authority = new_authority(now)
        serving = _read(secret, "tls")
        if serving is None or not _serves(serving, authority, self._names) or _is_due(serving.certificate, now):
            serving = new_certificate(authority, self._names, now)
            _log.info("a new certificate of the webhook for %s", ", ".join(self._names))
        elif items(secret, "metadata", "ownerReferences") == references:
            return authority.certificate_pem
        await self._write(secret, authority, serving, references)
        return authority.certificate_pem

    async def _write(self, secret: JsonObject, authority: Issued, serving: Issued, references: list[JsonObject]) -> None:
        parts = {
            "ca.crt": authority.certificate_pem,
            "ca.key": authority.key_pem,
            "tls.crt": serving.certificate_pem,
            "tls.key": serving.key_pem,
        }
        labels = {"app.kubernetes.io/managed-by": "countersign-operator"}
        metadata: dict[str, Any] = {"name": SECRET, "labels": labels, "ownerReferences": references}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": {name: base64.b64encode(part).decode("ascii") for name, part in parts.items()},
        }
        if not secret:
            await self._api.create(self._collection, body)
            return
        if text(secret, "type") != "kubernetes.io/tls":
            raise ConflictError(409, f"The Secret {SECRET} has the type {text(secret, 'type')}; delete it, and it is made anew.")
        metadata["resourceVersion"] = text(secret, "metadata", "resourceVersion")
        await self._api.replace(self._path, body)


def new_authority(now: datetime) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("countersign-webhook-ca")
    usage = _usage(signs_certificates=True)
    builder = _builder(name, name, key, now, AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(usage, critical=True)
    return Issued(builder.sign(key, hashes.SHA256()), key)


def new_certificate(authority: Issued, names: Sequence[str], now: datetime) -> Issued:
    """A serving certificate; `names` are DNS names and IP addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(_name(names[0][:64]), authority.certificate.subject, key, now, CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Issued(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read(secret: JsonObject, prefix: str) -> Issued | None:
    """A pair of the Secret; None where it is absent, unreadable or no pair."""
    data = mapping(secret, "data")
    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(data[f"{prefix}.crt"], validate=True))
        key = serialization.load_pem_private_key(base64.b64decode(data[f"{prefix}.key"], validate=True), password=None)
    except (KeyError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return Issued(certificate, key)


def _is_due(certificate: x509.Certificate, now: datetime) -> bool:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= start + (end - start) * 2 / 3 or now < start


def _serves(serving: Issued, authority: Issued, names: Sequence[str]) -> bool:
    try:
        serving.certificate.verify_directly_issued_by(authority.certificate)
        listed = serving.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return all(_general(name) in listed for name in names)
