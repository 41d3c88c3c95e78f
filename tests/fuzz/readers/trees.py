"""Mutations that keep JSON what it is, so that they reach behind its reader."""

import copy
import json
import random
import re
from pathlib import Path
from typing import Any, Final

_DICTIONARIES: Final = Path(__file__).parents[1] / "dictionaries"
_WORDS: Final = [
    word for name in ("review", "access") for word in re.findall(r'^"(.*)"$', (_DICTIONARIES / f"{name}.dict").read_text(), re.MULTILINE)
]
_ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1.5, 1e308, 2**63, 2**70, "", " ", "\n", "\x00", "\x7f", "\u202e", "\ud800", "р", "Ａ", "İ", "*", "?", "a" * 300,
    "\\", '"', "[", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-11-22", "1h", "99999d99999d99999d", "0s", [], {}, [[]], {"": ""}, [None],
    {"a": {"a": {"a": {}}}},
)  # fmt: skip


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    """One to three changes to the tree; None where the bytes hold none, or it grew too large."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return None
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        tree = _changed(tree, chance)
    changed = json.dumps(tree, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    return changed if len(changed) <= limit else None


def _changed(tree: Any, chance: random.Random) -> Any:
    """Somewhere in the tree, the deeper the rarer."""
    if isinstance(tree, dict) and tree and chance.random() < 0.85:
        return _in_object(dict(tree), chance)
    if isinstance(tree, list) and tree and chance.random() < 0.85:
        items = list(tree)
        place = chance.randrange(len(items))
        match chance.randint(0, 3):
            case 0:
                del items[place]
            case 1:
                items.insert(place, copy.deepcopy(items[place]))
            case _:
                items[place] = _changed(items[place], chance)
        return items
    return _value(chance)


def _in_object(members: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    key = chance.choice(list(members))
    match chance.randint(0, 9):
        case 0:
            del members[key]
        case 1:
            members[chance.choice(_WORDS)] = members[key]
        case 2:
            members[chance.choice(_WORDS)] = _value(chance)
        case _:
            members[key] = _changed(members[key], chance)
    return members


def _value(chance: random.Random) -> Any:
    match chance.randint(0, 3):
        case 0:
            return chance.choice(_ODD)
        case 1:
            return {chance.choice(_WORDS): chance.choice(_WORDS)}
        case 2:
            return [chance.choice(_WORDS)]
        case _:
            return chance.choice(_WORDS)
