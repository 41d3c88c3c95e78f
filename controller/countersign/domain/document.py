"""A JSON object as the API server sent it: read as a tree, hashed to the letter.

Canonical JSON here is what docs/rules.md calls it: sorted keys, no spaces, ASCII, numbers as received.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, Final, Self, TypeAlias

JsonObject: TypeAlias = Mapping[str, Any]

_EMPTY: Final[JsonObject] = {}


class Number(float):
    """A JSON number with a fraction or exponent, which remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number


def parse(raw: bytes | str) -> Any:
    """Read JSON so that `canonical` can write every number back as it was received.

    Raises ValueError for anything that is not JSON (RecursionError for absurd nesting is turned into one).
    """
    try:
        return json.loads(raw, parse_float=Number, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error


def canonical(value: Any) -> str:
    """Canonical JSON of a value made of dict, list, str, int, float, bool and None.

    The commonest types come first and by identity: this is most of what a decision about a large object costs.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is dict or isinstance(value, Mapping):
        return "{" + ",".join([f"{encode_basestring_ascii(key)}:{canonical(value[key])}" for key in sorted(value)]) + "}"
    if kind is list or (isinstance(value, Sequence) and not isinstance(value, str)):
        return "[" + ",".join([canonical(item) for item in value]) + "]"
    return value.text if isinstance(value, Number) else json.dumps(value)


def sha256(value: Any) -> str:
    """Lower-case hex digest of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def mapping(tree: Any, *path: str) -> JsonObject:
    """The object at a path, or an empty one where it is absent or something else."""
    for step in path:
        tree = tree.get(step) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else _EMPTY


def text(tree: Any, *path: str) -> str:
    """The string at a path, or "" where it is absent or something else."""
    value = mapping(tree, *path[:-1]).get(path[-1])
    return value if isinstance(value, str) else ""


def strings(tree: Any, *path: str) -> dict[str, str]:
    """The string-to-string members of the object at a path (labels, annotations)."""
    return {key: value for key, value in mapping(tree, *path).items() if isinstance(value, str)}


def items(tree: Any, *path: str) -> Sequence[Any]:
    """The list at a path, or an empty one where it is absent or something else."""
    value = mapping(tree, *path[:-1]).get(path[-1])
    return value if isinstance(value, list | tuple) else ()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
