"""OpenSSH public keys: which ones a reviewer may register and sign with.

Everything accepted here is accepted by `ssh-keygen` too; the reverse does not hold. Wire forms: RFC 4253 (rsa), RFC 5656 (ecdsa),
RFC 8709 (ed25519), OpenSSH's PROTOCOL.u2f (the `sk-` types).
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final, NoReturn, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from countersign.domain.errors import CountersignError
from countersign.domain.sshwire import Reader, WireFault, decode_base64

MAX_LINE: Final = 16 * 1024
MIN_RSA_BITS: Final = 3072
MAX_RSA_BITS: Final = 16384
MAX_RSA_EXPONENT_BITS: Final = 64  # OpenSSL refuses to verify with more above 3072 bits, and a huge one costs time

_NEW_KEY: Final = "make one with `ssh-keygen -t ed25519` (or `-t ed25519-sk` for a hardware key) and register that"


class KeyFault(StrEnum):
    UNREADABLE = "Unreadable"
    UNSUPPORTED = "Unsupported"
    WEAK = "Weak"


class KeyRefused(CountersignError):
    """A public key that we do not accept; `str()` says what to change, `reason` is for machines."""

    def __init__(self, reason: KeyFault, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that `parse_public_key` accepted. Two are the same key if and only if their blobs are equal.

    `blob` is the wire form. `hardware` is true for the `sk-` types: the key lives on a FIDO authenticator, whose word for it
    (no attestation) is all that we have.
    """

    type: str
    blob: bytes
    hardware: bool

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it: "SHA256:" and unpadded base64."""
        return "SHA256:" + b64encode(hashlib.sha256(self.blob).digest()).decode("ascii").rstrip("=")


Verifier: TypeAlias = Ed25519PublicKey | ec.EllipticCurvePublicKey | RSAPublicKey


@dataclass(frozen=True, slots=True)
class LoadedKey:
    """A key with what verification needs of it. `application` is the FIDO relying party of an `sk-` key, else None."""

    key: PublicKey
    verifier: Verifier
    application: bytes | None


def parse_public_key(text: str) -> PublicKey:
    """Read one `TYPE BASE64 [comment]` line, as in a .pub file; white space around it is ignored.

    Raises KeyRefused for whatever is not exactly such a line, and for keys that are unsupported or weak.
    """
    if len(text) > MAX_LINE:
        _refuse_unreadable(f"it is longer than {MAX_LINE} characters")
    if re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY-----", text):
        _refuse_unreadable("it is a private key, which must now count as leaked: make a new pair, and keep its private half to yourself")
    line = text.strip(" \t\r\n")
    if len(line.splitlines()) != 1:
        _refuse_unreadable("it is not one line")
    declared, *rest = re.split(r"[ \t]+", line, maxsplit=2)
    _refuse_type_by_name(declared)
    if not rest:
        _refuse_unreadable("only its type is there")
    try:
        key = load_key(decode_base64(rest[0])).key
    except WireFault as fault:
        _refuse_unreadable(str(fault))
    if key.type != declared:
        _refuse_unreadable(f"the line calls it {declared}, but inside it is {key.type}")
    return key


def load_key(blob: bytes) -> LoadedKey:
    """Check the wire form of a key to its last byte, and make it usable. Raises KeyRefused."""
    reader = Reader(blob)
    try:
        kind = reader.text()
        _refuse_type_by_name(kind)
        verifier, application = _READERS[kind](reader)
        reader.end()
    except WireFault as fault:
        _refuse_unreadable(str(fault))
    except UnsupportedAlgorithm:
        sentence = "Keys of this type cannot be used with this build of OpenSSL: register a key of another type."
        raise KeyRefused(KeyFault.UNSUPPORTED, sentence) from None
    return LoadedKey(PublicKey(kind, blob, hardware=application is not None), verifier, application)


def _refuse_unreadable(why: str) -> NoReturn:
    sentence = f"The public key cannot be read: {why}. Give the one line of the .pub file, `TYPE BASE64 [comment]`, unchanged."
    raise KeyRefused(KeyFault.UNREADABLE, sentence)


def _refuse_type_by_name(kind: str) -> None:
    if kind in _READERS:
        return
    if kind == "ssh-dss":
        raise KeyRefused(KeyFault.WEAK, f"DSA keys are too weak to sign with: {_NEW_KEY}.")
    if re.fullmatch(r"[a-z0-9@.-]+-cert-v\d\d@openssh\.com", kind):
        raise KeyRefused(KeyFault.UNSUPPORTED, "Certificates are not accepted: register the plain public key that it certifies.")
    known = ", ".join(_READERS)
    raise KeyRefused(KeyFault.UNSUPPORTED, f"The key type {kind[:64]!a} is not accepted (only {known}): {_NEW_KEY}.")


# --- one reader per type; each leaves the cursor behind what it read

_Read: TypeAlias = tuple[Verifier, bytes | None]


def _read_ed25519(reader: Reader) -> _Read:
    return _ed25519_point(reader), None


def _read_sk_ed25519(reader: Reader) -> _Read:
    return _ed25519_point(reader), _application(reader)


def _read_ecdsa(reader: Reader, *, curve: ec.EllipticCurve, name: str) -> _Read:
    return _curve_point(reader, curve, name), None


def _read_sk_ecdsa(reader: Reader) -> _Read:
    return _curve_point(reader, ec.SECP256R1(), "nistp256"), _application(reader)


def _read_rsa(reader: Reader) -> _Read:
    exponent, modulus = reader.positive(), reader.positive()
    bits = modulus.bit_length()
    if bits < MIN_RSA_BITS:
        raise KeyRefused(KeyFault.WEAK, f"This RSA key has {bits} bits, and {MIN_RSA_BITS} is the least: {_NEW_KEY}.")
    if bits > MAX_RSA_BITS:
        raise KeyRefused(KeyFault.UNSUPPORTED, f"This RSA key has {bits} bits, and {MAX_RSA_BITS} is the most: {_NEW_KEY}.")
    if modulus % 2 == 0 or exponent % 2 == 0 or exponent == 1 or exponent.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise KeyRefused(KeyFault.WEAK, f"This RSA key has numbers that no sound key has (an even modulus, a bad exponent): {_NEW_KEY}.")
    return RSAPublicNumbers(exponent, modulus).public_key(), None


_READERS: Final[Mapping[str, Callable[[Reader], _Read]]] = {
    "ssh-ed25519": _read_ed25519,
    "sk-ssh-ed25519@openssh.com": _read_sk_ed25519,
    "sk-ecdsa-sha2-nistp256@openssh.com": _read_sk_ecdsa,
    "ecdsa-sha2-nistp256": partial(_read_ecdsa, curve=ec.SECP256R1(), name="nistp256"),
    "ecdsa-sha2-nistp384": partial(_read_ecdsa, curve=ec.SECP384R1(), name="nistp384"),
    "ecdsa-sha2-nistp521": partial(_read_ecdsa, curve=ec.SECP521R1(), name="nistp521"),
    "ssh-rsa": _read_rsa,
}


def _application(reader: Reader) -> bytes:
    application = reader.string()
    if b"\0" in application:
        raise WireFault("its FIDO application holds a NUL")
    if not application.startswith(b"ssh:"):
        # A key made for a web site could be asked for signatures by that site.
        sentence = 'This hardware key was not made for SSH (its FIDO application does not begin with "ssh:"): '
        raise KeyRefused(KeyFault.UNSUPPORTED, sentence + "make one with `ssh-keygen -t ed25519-sk` and register that.")
    return application


def _curve_point(reader: Reader, curve: ec.EllipticCurve, name: str) -> ec.EllipticCurvePublicKey:
    if reader.text() != name:
        raise WireFault("its curve is not that of its type")
    point = reader.string()
    width = (curve.key_size + 7) // 8
    if len(point) != 1 + 2 * width or point[0] != 4:  # noqa: PLR2004  (SEC 1, section 2.3.3: 4 marks an uncompressed point)
        raise WireFault("its point is not an uncompressed one of its curve")
    # The bounds that OpenSSH sets (sshkey_ec_validate_public); no key made by chance is outside them.
    coordinates = (int.from_bytes(point[1 : 1 + width], "big"), int.from_bytes(point[1 + width :], "big"))
    order = curve.group_order
    if any(number.bit_length() <= order.bit_length() // 2 or number >= order - 1 for number in coordinates):
        raise KeyRefused(KeyFault.WEAK, f"This ECDSA key's point is outside the bounds for sound keys: {_NEW_KEY}.")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    except ValueError:
        raise WireFault("its point is not on its curve") from None


# --- edwards25519 (RFC 8032, section 5.1): OpenSSL takes any 32 bytes for a key, so the point is checked here

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y coordinates of the eight points whose order divides the cofactor: to such a key, signatures can be made by anybody.
_LOW_ORDER: Final = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})


def _ed25519_point(reader: Reader) -> Ed25519PublicKey:
    encoded = reader.string()
    if len(encoded) != 32:  # noqa: PLR2004  (RFC 8709, section 4)
        raise WireFault("its point has not 32 bytes")
    y = int.from_bytes(encoded, "little") & (2**255 - 1)  # the topmost bit is the sign of x
    if y >= _P or not _is_on_edwards25519(y):
        raise WireFault("its point is not on its curve")
    if y in _LOW_ORDER:
        raise KeyRefused(KeyFault.WEAK, f"This Ed25519 key is a point of low order, to which anybody can sign: {_NEW_KEY}.")
    return Ed25519PublicKey.from_public_bytes(encoded)


def _is_on_edwards25519(y: int) -> bool:
    """Whether x² = (y² - 1) / (d·y² + 1) has a root; the quotient is a square exactly if the product is (Euler's criterion)."""
    square = y * y % _P
    product = (square - 1) * (_D * square + 1)
    return pow(product, (_P - 1) // 2, _P) in {0, 1}
