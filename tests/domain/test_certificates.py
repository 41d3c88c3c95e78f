"""What is wrong with a serving certificate, each row held against a real TLS client (OpenSSL) that trusts the same authorities."""

import ipaddress
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.adapters.certificates import CertificateRefused, _context
from countersign.domain.certificates import (
    Authorities,
    Pair,
    UnreadableError,
    bundle,
    certificates,
    faults,
    is_due,
    leaf_of,
    life_left,
    rewritten,
)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
NAME = "countersign-webhook.countersign.svc"
NOW = datetime.now(UTC).replace(microsecond=0)  # the oracle knows no other time
DAY = timedelta(days=1)
DNS = x509.DNSName


def p256() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Made:
    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return private(self.key)


def private(key: Key, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption or serialization.NoEncryption())


def make(
    common: str,
    by: Made | None = None,
    *,
    ca: bool = False,
    names: Sequence[x509.GeneralName] | None = None,
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH,
    key: Key | None = None,
    starts: timedelta = -DAY,
    ends: timedelta = DAY,
) -> Made:
    key = key or p256()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    issuer = by.certificate.subject if by else subject
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), NOW + starts, NOW + ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usage is not None and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    signer = by.key if by else key
    return Made(builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()), key)


ROOT = make("root", ca=True)
BETWEEN = make("between", ROOT, ca=True)
ENDED = make("ended", ca=True, starts=-3 * DAY, ends=-DAY)
OTHER = make("root", ca=True)  # of the same name, by which OpenSSL would go first; Go tries each


def leaf(by: Made | None = ROOT, **about: object) -> Made:
    return make("webhook", by, **{"names": [DNS(NAME)], **about})  # type: ignore[arg-type]  # make's own keywords


def pair(made: Made, *between: Made, key: bytes | None = None) -> Pair:
    return Pair(b"".join(each.pem for each in (made, *between)), made.key_pem if key is None else key)


SELF_SIGNED = leaf(None)
NOT_CA = make("no authority", ROOT)
PASSWORD = serialization.BestAvailableEncryption(b"secret")
GOOD: dict[str, tuple[Pair, list[Made]]] = {
    "signed by the root": (pair(leaf()), [ROOT]),
    "among other authorities": (pair(leaf()), [BETWEEN, ENDED, ROOT]),
    "through an intermediate": (pair(leaf(BETWEEN), BETWEEN), [ROOT]),
    "an intermediate as the authority": (pair(leaf(BETWEEN)), [BETWEEN]),
    "its own authority": (pair(SELF_SIGNED), [SELF_SIGNED]),
    "a wildcard": (pair(leaf(names=[DNS("*.countersign.svc")])), [ROOT]),
    "several names": (pair(leaf(names=[DNS("a.example.com"), DNS(NAME)])), [ROOT]),
    "for any use": (pair(leaf(usage=None)), [ROOT]),
    "RSA of 2048 bits": (pair(leaf(key=rsa.generate_private_key(65537, 2048))), [ROOT]),
    "P-384": (pair(leaf(key=ec.generate_private_key(ec.SECP384R1()))), [ROOT]),
}
BAD: dict[str, tuple[Pair, list[Made], str]] = {
    "another name": (pair(leaf(names=[DNS("shop.example.com")])), [ROOT], f"is for shop.example.com, and the API server calls {NAME}"),
    "a wildcard one step too high": (pair(leaf(names=[DNS("*.svc")])), [ROOT], r"is for \*.svc, and the API server calls"),
    "a common name alone": (pair(make(NAME, ROOT)), [ROOT], "no subjectAltName, and its common name counts for nothing"),
    "an address for a name": (pair(leaf(names=[x509.RFC822Name("a@example.com")])), [ROOT], "is for a@example.com"),
    "expired": (pair(leaf(ends=-timedelta(hours=1))), [ROOT], "expired on .*: bring a new one"),
    "not yet": (pair(leaf(starts=timedelta(hours=1))), [ROOT], "holds only from .* on"),
    "for clients": (pair(leaf(usage=ExtendedKeyUsageOID.CLIENT_AUTH)), [ROOT], "not for servers: have the extended key usage serverAuth"),
    "another's key": (pair(leaf(), key=ROOT.key_pem), [ROOT], "tls.key is not the key of tls.crt"),
    "no key": (pair(leaf(), key=b""), [ROOT], "tls.key is empty"),
    "a key with a password": (pair(leaf(), key=private(p256(), PASSWORD)), [ROOT], "tls.key is encrypted"),
    "a key that is none": (pair(leaf(), key=b"-----BEGIN PRIVATE KEY-----\n"), [ROOT], "tls.key holds no private key"),
    "another authority": (pair(leaf()), [OTHER], "The chain of tls.crt does not lead to CN=root .*intermediates into tls.crt"),
    "without its intermediate": (pair(leaf(BETWEEN)), [ROOT], "The chain of tls.crt does not lead to CN=root"),
    "signed by what is no authority": (pair(leaf(NOT_CA), NOT_CA), [ROOT], "The chain of tls.crt does not lead to CN=root"),
    "an authority that has ended": (pair(leaf(ENDED)), [ENDED], "The authority CN=ended holds from .* only"),
    "self-signed, and not among the authorities": (pair(leaf(None)), [ROOT], "The chain of tls.crt does not lead to"),
    "nobody to trust": (pair(leaf()), [], "It is said nowhere whom the API server is to trust"),
    "no certificate": (Pair(b"hello", ROOT.key_pem), [ROOT], "tls.crt holds no PEM certificate"),
    "nothing": (Pair(b"", ROOT.key_pem), [ROOT], "tls.crt is empty"),
    "half a certificate": (Pair(leaf().pem[:200], ROOT.key_pem), [ROOT], "tls.crt holds a certificate that cannot be read"),
}
WEAK: dict[str, tuple[Pair, list[Made], str]] = {
    "RSA of 1024 bits": (pair(leaf(key=rsa.generate_private_key(65537, 1024))), [ROOT], "RSA key has 1024 bits"),
    "secp256k1": (pair(leaf(key=ec.generate_private_key(ec.SECP256K1()))), [ROOT], "of a kind that is not taken: use ECDSA P-256"),
    "Ed25519": (pair(leaf(key=ed25519.Ed25519PrivateKey.generate())), [ROOT], "of a kind that is not taken: use ECDSA P-256"),
}


def trusting(authorities: list[Made]) -> Authorities:
    return tuple(each.certificate for each in authorities)


def would_connect(given: Pair, authorities: list[Made]) -> bool:
    """Whether OpenSSL's client does, to the webhook's own context; as Go, it takes an intermediate for an anchor."""
    try:
        server = _context(given, "")
    except CertificateRefused:
        return False
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.hostname_checks_common_name = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if authorities:
        client.load_verify_locations(cadata="".join(each.pem.decode() for each in authorities))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=NAME)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return False
    return True


@pytest.mark.parametrize(("given", "authorities"), GOOD.values(), ids=GOOD)
def test_taken(given: Pair, authorities: list[Made]) -> None:
    assert faults(given, trusting(authorities), NAME, NOW) == ()
    assert would_connect(given, authorities)


@pytest.mark.parametrize(("given", "authorities", "sentence"), BAD.values(), ids=BAD)
def test_refused_in_a_sentence(given: Pair, authorities: list[Made], sentence: str) -> None:
    found = " ".join(faults(given, trusting(authorities), NAME, NOW))
    assert re.search(sentence, found), found
    assert not would_connect(given, authorities)


@pytest.mark.parametrize(("given", "authorities", "sentence"), WEAK.values(), ids=WEAK)
def test_refused_as_weak_or_unusual(given: Pair, authorities: list[Made], sentence: str) -> None:
    """Whatever OpenSSL takes: Go need not."""
    assert sentence in " ".join(faults(given, trusting(authorities), NAME, NOW))


def test_an_address_is_called_by_its_address() -> None:
    listed = pair(leaf(names=[x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]))
    assert faults(listed, trusting([ROOT]), "127.0.0.1", NOW) == ()
    assert "is for 127.0.0.1, and the API server calls 10.0.0.1" in faults(listed, trusting([ROOT]), "10.0.0.1", NOW)[0]
    assert faults(pair(leaf(names=[DNS("127.0.0.1")])), trusting([ROOT]), "127.0.0.1", NOW), "a name is no address"


def test_of_two_authorities_of_one_name_the_right_one_counts() -> None:
    assert faults(pair(leaf()), trusting([OTHER, ROOT]), NAME, NOW) == ()


def test_all_that_is_wrong_with_it_is_said_at_once() -> None:
    made = leaf(names=[DNS("x")], ends=-timedelta(hours=1), usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    assert len(faults(pair(made), trusting([ROOT]), NAME, NOW)) == 3


GIVEN = pair(leaf(BETWEEN), BETWEEN)
SERIALS = pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")


def negative(given: Pair) -> Pair:
    """The leaf's serial number with its sign bit set; OpenSSL takes that, Go does not."""
    der = bytearray(ssl.PEM_cert_to_DER_cert(given.chain.decode().partition("-----END")[0] + "-----END CERTIFICATE-----"))
    serial = der.index(b"\xa0\x03\x02\x01\x02\x02") + 6  # after the version: INTEGER, its length, its first byte
    der[serial + 1] |= 0x80
    return Pair(ssl.DER_cert_to_PEM_cert(bytes(der)).encode(), given.key)


@SERIALS
def test_a_serial_number_below_zero_is_a_fault_of_its_own() -> None:
    found = faults(negative(pair(SELF_SIGNED)), trusting([SELF_SIGNED]), NAME, NOW)
    assert any("negative serial number" in each for each in found)


@SERIALS
@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GIVEN.chain) - 1), st.integers(0, 255), st.booleans())
def test_a_spoilt_byte_never_breaks_the_operator(place: int, byte: int, is_key: bool) -> None:
    """It is a sentence, or the byte did not matter: then OpenSSL takes it too."""
    whole = bytearray(GIVEN.key if is_key else GIVEN.chain)
    whole[place % len(whole)] = byte
    spoilt = Pair(GIVEN.chain, bytes(whole)) if is_key else Pair(bytes(whole), GIVEN.key)
    if not faults(spoilt, trusting([ROOT]), NAME, NOW):
        assert would_connect(rewritten(spoilt), [ROOT])


def test_a_bundle_is_a_set() -> None:
    ordered = trusting([ROOT, BETWEEN, OTHER])
    assert bundle(ordered) == bundle([*reversed(ordered), *ordered])
    assert set(certificates(bundle(ordered), "x")) == set(ordered)
    assert certificates(b" \n", "x") == ()
    with pytest.raises(UnreadableError, match=r"ca\.crt holds no PEM certificate"):
        certificates(b"x", "ca.crt")


def test_its_life() -> None:
    made = leaf(starts=-DAY, ends=2 * DAY).certificate
    assert not is_due(made, NOW + DAY - timedelta(seconds=1))
    assert is_due(made, NOW + DAY)
    assert is_due(made, NOW - 2 * DAY), "it does not hold yet: a clock was set back"
    assert life_left(made, NOW - DAY) == 1
    assert life_left(made, NOW + DAY) == pytest.approx(1 / 3)
    assert life_left(made, NOW + 3 * DAY) < 0
    assert leaf_of(GIVEN) == certificates(GIVEN.chain, "x")[0]
