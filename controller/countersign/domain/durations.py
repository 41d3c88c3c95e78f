"""Durations as people write them in our resources and settings: `90s`, `1h30m`, `24h`, `7d`.

Go's notation (as in Kubernetes manifests) with days, without fractions. Bounded, so that adding one to any date of ours cannot overflow.
"""

import re
from datetime import timedelta
from typing import Final

PATTERN: Final = r"^([0-9]{1,5}[dhms]){1,4}$"
"""The same for the API server (RE2) and for us."""

_WHOLE: Final = re.compile(PATTERN.removesuffix("$") + r"\Z", re.ASCII)
_PART: Final = re.compile(r"([0-9]+)([dhms])", re.ASCII)
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_duration(text: str) -> timedelta:
    """Raises ValueError with a sentence for anything that is not such a duration."""
    if not _WHOLE.match(text):
        raise ValueError(f"{text!r} is not a duration; write it like 90s, 1h30m, 24h or 7d")
    return timedelta(seconds=sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(text)))


def render_duration(duration: timedelta) -> str:
    """The shortest notation; a fraction of a second is dropped. Raises ValueError for a negative duration."""
    rest = int(duration.total_seconds())
    if rest < 0:
        raise ValueError(f"a duration cannot be negative: {duration}")
    parts: list[str] = []
    for unit, seconds in _UNITS.items():
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
