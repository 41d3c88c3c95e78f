"""A FIDO2 authenticator in software, and a press for SSHSIG blobs of any shape.

The authenticator makes the two `sk-` key types and their signatures as hardware does (PROTOCOL.u2f; `ssh-keygen -Y verify` accepts
them), and can be told to do what hardware would not: sign untouched, or set any flag. It shares no code with what it tests.
"""

import hashlib
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

USER_PRESENT: Final = 0x01
USER_VERIFIED: Final = 0x04


def ssh_string(data: bytes | str) -> bytes:
    raw = data.encode() if isinstance(data, str) else data
    return struct.pack(">I", len(raw)) + raw


def ssh_mpint(number: int) -> bytes:
    return ssh_string(number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b"")


def public_line(blob: bytes) -> str:
    """The public key line of a wire form, whatever type it says it is."""
    (size,) = struct.unpack(">I", blob[:4])
    return f"{blob[4 : 4 + size].decode()} {b64encode(blob).decode()}"


def blob_of(public_key: str) -> bytes:
    return b64decode(public_key.split()[1])


def armor(blob: bytes, width: int = 70) -> str:
    text = b64encode(blob).decode()
    lines = (text[start : start + width] for start in range(0, len(text), width))
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def dearmor(armored: str) -> bytes:
    return b64decode("".join(armored.split("\n")[1:-2]))


def signed_data(message: bytes, namespace: str, hash_algorithm: str = "sha512") -> bytes:
    """What a key signs (PROTOCOL.sshsig, section 3)."""
    digest = hashlib.new(hash_algorithm, message).digest()
    return b"SSHSIG" + ssh_string(namespace) + ssh_string(b"") + ssh_string(hash_algorithm) + ssh_string(digest)


@dataclass(frozen=True)
class Sshsig:
    """The fields of an SSHSIG, each free to be wrong. `inner` is the signature with its algorithm."""

    key: bytes
    inner: bytes
    namespace: bytes | str
    hash_algorithm: bytes | str = "sha512"
    reserved: bytes = b""
    version: int = 1
    magic: bytes = b"SSHSIG"
    tail: bytes = b""

    def blob(self) -> bytes:
        fields = (self.key, self.namespace, self.reserved, self.hash_algorithm, self.inner)
        return self.magic + struct.pack(">I", self.version) + b"".join(map(ssh_string, fields)) + self.tail

    def armored(self) -> str:
        return armor(self.blob())


def take_apart(armored: str) -> Sshsig:
    """The fields of a sound SSHSIG."""
    rest = dearmor(armored)[10:]
    fields = []
    for _ in range(5):
        (size,) = struct.unpack(">I", rest[:4])
        fields.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    key, namespace, reserved, hash_algorithm, inner = fields
    return Sshsig(key, inner, namespace, hash_algorithm, reserved, tail=rest)


@dataclass
class SoftwareAuthenticator:
    """One key on one authenticator. `application` is the FIDO relying party, which ssh-keygen takes from `-O application=`."""

    kind: Literal["ed25519", "ecdsa"] = "ed25519"
    application: str = "ssh:"
    counter: int = 0
    _ed25519: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)
    _ecdsa: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False)

    @property
    def type(self) -> str:
        return "sk-ssh-ed25519@openssh.com" if self.kind == "ed25519" else "sk-ecdsa-sha2-nistp256@openssh.com"

    @property
    def blob(self) -> bytes:
        if self.kind == "ed25519":
            point = ssh_string(self._ed25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        else:
            encoded = self._ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            point = ssh_string("nistp256") + ssh_string(encoded)
        return ssh_string(self.type) + point + ssh_string(self.application)

    @property
    def public_key(self) -> str:
        """The line of its .pub file."""
        return f"{public_line(self.blob)} {self.kind}-sk of the tests\n"

    def sign(self, message: bytes, namespace: str, hash_algorithm: str = "sha512", *, flags: int = USER_PRESENT) -> str:
        """The armored SSHSIG; `flags` is what the authenticator says happened (bit 0: somebody touched it). Counts up."""
        self.counter += 1
        answer = struct.pack(">BI", flags, self.counter)
        inner = ssh_string(self.type) + ssh_string(self._raw(signed_data(message, namespace, hash_algorithm), answer)) + answer
        return Sshsig(self.blob, inner, namespace, hash_algorithm).armored()

    def _raw(self, data: bytes, answer: bytes) -> bytes:
        signed = hashlib.sha256(self.application.encode()).digest() + answer + hashlib.sha256(data).digest()
        if self.kind == "ed25519":
            return self._ed25519.sign(signed)
        r, s = decode_dss_signature(self._ecdsa.sign(signed, ec.ECDSA(hashes.SHA256())))
        return ssh_mpint(r) + ssh_mpint(s)
