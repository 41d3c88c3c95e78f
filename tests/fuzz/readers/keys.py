"""The keys of the corpus, the same on every machine, and what each signed."""

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.authenticator import SoftwareAuthenticator, Sshsig, armor, public_line, signed_data, ssh_mpint, ssh_string
from tests.support.objects import key_of
from tests.support.signing import SoftwareKey
from tests.support.world import GROUP

MESSAGE: Final = b'kube-countersign.dev/v1alpha1\noperation: "DELETE"\n'
PURPOSE: Final = f"approve@{GROUP}"
_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}


def _secret(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big")


def _ecdsa(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(_secret(name), _CURVES[name][0])


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _ecdsa_blob(name: str) -> bytes:
    return ssh_string(f"ecdsa-sha2-{name}") + ssh_string(name) + ssh_string(_point(_ecdsa(name)))


def _ecdsa_signature(name: str) -> bytes:
    r, s = decode_dss_signature(_ecdsa(name).sign(signed_data(MESSAGE, PURPOSE), ec.ECDSA(_CURVES[name][1], deterministic_signing=True)))
    inner = ssh_string(f"ecdsa-sha2-{name}") + ssh_string(ssh_mpint(r) + ssh_mpint(s))
    return Sshsig(_ecdsa_blob(name), inner, PURPOSE).blob()


def _hardware(kind: str) -> SoftwareAuthenticator:
    if kind == "ed25519":
        return SoftwareAuthenticator("ed25519", _ed25519=key_of("fuzz-sk").private)
    return SoftwareAuthenticator("ecdsa", _ecdsa=ec.derive_private_key(_secret("fuzz-sk"), ec.SECP256R1()))


_PLAIN: Final = SoftwareKey.of("fuzz")
HARDWARE: Final = {kind: _hardware(kind) for kind in ("ed25519", "ecdsa")}
CURVES: Final = tuple(_CURVES)
KNOWN: Final[Mapping[bytes, str]] = {
    _PLAIN.blob: "ed25519",
    **{_ecdsa_blob(name): name for name in CURVES},
    **{key.blob: f"sk-{kind}" for kind, key in HARDWARE.items()},
}


def armored(name: str) -> str:
    """`ed25519`, a curve, `sk-ed25519` or `sk-ecdsa`."""
    if name == "ed25519":
        return _PLAIN.sign(MESSAGE, PURPOSE)
    if name.startswith("sk-"):
        return HARDWARE[name.removeprefix("sk-")].sign(MESSAGE, PURPOSE)
    return armor(_ecdsa_signature(name))


def line(name: str) -> str:
    blob = next(blob for blob, known in KNOWN.items() if known == name)
    return public_line(blob)
