"""A small certificate authority of the test cluster's own."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.controlplane.files import write

LIFETIME = dt.timedelta(days=365)
# A cluster that was suspended or whose clock was corrected must not reject what was made a moment ago.
SKEW = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    encoding, format_ = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, format_, serialization.NoEncryption())


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFETIME)
    )


class Authority:
    """Signs with the CA's key. `load` takes one that exists, be it ours or a kubeadm cluster's."""

    def __init__(self, certificate: x509.Certificate, key: CertificateIssuerPrivateKeyTypes) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Authority:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise TypeError(f"{key} holds a {type(private).__name__}: a CA of a test cluster has an EC or RSA key")
        return cls(x509.load_pem_x509_certificate(certificate.read_bytes()), private)

    @classmethod
    def load_or_make(cls, certificate: Path, key: Path) -> Authority:
        if not (certificate.exists() and key.exists()):
            pair = new_authority()
            write(key, pair.key)
            write(certificate, pair.certificate, mode=0o644)
        return cls.load(certificate, key)

    def client(self, username: str, groups: Sequence[str] = ()) -> Pair:
        """A client certificate: the API server reads the username from CN and the groups from O."""
        return self._issue(_name(username, groups), [], [ExtendedKeyUsageOID.CLIENT_AUTH])

    def server(self, names: Sequence[str], addresses: Sequence[str]) -> Pair:
        hosts: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        hosts += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        return self._issue(_name("kube-apiserver", ()), hosts, [ExtendedKeyUsageOID.SERVER_AUTH])

    def _issue(self, subject: x509.Name, hosts: Sequence[x509.GeneralName], usages: Sequence[x509.ObjectIdentifier]) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self._certificate.subject)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def new_authority() -> Pair:
    """A self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("countersign-test-cluster", ())
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def new_token_key() -> bytes:
    """The RSA key that signs the tokens of ServiceAccounts, PEM."""
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
