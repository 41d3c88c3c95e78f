"""An SSHSIG as it stands in an Approval. What does not begin with its first line is taken for the bytes inside."""

from binascii import a2b_base64
from typing import Final

from countersign.domain.sshsig import APPROVE, SignatureRefused, parse_signature, verify
from tests.fuzz.readers import Finding
from tests.fuzz.readers.keys import KNOWN, MESSAGE
from tests.support.authenticator import armor

_BEGIN: Final = b"-----BEGIN"


def one(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape") if data.startswith(_BEGIN) else armor(data)
    try:
        signature = parse_signature(text)
    except SignatureRefused as refused:
        return f"{refused.reason} {refused}"
    if signature.key.blob not in text_of(text):
        raise Finding("the key that is shown is not the one that came inside")
    try:
        verify(signature, MESSAGE, APPROVE)
    except SignatureRefused as refused:
        return f"{refused.reason} {refused}"
    if signature.key.blob not in KNOWN:
        raise Finding(f"a signature verified that none of our keys made: {signature.key.type}")
    return f"good {signature.algorithm}"


def text_of(armored: str) -> bytes:
    """The bytes inside, read once more by other means."""
    return a2b_base64("".join(armored.splitlines()[1:-1]))
