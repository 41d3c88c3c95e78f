"""Times on the wire: RFC 3339, whole seconds, UTC (`2026-11-22T21:00:00Z`), as the API server writes creationTimestamp."""

import re
from datetime import UTC, datetime
from typing import Final

PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
LENGTH: Final = 20

_WHOLE: Final = re.compile(PATTERN.removesuffix("$") + r"\Z", re.ASCII)


def parse_time(text: str) -> datetime:
    """Raises ValueError with a sentence for anything else, the 31st of February too."""
    if not _WHOLE.match(text):
        raise ValueError(f"{text!r} is not a time in UTC; write it like 2026-11-22T21:00:00Z")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date: {error}") from error


def render_time(time: datetime) -> str:
    """Whole seconds: a fraction is dropped. Raises ValueError for a time without a zone."""
    if time.tzinfo is None:
        raise ValueError("a time without a zone is nobody's time; use UTC")
    return time.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
