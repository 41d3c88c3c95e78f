"""How much is refused (docs/profiles.md): what must be in nobody's way, or also what only a hostile agent needs."""

from enum import StrEnum


class Profile(StrEnum):
    """`HARDENED` adds to `STANDARD`, for agents alone, and is on only where a team has chosen it."""

    STANDARD = "standard"
    HARDENED = "hardened"
