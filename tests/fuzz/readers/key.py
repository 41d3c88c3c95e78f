"""A public key as it stands in a Reviewer."""

import struct
from base64 import b64encode

from countersign.domain.sshkey import KeyRefused, load_key, parse_public_key
from tests.fuzz.readers import Finding
from tests.support.authenticator import public_line


def one(data: bytes) -> str:
    """A text; or, after a NUL, the bytes inside one."""
    text = data.decode("utf-8", "surrogateescape")
    if data.startswith(b"\0"):
        try:
            text = public_line(data[1:])
        except (struct.error, UnicodeDecodeError):  # too short for a length, or its type is no text: nothing to read
            return "no line"
    try:
        key = parse_public_key(text)
    except KeyRefused as refused:
        return f"{refused.reason} {refused}"
    if text.split()[:2] != [key.type, b64encode(key.blob).decode()]:
        raise Finding("the key that was read is not the one that was written")
    if load_key(key.blob).key != key:
        raise Finding("the same bytes are two keys")
    return f"good {key.type}"
