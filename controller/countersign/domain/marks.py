"""The marks that Countersign leaves on other people's objects: the level of a namespace, the name of an agent."""

from collections.abc import Iterable
from typing import Final

from countersign.domain.resources import Namespace, ProtectedEnvironment, ProtectFrom

_LABEL_LENGTH: Final = 63


def level_of(namespace: Namespace, environments: Iterable[ProtectedEnvironment]) -> str | None:
    """The value of the label `protected`: the strictest of the environments that cover a namespace; None where none does.

    One that widens may hold back everyone.
    """
    covering = [
        ProtectFrom.EVERYONE if environment.widens else environment.protect_from
        for environment in environments
        if environment.covers(namespace.meta.name, namespace.labels)
    ]
    return max(covering, key=lambda level: level.strictness).value if covering else None


def label_value(identity: str) -> str:
    """An identity's name as a label's value: at most 63 characters, and a letter or digit at the end."""
    return identity[:_LABEL_LENGTH].rstrip("-._")
