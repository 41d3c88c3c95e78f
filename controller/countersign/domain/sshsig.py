"""SSHSIG: the signatures that `ssh-keygen -Y sign` makes, verified strictly.

The format is OpenSSH's PROTOCOL.sshsig; the signatures inside are those of RFC 8709 (ed25519), RFC 5656 (ecdsa), RFC 8332 (rsa) and
PROTOCOL.u2f (the `sk-` types). Everything accepted here is accepted by `ssh-keygen -Y verify` too. The reverse does not hold: here

- every byte is accounted for: one spelling of base64, no reserved data (which `ssh-keygen` ignores), nothing after the end;
- RSA has 3072 bits or more, and a signature as long as its modulus (RFC 8332 would let us take a shorter one);
- a FIDO signature needs the user-presence flag, which `ssh-keygen` does not ask for, and no flag but that and user verification.

Bytes are not names: of one ECDSA signature (r, s) anybody can make (r, n - s), which is valid too (`ssh-keygen` makes and takes either).
It says the same of the same text by the same key, so it is harmless, as long as nobody takes signature bytes for an identity.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn, assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from countersign.domain.errors import CountersignError
from countersign.domain.names import GROUP
from countersign.domain.sshkey import KeyFault, KeyRefused, LoadedKey, PublicKey, Verifier, load_key
from countersign.domain.sshwire import Reader, WireFault, decode_base64, string

APPROVE: Final = f"approve@{GROUP}"
REJECT: Final = f"reject@{GROUP}"

MAX_ARMORED: Final = 16 * 1024

_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_DIGESTS: Final = frozenset({"sha256", "sha512"})
_RSA_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
_CURVE_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {  # RFC 5656, section 6.2.1
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_ED25519_SIZE: Final = 64

# Flags of a FIDO authenticator's answer (WebAuthn, section 6.1). Backup flags would mean that the key can leave its device, the others
# that more was signed than an SSH signature carries.
_USER_PRESENT: Final = 0x01
_USER_VERIFIED: Final = 0x04

_SIGN_AGAIN: Final = "sign again with `ssh-keygen -Y sign` and give the .sig file unchanged"


class SignatureFault(StrEnum):
    """WRONG_KEY is for the caller, who alone knows whose key it ought to be."""

    MALFORMED = "Malformed"
    UNSUPPORTED = "Unsupported"
    WRONG_NAMESPACE = "WrongNamespace"
    WRONG_KEY = "WrongKey"
    WEAK = "Weak"
    NO_USER_PRESENCE = "NoUserPresence"
    BAD_SIGNATURE = "BadSignature"


_FAULT_OF_KEY: Final = {
    KeyFault.UNREADABLE: SignatureFault.MALFORMED,
    KeyFault.UNSUPPORTED: SignatureFault.UNSUPPORTED,
    KeyFault.WEAK: SignatureFault.WEAK,
}


class SignatureRefused(CountersignError):
    """An SSHSIG that proves nothing; `str()` says what to do about it, `reason` is for machines."""

    def __init__(self, reason: SignatureFault, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signature:
    """A well-formed SSHSIG, of which nothing is proven before `verify`. Made by `parse_signature` only.

    `algorithm` is the inner signature's (e.g. "rsa-sha2-512"), `value` what the algorithm yields (DER for ECDSA), `flags` and
    `counter` are a FIDO authenticator's, else 0.
    """

    loaded: LoadedKey
    namespace: str
    hash_algorithm: str
    algorithm: str
    value: bytes
    flags: int
    counter: int

    @property
    def key(self) -> PublicKey:
        """The key that came inside: whose it is, the caller finds out by comparing `key.blob`, best before the dearer `verify`."""
        return self.loaded.key


def parse_signature(armored: str) -> Signature:
    """Read the text between (and with) the BEGIN and END lines. The width of its lines is free.

    Raises SignatureRefused: MALFORMED, UNSUPPORTED, WEAK.
    """
    try:
        return _parse_blob(_dearmor(armored))
    except WireFault as fault:
        _malformed(str(fault))
    except KeyRefused as refused:
        sentence = f"The signature was made with a key that is not accepted. {refused}"
        raise SignatureRefused(_FAULT_OF_KEY[refused.reason], sentence) from refused


def verify(signature: Signature, message: bytes, namespace: str) -> None:
    """Prove that `signature.key` signed these bytes for this namespace; that it is the expected key, the caller compares on its blob.

    1. The signature was made for the namespace. 2. It is the key's, over the message. 3. A hardware key says that it was touched.

    Raises SignatureRefused: WRONG_NAMESPACE, BAD_SIGNATURE, NO_USER_PRESENCE, UNSUPPORTED.
    """
    if signature.namespace != namespace:  # 1
        raise SignatureRefused(
            SignatureFault.WRONG_NAMESPACE,
            f"The signature was made for {signature.namespace[:64]!a}, not for {namespace}: "
            f"sign again with `ssh-keygen -Y sign -n {namespace}`.",
        )
    try:
        _check_value(signature, _signed_bytes(signature, message))  # 2
    except UnsupportedAlgorithm:
        _unsupported(f"{signature.algorithm} cannot be verified with this build of OpenSSL: sign with a key of another type.")
    except InvalidSignature:
        raise SignatureRefused(
            SignatureFault.BAD_SIGNATURE,
            "The signature does not match the text: fetch the statement again, byte for byte, read it, and sign it again.",
        ) from None
    if signature.key.hardware:
        _check_presence(signature.flags)  # 3


# --- reading


def _dearmor(armored: str) -> bytes:
    if len(armored) > MAX_ARMORED:
        _malformed(f"it is longer than {MAX_ARMORED} characters")
    if "\r" in armored:
        _malformed("it has Windows line ends (CR LF), which must be LF")
    lines = armored.removesuffix("\n").split("\n")
    if lines[0] != _BEGIN or lines[-1] != _END:
        _malformed(f"it does not begin with {_BEGIN} and end with {_END}, each alone on its line")
    body = lines[1:-1]
    if not all(body):
        _malformed("it has an empty line")
    return decode_base64("".join(body))


def _parse_blob(blob: bytes) -> Signature:
    reader = Reader(blob)
    if reader.take(len(_MAGIC)) != _MAGIC:
        _malformed("it is not an SSHSIG")
    version = reader.uint32()
    if version != _VERSION:
        _unsupported(f"SSHSIG version {version} is not accepted, only {_VERSION}: sign with the `ssh-keygen` of OpenSSH.")
    key_blob, namespace, reserved, hash_algorithm, inner = reader.string(), reader.text(), reader.string(), reader.text(), reader.string()
    reader.end()
    if not namespace:
        _malformed("it has no namespace")
    if reserved:
        _unsupported(f"The signature holds reserved data, to which no meaning is given: {_SIGN_AGAIN}.")
    if hash_algorithm not in _DIGESTS:
        _unsupported(f"The hash {hash_algorithm[:64]!a} is not accepted, only sha256 and sha512: {_SIGN_AGAIN}.")
    return _parse_inner(inner, load_key(key_blob), namespace, hash_algorithm)


def _parse_inner(inner: bytes, loaded: LoadedKey, namespace: str, hash_algorithm: str) -> Signature:
    """The signature proper: its algorithm, its value, and of a FIDO authenticator the flags and the counter."""
    reader = Reader(inner)
    algorithm = reader.text()
    _check_algorithm(algorithm, loaded.key.type)
    value = _parse_value(reader.string(), loaded.verifier)
    flags, counter = (reader.byte(), reader.uint32()) if loaded.key.hardware else (0, 0)
    reader.end()
    return Signature(loaded, namespace, hash_algorithm, algorithm, value, flags, counter)


def _check_algorithm(algorithm: str, key_type: str) -> None:
    if key_type == "ssh-rsa":
        if algorithm == "ssh-rsa":
            sentence = f"The signature uses SHA-1 (ssh-rsa), which can be forged: {_SIGN_AGAIN} (OpenSSH 8.2 or newer)."
            raise SignatureRefused(SignatureFault.WEAK, sentence)
        accepted = tuple(_RSA_HASHES)
    else:
        accepted = (key_type,)
    if algorithm not in accepted:
        known = " or ".join(accepted)
        _unsupported(f"A {key_type} key signs with {known}, and this signature says {algorithm[:64]!a}: {_SIGN_AGAIN}.")


def _parse_value(raw: bytes, verifier: Verifier) -> bytes:
    match verifier:
        case Ed25519PublicKey():
            if len(raw) != _ED25519_SIZE:
                _malformed("an Ed25519 signature has 64 bytes")
            return raw
        case RSAPublicKey():
            if len(raw) != (verifier.key_size + 7) // 8:
                _malformed("it is not as long as the RSA key (some agents drop leading zeros: sign with the key file, without the agent)")
            return raw
        case ec.EllipticCurvePublicKey():
            return _parse_ecdsa(raw, verifier.curve.group_order)
        case _:
            assert_never(verifier)


def _parse_ecdsa(raw: bytes, order: int) -> bytes:
    reader = Reader(raw)
    r, s = reader.positive(), reader.positive()
    reader.end()
    if r >= order or s >= order:
        _malformed("a number in it is not below the order of the curve")
    return encode_dss_signature(r, s)


def _malformed(why: str) -> NoReturn:
    raise SignatureRefused(SignatureFault.MALFORMED, f"The signature cannot be read: {why}. To mend it, {_SIGN_AGAIN}.")


def _unsupported(sentence: str) -> NoReturn:
    raise SignatureRefused(SignatureFault.UNSUPPORTED, sentence)


# --- proving


def _signed_bytes(signature: Signature, message: bytes) -> bytes:
    """What the key signed: PROTOCOL.sshsig, section 3, and for a hardware key PROTOCOL.u2f's wrapping of that."""
    digest = hashlib.new(signature.hash_algorithm, message).digest()
    fields = (signature.namespace.encode("ascii"), b"", signature.hash_algorithm.encode("ascii"), digest)
    wrapped = _MAGIC + b"".join(map(string, fields))
    if signature.loaded.application is None:
        return wrapped
    flags_and_counter = signature.flags.to_bytes(1, "big") + signature.counter.to_bytes(4, "big")
    return hashlib.sha256(signature.loaded.application).digest() + flags_and_counter + hashlib.sha256(wrapped).digest()


def _check_value(signature: Signature, signed: bytes) -> None:
    verifier = signature.loaded.verifier
    match verifier:
        case Ed25519PublicKey():
            verifier.verify(signature.value, signed)
        case RSAPublicKey():
            verifier.verify(signature.value, signed, PKCS1v15(), _RSA_HASHES[signature.algorithm])
        case ec.EllipticCurvePublicKey():
            verifier.verify(signature.value, signed, ec.ECDSA(_CURVE_HASHES[verifier.curve.name]))
        case _:
            assert_never(verifier)


def _check_presence(flags: int) -> None:
    if not flags & _USER_PRESENT:
        raise SignatureRefused(
            SignatureFault.NO_USER_PRESENCE,
            "The hardware key signed without being touched: make its key anew without `-O no-touch-required`, register that and sign again.",
        )
    if flags & ~(_USER_PRESENT | _USER_VERIFIED):
        _unsupported(
            f"The hardware key answered with flags {flags:#04x}, of which only user presence and user verification are accepted "
            "(it may be a passkey that can leave its device): sign with a FIDO2 security key of its own."
        )
