"""Our own authority, which signs the webhook's certificate. Its key lies in a Secret that the operator alone reads, not the webhook.

It lives five years, the certificates 90 days; each is renewed after two thirds of its life, with a key of its own. The next authority is
made a month before it signs anything: so long it stands in the CA bundle beside the one that signs. An authority that is lost or has
ended is replaced at once; what happens to the certificate in use then is for `service.rollover`.
"""

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from countersign.domain.certificates import Pair, day, general_name, is_current, is_due
from countersign.domain.document import JsonObject, items, mapping, text
from countersign.service.keeping import Offer
from countersign.service.ports import Api, NotFoundError
from countersign.service.rollover import AUTHORITY_SECRET, LEAF_LIFE

AUTHORITY_LIFE: Final = timedelta(days=5 * 365)
NOTICE: Final = timedelta(days=30)
BACKDATED: Final = timedelta(days=1)
"""So far two clocks may differ, or one be set back, before a new certificate does not hold yet."""
_SHORT: Final = timedelta(days=7)
"""An authority with less than this to live hands over, announced for long enough or not."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(compare=False)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass(frozen=True, slots=True)
class Keyring:
    """`signing` signs; `following` will, once everybody trusts it."""

    signing: Issued
    following: Issued | None = None


def server_names(namespace: str, webhook_url: str) -> tuple[str, ...]:
    """What the API server calls the webhook by, before all others that it may be called."""
    if webhook_url:
        return tuple(dict.fromkeys([urlsplit(webhook_url).hostname or "localhost", "localhost", "127.0.0.1"]))
    return (f"countersign-webhook.{namespace}.svc", f"countersign-webhook.{namespace}.svc.cluster.local")


class OwnAuthority:
    """The `CertificateSource` that needs nobody."""

    secret = AUTHORITY_SECRET
    keeper = "The operator renews it."

    def __init__(
        self, api: Api, *, namespace: str, names: Sequence[str], life: timedelta = AUTHORITY_LIFE, notice: timedelta = NOTICE
    ) -> None:
        self._api = api
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._path = f"{self._collection}/{AUTHORITY_SECRET}"
        self._names = tuple(names)
        self._life = life
        self._notice = notice
        self._prepared: tuple[x509.Certificate, Issued] | None = None  # signed by the first of the two, and served by nobody yet

    async def offer(self, served: JsonObject, now: datetime, references: list[JsonObject]) -> Offer:
        secret = await self._read()
        keyring = self._turned(_keyring(secret, served, now), now)
        if keyring != _keyring(secret, {}, now) or items(secret, "metadata", "ownerReferences") != references:
            await self._write(secret, keyring, references)
        authorities = tuple(each.certificate for each in (keyring.signing, keyring.following) if each is not None)
        following = keyring.following
        note = ""
        if following is not None:
            change = following.certificate.not_valid_before_utc + BACKDATED + self._notice
            note = f"From {day(change)} on another authority signs: renew the kubeconfig on the API servers' hosts before (docs/authorizer.md)."
        return Offer(authorities, self._pair(keyring.signing, served, now), announced=self._is_announced(keyring.signing, now), note=note)

    def _is_announced(self, authority: Issued, now: datetime) -> bool:
        return now >= authority.certificate.not_valid_before_utc + BACKDATED + self._notice

    def _turned(self, keyring: Keyring | None, now: datetime) -> Keyring:
        """The keyring as it should be now."""
        if keyring is None:
            _log.info("a new authority of the webhook's certificate")
            return Keyring(new_authority(now, self._life))
        signing, following = keyring.signing, keyring.following
        if following is None and is_due(signing.certificate, now):
            following = new_authority(now, self._life)
            _log.info("a new authority of the webhook's certificate signs from %s on", now + self._notice)
        if following is not None and (self._is_announced(following, now) or signing.certificate.not_valid_after_utc - now < _SHORT):
            return Keyring(following)
        return Keyring(signing, following)

    def _pair(self, authority: Issued, served: JsonObject, now: datetime) -> Pair:
        """What is served, where that is as it should be; else a new one, the same each time until it is served."""
        present = _read(served, "tls")
        if present is not None and self._is_good(present.certificate, authority, now):
            self._prepared = None  # served by now; where it is lost or stolen another takes its place
            return Pair(present.certificate_pem, present.key_pem)  # in our own hand, whatever else was put there
        prepared = self._prepared
        if prepared is None or prepared[0] != authority.certificate or not self._is_good(prepared[1].certificate, authority, now):
            prepared = self._prepared = (authority.certificate, new_certificate(authority, self._names, now))
        return Pair(prepared[1].certificate_pem, prepared[1].key_pem)

    def _is_good(self, certificate: x509.Certificate, authority: Issued, now: datetime) -> bool:
        if is_due(certificate, now) or certificate.not_valid_after_utc - now > LEAF_LIFE + BACKDATED:
            return False  # the second: made by a clock that was ahead
        try:
            certificate.verify_directly_issued_by(authority.certificate)
            listed = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return all(general_name(name) in listed for name in self._names)

    async def _read(self) -> JsonObject:
        try:
            return await self._api.get(self._path)
        except NotFoundError:
            return {}

    async def _write(self, secret: JsonObject, keyring: Keyring, references: list[JsonObject]) -> None:
        parts = {"ca.crt": keyring.signing.certificate_pem, "ca.key": keyring.signing.key_pem}
        if keyring.following is not None:
            parts |= {"next.crt": keyring.following.certificate_pem, "next.key": keyring.following.key_pem}
        labels = {"app.kubernetes.io/managed-by": "countersign-operator"}
        metadata: dict[str, Any] = {"name": AUTHORITY_SECRET, "labels": labels, "ownerReferences": references}
        data = {name: base64.b64encode(part).decode("ascii") for name, part in parts.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        if not secret:
            await self._api.create(self._collection, {**body, "type": "Opaque"})
            return
        metadata["resourceVersion"] = text(secret, "metadata", "resourceVersion")
        await self._api.replace(self._path, {**body, "type": text(secret, "type") or "Opaque"})


def _keyring(secret: JsonObject, served: JsonObject, now: datetime) -> Keyring | None:
    """What can be used of the Secret; else of `served`, where the key lay before, and is not to sign for longer than it must."""
    signing, following = (_usable(_read(secret, prefix), now) for prefix in ("ca", "next"))
    if signing is not None:
        return Keyring(signing, following)
    if following is not None:
        return Keyring(following)
    former = _usable(_read(served, "ca"), now)
    return Keyring(former, new_authority(now)) if former is not None else None


def _usable(issued: Issued | None, now: datetime) -> Issued | None:
    return issued if issued is not None and is_current(issued.certificate, now) else None


def new_authority(now: datetime, life: timedelta = AUTHORITY_LIFE) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    # Each has a name of its own: by one name, a client that has both could try the wrong one first.
    name = _name(f"countersign-webhook-ca {now:%Y-%m-%d} {x509.random_serial_number() % 16**6:06x}")
    usage = _usage(signs_certificates=True)
    builder = _builder(name, name, key, now).not_valid_after(now + life)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(usage, critical=True)
    return Issued(builder.sign(key, hashes.SHA256()), key)


def new_certificate(authority: Issued, names: Sequence[str], now: datetime) -> Issued:
    """A serving certificate, which does not outlive its authority; `names` are DNS names and IP addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(_name(names[0][:64]), authority.certificate.subject, key, now)
        .not_valid_after(min(now + LEAF_LIFE, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Issued(certificate, key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


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
    """A pair of a Secret; None where it is absent, unreadable or no pair."""
    data = mapping(secret, "data")
    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(data[f"{prefix}.crt"], validate=True))
        key = serialization.load_pem_private_key(base64.b64decode(data[f"{prefix}.key"], validate=True), password=None)
    except (KeyError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return Issued(certificate, key)
