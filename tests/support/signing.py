"""Keys that sign as `ssh-keygen -Y sign` does, without its process: the state machines sign thousands of times."""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.authenticator import SoftwareAuthenticator, Sshsig, public_line, signed_data, ssh_string

_TYPE = "ssh-ed25519"


@dataclass(frozen=True)
class SoftwareKey:
    """An ed25519 key, the same in every run for the same seed."""

    private: Ed25519PrivateKey

    @classmethod
    def of(cls, seed: str) -> "SoftwareKey":
        return cls(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest()))

    @property
    def blob(self) -> bytes:
        return ssh_string(_TYPE) + ssh_string(self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def public_key(self) -> str:
        return public_line(self.blob)

    def sign(self, message: bytes, namespace: str) -> str:
        inner = ssh_string(_TYPE) + ssh_string(self.private.sign(signed_data(message, namespace)))
        return Sshsig(self.blob, inner, namespace).armored()


Key = SoftwareKey | SoftwareAuthenticator
