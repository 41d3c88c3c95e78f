"""A serving certificate as the API server will judge it: what it is, how long it holds, and each thing that is wrong with it in a sentence.

Pure: the moment is an argument. The sentences name the remedy; they follow what Go's crypto/x509 demands of a server, since that is what an
API server verifies our certificate with (names in subjectAltName only, serverAuth, no SHA-1, an authority as trust anchor whether root or not).
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from countersign.domain.errors import CountersignError

Authorities = tuple[x509.Certificate, ...]

_LEAST_RSA_BITS: Final = 2048
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_BROKEN_HASHES: Final = (hashes.MD5, hashes.SHA1)
_FOR_SERVERS: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"


class UnreadableError(CountersignError):
    """What is to be a certificate or a key is none; the sentence names the remedy."""


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM: a chain, leaf first, and its key."""

    chain: bytes
    key: bytes


def certificates(pem: bytes, what: str) -> Authorities:
    """All certificates in a text; none in an empty one. Raises UnreadableError. `what` is where it stands, for the sentence."""
    if _BEGIN not in pem:
        if pem.strip():
            raise UnreadableError(f"{what} holds no PEM certificate: it has to begin with {_BEGIN.decode()}.")
        return ()
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except _UNREADABLE as error:
        raise UnreadableError(f"{what} holds a certificate that cannot be read ({error}): write it anew, whole, in PEM.") from error


def rewritten(pair: Pair) -> Pair:
    """The same in our own hand: whoever reads PEM less patiently than this module reads the same. Raises UnreadableError."""
    leaf_of(pair)
    chain = certificates(pair.chain, "tls.crt")
    key = _key_of(pair).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain), key)


def leaf_of(pair: Pair) -> x509.Certificate:
    """Raises UnreadableError."""
    chain = certificates(pair.chain, "tls.crt")
    if not chain:
        raise UnreadableError("tls.crt is empty: put the certificate there, followed by its intermediates, in PEM.")
    return chain[0]


def bundle(authorities: Iterable[x509.Certificate]) -> bytes:
    """PEM, each once, the newest first: the same set is always the same bytes."""
    unique = {authority.fingerprint(hashes.SHA256()): authority for authority in authorities}
    ordered = sorted(unique.items(), key=lambda item: (-item[1].not_valid_before_utc.timestamp(), item[0]))
    return b"".join(authority.public_bytes(serialization.Encoding.PEM) for _, authority in ordered)


def is_current(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def is_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether two thirds of its life are over, or it does not hold yet: a clock was set back."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= start + (end - start) * 2 / 3 or now < start


def life_left(certificate: x509.Certificate, now: datetime) -> float:
    """The part of its life that is still to come; not above 1, below 0 once it is over."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return min(1.0, (end - now) / max(end - start, timedelta(seconds=1)))


def faults(pair: Pair, authorities: Authorities, name: str, now: datetime) -> tuple[str, ...]:
    """Why an API server that calls the webhook by `name` and trusts `authorities` would not take this pair at `now`. Empty: it would."""
    try:
        chain = certificates(pair.chain, "tls.crt")
        leaf = leaf_of(pair)
        _check_key(pair, leaf)
    except UnreadableError as error:
        return (str(error),)
    try:
        found = (*_of_serials(chain), *_of_time(leaf, now), *_of_names(leaf, name), *_of_usage(leaf), *_of_strength(leaf))
        return found or tuple(_of_chain(leaf, chain[1:], authorities, name, now))
    except _UNREADABLE as error:
        return (f"tls.crt holds what cannot be read ({error!r}): have the certificate made anew.",)


def _key_of(pair: Pair) -> PrivateKeyTypes:
    """Raises UnreadableError."""
    if not pair.key.strip():
        raise UnreadableError("tls.key is empty: put the certificate's private key there, in PEM.")
    try:
        return serialization.load_pem_private_key(pair.key, password=None)
    except TypeError as error:
        raise UnreadableError("tls.key is encrypted, and nobody is there to ask for its password: write it without one.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnreadableError("tls.key holds no private key that can be read: write it anew, in PEM.") from error


def _check_key(pair: Pair, leaf: x509.Certificate) -> None:
    key = _key_of(pair)
    try:
        is_its = key.public_key() == leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnreadableError(f"tls.crt has a kind of key that cannot be served ({error}): use ECDSA P-256 or RSA 2048.") from error
    if not is_its:
        raise UnreadableError("tls.key is not the key of tls.crt: bring the two that were made together.")


def _of_serials(chain: Authorities) -> Iterable[str]:
    """Go parses no certificate with a negative one since 1.23 (https://go.dev/doc/godebug, x509negativeserial)."""
    if any(each.serial_number < 0 for each in chain):
        yield "A certificate in tls.crt has a negative serial number, which the API server does not take: have it made anew."


def _of_time(leaf: x509.Certificate, now: datetime) -> Iterable[str]:
    if now >= leaf.not_valid_after_utc:
        yield f"The certificate expired on {day(leaf.not_valid_after_utc)}: bring a new one."
    elif now < leaf.not_valid_before_utc:
        yield f"The certificate holds only from {leaf.not_valid_before_utc:%Y-%m-%dT%H:%MZ} on: bring one that holds now, or set the clock of its maker right."


def _of_names(leaf: x509.Certificate, name: str) -> Iterable[str]:
    try:
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        yield f"The certificate has no subjectAltName, and its common name counts for nothing: have {name} put in as one."
        return
    wanted = general_name(name)
    if isinstance(wanted, x509.IPAddress):
        is_listed = wanted in alternative
    else:
        is_listed = any(_covers(listed, name) for listed in alternative.get_values_for_type(x509.DNSName))
    if not is_listed:
        listed = ", ".join(str(each.value) for each in alternative) or "nothing"
        yield f"The certificate is for {listed[:300]}, and the API server calls {name}: have that put into its subjectAltName."


def _covers(listed: str, name: str) -> bool:
    listed, name = listed.lower().rstrip("."), name.lower()
    return listed == name or (listed.startswith("*.") and listed[1:] == name[name.find(".") :])


def _of_usage(leaf: x509.Certificate) -> Iterable[str]:
    try:
        usages = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, ValueError):
        return
    if not usages & _FOR_SERVERS:
        yield "The certificate is not for servers: have the extended key usage serverAuth put in."


def _of_strength(leaf: x509.Certificate) -> Iterable[str]:
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _LEAST_RSA_BITS:
            yield f"The certificate's RSA key has {key.key_size} bits: make one of {_LEAST_RSA_BITS} or more, or ECDSA P-256."
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        yield "The certificate's key is of a kind that is not taken: use ECDSA P-256, P-384 or P-521, or RSA of 2048 bits or more."
    if isinstance(leaf.signature_hash_algorithm, _BROKEN_HASHES):
        yield f"The certificate is signed with {leaf.signature_hash_algorithm.name}, which can be forged: have it signed with SHA-256."


def _of_chain(
    leaf: x509.Certificate, between: Sequence[x509.Certificate], authorities: Authorities, name: str, now: datetime
) -> Iterable[str]:
    if not authorities:
        yield "It is said nowhere whom the API server is to trust: put the authority's certificate into ca.crt, or into certificates.caBundle."
        return
    if leaf in authorities:
        return  # a certificate that is its own trust anchor, as a self-signed one is
    builder = verification.PolicyBuilder().store(verification.Store(list(authorities))).time(now)
    # Which extensions there have to be is the Web's own rule, not the API server's; what counts of them is checked above.
    builder = builder.extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
    try:
        builder.build_server_verifier(general_name(name)).verify(leaf, list(between))
    except (verification.VerificationError, ValueError) as error:
        ended = [authority for authority in authorities if not is_current(authority, now)]
        if len(ended) == len(authorities):
            yield f"The authority {_subject(ended[0])} holds from {day(ended[0].not_valid_before_utc)} to {day(ended[0].not_valid_after_utc)} only: bring a certificate of one that holds now, with its ca.crt."
        else:
            yield (
                f"The chain of tls.crt does not lead to {', '.join(_subject(each) for each in authorities)[:300]} (issuer: "
                f"{leaf.issuer.rfc4514_string()[:200]}; {str(error)[:200]}): put the intermediates into tls.crt after the certificate, "
                "and the authority that signed the last of them into ca.crt."
            )


_CA_POLICY: Final = verification.ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
)
_LEAF_POLICY: Final = verification.ExtensionPolicy.permit_all().require_present(
    x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None
)


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"the authority {certificate.serial_number:x}"


def day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")


def general_name(name: str) -> x509.IPAddress | x509.DNSName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
