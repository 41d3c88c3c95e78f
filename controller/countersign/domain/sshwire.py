"""The SSH wire encoding (RFC 4251, section 5), read so that every value has exactly one accepted spelling.

OpenSSH and its like forgive more (a final NUL in a name, loose base64). We do not: two spellings of one key would be two keys to us.
"""

from base64 import b64decode, b64encode
from typing import Final

_PRINTABLE_ASCII: Final = range(0x20, 0x7F)
_SIGN_BIT: Final = 0x80


class WireFault(ValueError):
    """Bytes that are not the encoding. Internal to the core: `sshkey` and `sshsig` turn it into their own error."""


class Reader:
    """A cursor over one encoded structure. Every method raises WireFault when the bytes are not what is asked for."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise WireFault("it ends too early")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        """A string that is a name: printable ASCII."""
        raw = self.string()
        if not all(byte in _PRINTABLE_ASCII for byte in raw):
            raise WireFault("a name in it is not printable ASCII")
        return raw.decode("ascii")

    def positive(self) -> int:
        """An mpint greater than zero, without needless leading zeros."""
        raw = self.string()
        if not raw or raw[0] & _SIGN_BIT:
            raise WireFault("a number in it is not positive")
        if raw[0] == 0 and (len(raw) == 1 or not raw[1] & _SIGN_BIT):
            raise WireFault("a number in it has needless leading zeros")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        if self._position != len(self._data):
            raise WireFault("something follows its end")


def string(data: bytes) -> bytes:
    """The encoding of a string: its length, then itself."""
    return len(data).to_bytes(4, "big") + data


def decode_base64(text: str) -> bytes:
    """Base64 with padding (RFC 4648, section 4), no white space, unused bits zero. Raises WireFault."""
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise WireFault("it is not base64") from None
    if b64encode(data).decode("ascii") != text:
        raise WireFault("its base64 has more than one reading")
    return data
