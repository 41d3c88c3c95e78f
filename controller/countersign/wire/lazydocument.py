"""A foreign object of a review, decoded member by member when a rule asks for it.

Most of a large object is `metadata.managedFields` and `status`, which no rule reads; decoding them costs more than the rest of a decision.
The values are those of `domain.document.parse` to the letter: numbers remember how they were written.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from countersign.domain.document import Number

_VALUE: Final = msgspec.json.Decoder(float_hook=Number)
_BRACE: Final = ord("{")
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class LazyDocument(Mapping[str, Any]):
    """Reading a member raises ValueError where its bytes are not JSON."""

    __slots__ = ("_known", "_raw")

    def __init__(self, raw: msgspec.Raw) -> None:
        """Raises ValueError where `raw` is not a JSON object."""
        self._raw = _MEMBERS.decode(raw)
        self._known: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key in self._known:
            return self._known[key]
        raw = self._raw[key]
        # Only `metadata` holds parts that are large and that nobody reads; any other object is small or read whole.
        value = LazyDocument(raw) if key == "metadata" and is_object(raw) else decode_whole(raw)
        self._known[key] = value
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._raw  # the mixin's would decode the value

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f"LazyDocument({', '.join(self._raw)})"


def check_text(body: bytes) -> None:
    """JSON is UTF-8 throughout; the decoder looks only at what it decodes, and would find the rest when a rule asks for it.

    Raises ValueError.
    """
    if not body.isascii():
        body.decode()


def is_object(raw: msgspec.Raw) -> bool:
    return memoryview(raw)[0] == _BRACE


def decode_whole(raw: msgspec.Raw) -> Any:
    """As `document.parse`. Raises ValueError."""
    try:
        return _VALUE.decode(raw)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error
