"""What somebody did to a guard, told so that a person sees it: each place that differs, as it should be and as it was found."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from countersign.domain.document import JsonObject, canonical, items, text
from countersign.domain.resources import Lockdown

MOST_LINES: Final = 20
_WIDTH: Final = 70  # of one side of a difference
_ABSENT: Final = object()


class What(StrEnum):
    CHANGED = "changed"
    DELETED = "deleted"
    REWRITTEN = "rewritten"  # our own write came out otherwise: a mutating policy or webhook of somebody stands in the way


@dataclass(frozen=True, slots=True)
class Repair:
    """One guard that was put back. `lines`: `path: wanted -> found`. `by`: the field manager that wrote last, which a client may make up.

    `wanted` and `found` are digests of the guard as it should be and as it was; `seconds` from the event to its being back.
    """

    kind: str
    name: str
    collection: str
    what: What
    lines: tuple[str, ...]
    by: str
    wanted: str
    found: str
    seconds: float

    @property
    def guard(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def sentence(self) -> str:
        """In a few words, for an Event or a condition."""
        who = f" by what calls itself {self.by!r}" if self.by else ""
        if self.what is What.REWRITTEN:
            return (
                f"The guard {self.guard} is rewritten whenever Countersign's operator writes it: "
                f"a mutating policy or webhook of somebody stands in the way. {self._shown()}"
            )
        return f"Somebody {self.what} the guard {self.guard}{who}; it was back {self.seconds * 1000:.0f} ms after that was noticed. {self._shown()}"

    def _shown(self) -> str:
        if not self.lines:
            return "The API server's audit log says who it was."
        return f"{'; '.join(self.lines[:3])}{'; and more' if len(self.lines) > 3 else ''}. The API server's audit log says who it was."  # noqa: PLR2004  # as many as one reads


@dataclass(frozen=True, slots=True)
class Incident:
    """A repair with its time, and a number by which people speak of it."""

    number: str
    at: datetime
    repair: Repair

    def lockdown(self) -> Lockdown:
        return Lockdown(self.number, self.at.replace(microsecond=0), self.repair.guard, self.repair.sentence[:1000])


def differences(wanted: Any, found: Any) -> tuple[str, ...]:
    """One `path: wanted -> found` for each leaf that differs, as many as a person reads."""
    lines = [f"{path or 'all of it'}: {_side(one)} -> {_side(other)}" for path, one, other in _differing(wanted, found, "")]
    return tuple(lines) if len(lines) <= MOST_LINES else (*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more places")


def lacking(wanted: Any, found: Any) -> tuple[str, ...]:
    """The same for what of `wanted` is not found; what the API server adds of its own does not count."""
    lines = [f"{path}: {_side(one)} -> {_side(other)}" for path, one, other in _differing(wanted, found, "", only_wanted=True)]
    return tuple(lines[:MOST_LINES])


def last_writer(document: JsonObject, ours: str) -> str:
    """The field manager of the newest write that is not our own; "" where none is told."""
    newest = ("", "")
    for entry in items(document, "metadata", "managedFields"):
        manager = text(entry, "manager")
        if manager and not manager.startswith(ours) and not text(entry, "subresource"):  # controllers write the status
            newest = max(newest, (text(entry, "time"), manager))
    return newest[1]


def _differing(wanted: Any, found: Any, path: str, *, only_wanted: bool = False) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        keys = wanted if only_wanted else sorted(wanted.keys() | found.keys())
        for key in keys:
            step = f"{path}.{key}" if path else str(key)
            yield from _differing(wanted.get(key, _ABSENT), found.get(key, _ABSENT), step, only_wanted=only_wanted)
    elif _is_list(wanted) and _is_list(found):
        one, other = _keyed(wanted), _keyed(found)
        for key in dict.fromkeys((*one, *other)):  # what was added to a list is a difference always
            yield from _differing(one.get(key, _ABSENT), other.get(key, _ABSENT), f"{path}[{key}]", only_wanted=only_wanted)
    elif only_wanted and found is _ABSENT and not wanted and wanted is not False and wanted != 0:
        return  # the API server leaves out what is empty
    elif wanted is _ABSENT or found is _ABSENT or canonical(wanted) != canonical(found):
        yield path, wanted, found


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _keyed(values: Sequence[Any]) -> dict[str, Any]:
    """Entries by their names where all have one of their own, else by their places."""
    names = [text(value, "name") if isinstance(value, Mapping) else "" for value in values]
    keys = names if all(names) and len(set(names)) == len(names) else [str(index) for index in range(len(values))]
    return dict(zip(keys, values, strict=True))


def _side(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    written = canonical(value)
    if len(written) <= _WIDTH:
        return written
    return f"{written[: _WIDTH - 20]}… ({len(written)} letters, {sha256(written.encode()).hexdigest()[:8]})"
