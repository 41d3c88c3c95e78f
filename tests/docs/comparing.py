"""Whether a command said what a page shows. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ANY = "..."
# What differs from one run, or one cluster, to the next.
_VOLATILE = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z"), "TIME"),
    (re.compile(r'(?<=" on )\S+(?= needs )'), "CLUSTER"),
    (re.compile(r'(?<=cluster\.name: )".*"'), "CLUSTER"),
    (re.compile(r"(?<= )(\d+[smhd]){1,2}$"), "AGE"),
    (re.compile(r"\s+"), " "),
)


def plain(line: str) -> str:
    for pattern, word in _VOLATILE:
        line = pattern.sub(word, line.strip())
    return line


def difference(shown: Sequence[str], said: Sequence[str]) -> str:
    """What the page shows and the command did not say; "" where they agree. A line `...` stands for any number of lines."""
    wanted = [plain(line) for line in shown]
    actual = [plain(line) for line in said if line.strip()]
    return "" if _matches(wanted, actual) else _explained(wanted, actual)


def _matches(wanted: Sequence[str], actual: Sequence[str]) -> bool:
    if not wanted:
        return not actual
    if wanted[0] == _ANY:
        return any(_matches(wanted[1:], actual[start:]) for start in range(len(actual) + 1))
    return bool(actual) and _agree(wanted[0], actual[0]) and _matches(wanted[1:], actual[1:])


def _agree(wanted: str, actual: str) -> bool:
    """A line may end in `...` too."""
    return actual.startswith(wanted.removesuffix(_ANY)) if wanted.endswith(_ANY) else wanted == actual


def _explained(wanted: Sequence[str], actual: Sequence[str]) -> str:
    missing = [line for line in wanted if line != _ANY and not any(_agree(line, each) for each in actual)]
    found = "\n".join(f"    {line}" for line in actual) or "    (nothing)"
    lost = "\n".join(f"    {line}" for line in missing) or "    (each line is there, but not in this order, or there are more)"
    return f"shown and not said:\n{lost}\nsaid:\n{found}"
