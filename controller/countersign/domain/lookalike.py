"""Names that people cannot tell apart. The API server compares usernames byte by byte; people read them (Unicode UTS 39, Security Mechanisms).

What nobody can see in a name is refused: a human would be registered, or held, under another name than everybody reads. What can be seen but
mistaken is a warning: names of every script are somebody's. Both are shown escaped.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

# Categories without a shape of their own: control, format (zero width, direction), lone surrogates, private, unassigned, line ends.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_TOGETHER: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"})


def unseen(name: str) -> str:
    """Why nobody can read a name for what it is, as the end of a sentence; "" where they can."""
    for char in name:
        category = unicodedata.category(char)
        if category in _UNSEEN or (category == "Zs" and char != " "):
            return f"holds the character {char!a}, which nobody can see"
    if name != name.strip():
        return "begins or ends with a space, which nobody can see"
    return ""


def mistakable(name: str, known: Iterable[str]) -> str:
    """What a name may be mistaken for, as the end of a sentence; "" for nothing. `known`: the names of others."""
    if name.isascii():
        # Another's name may still hold what only looks like ASCII.
        return _twin(name, (other for other in known if not other.isascii()))
    if twin := _twin(name, known):
        return twin
    if unicodedata.normalize("NFC", name) != name:
        return "is not in Unicode's composed form (NFC): what looks the same on a keyboard is another name"
    scripts = sorted(set(_scripts(name)))
    return f"mixes letters of {' and '.join(scripts)}, some of which look alike" if len(scripts) > 1 else ""


def _twin(name: str, known: Iterable[str]) -> str:
    folded = _folded(name)
    twin = next((other for other in known if other != name and _folded(other) == folded), "")
    return f"differs from {twin!a} only by characters that look alike" if twin else ""


@lru_cache(maxsize=8192)
def _folded(name: str) -> str:
    """As people read it: width and composition do not count, and Cyrillic and Greek letters are the Latin ones that they look like."""
    return unicodedata.normalize("NFKC", name).translate(_LATIN)


def _scripts(name: str) -> Iterator[str]:
    for char in name:
        if unicodedata.category(char).startswith("L"):
            script = unicodedata.name(char, "UNKNOWN").partition(" ")[0]
            yield "CJK" if script in _TOGETHER else script


# The letters that fonts draw alike, from Unicode's confusables.txt: those of the two scripts that usernames are forged with.
_LATIN: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04cf\u0501\u051b\u051d\u0261"  # Cyrillic, and script g
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"  # Cyrillic capitals
    "\u03bf\u03b1\u03bd\u03c1\u03b9\u03ba\u03c5\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",  # Greek
    "aeopcyxijsldqwgABEKMHOPCTYXIJSoavpikuABEZHIKMNOPTYX",
)
