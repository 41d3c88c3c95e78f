"""Durations as people write them in our resources: `90s`, `1h30m`, `24h`, `7d`."""

import re
from datetime import timedelta
from typing import Final

PATTERN: Final = r"^([0-9]{1,6}(d|h|m|s))+$"
_SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text: str) -> timedelta:
    """Raises ValueError with the remedy."""
    if not re.fullmatch(PATTERN.strip("^$"), text):
        raise ValueError("give a duration such as 90s, 1h30m, 24h or 7d")
    return timedelta(seconds=sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", text)))


def format_duration(duration: timedelta) -> str:
    """The shortest writing that `parse_duration` reads back; whole seconds."""
    seconds = int(duration.total_seconds())
    parts = []
    for unit, size in _SECONDS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
