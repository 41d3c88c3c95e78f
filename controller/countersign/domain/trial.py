"""Who would have been held: what environments in Audit mode let through, by requester, over the last seven days."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from countersign.domain.answer import Answer, Reason
from countersign.domain.document import JsonObject, text
from countersign.domain.request import Operation, Request
from countersign.domain.resources import Target

DAYS: Final = 7
MOST: Final = 50
"""Requesters that one environment lists; what others did is only counted."""

OF_ONE: Final = 20
"""Changes of one requester that one note tells one by one."""

IN_ALL: Final = 200
"""Changes that one note tells one by one."""

_LONGEST_USERNAME: Final = 1024
_LONGEST_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class Sighting:
    """One change that environments in Audit mode let through. `kind` is Agent, Human or Machine; `times`: how many like it this one stands for."""

    environments: tuple[str, ...]
    username: str
    kind: str
    operation: str
    target: Target
    at: datetime
    times: int = 1


@dataclass(frozen=True, slots=True)
class WouldHold:
    """One requester. `days`: how many changes on each of the last days (UTC). `operation` and `example` are those of the latest."""

    username: str
    kind: str
    days: Mapping[date, int]
    last: datetime
    operation: str
    example: Target

    @property
    def count(self) -> int:
        return sum(self.days.values())


@dataclass(frozen=True, slots=True)
class Trial:
    """What one environment in Audit mode has seen. `since`: from when on it was watched. `unlisted`: changes of requesters past the list's end."""

    since: datetime
    listed: tuple[WouldHold, ...] = ()
    unlisted: int = 0

    @property
    def requests(self) -> int:
        return sum(each.count for each in self.listed) + self.unlisted


def sighting_of(request: Request, answer: Answer, at: datetime) -> Sighting | None:
    """What is to be told of an answer; None where nothing was let through only for the mode."""
    environments, kind = answer.chain.get("environments"), answer.chain.get("kind")
    if not answer.allowed or answer.reason is not Reason.AUDIT or request.dry_run:
        return None
    if not isinstance(environments, list) or not isinstance(kind, str):
        return None
    target = Target(
        group=request.group[:_LONGEST_NAME],
        version=request.version[:_LONGEST_NAME],
        resource=request.resource[:_LONGEST_NAME],
        namespace=request.namespace[:_LONGEST_NAME] if request.resource != "namespaces" else "",
        name=request.target_name[:_LONGEST_NAME],
        uid=request.target_uid[:_LONGEST_NAME],
    )
    return Sighting(tuple(environments), request.user.username[:_LONGEST_USERNAME], kind, request.operation.value, target, at)


def happened(sighting: Sighting, live: JsonObject | None) -> bool:
    """Whether the cluster shows that the change was made: who can reach the webhook's port can tell it of any.

    Of an update no more shows than that the object is there.
    """
    there = live is not None and text(live, "metadata", "uid") == sighting.target.uid
    if sighting.operation == Operation.DELETE:
        return not there or bool(text(live, "metadata", "deletionTimestamp"))
    return there or not sighting.target.uid


def fold(trial: Trial, sightings: Iterable[Sighting], now: datetime, *, most: int = MOST) -> Trial:
    """The trial with what was seen since, and without what is older than seven days.

    Whoever stands in the list stays there until then: names that somebody makes up push nobody out.
    """
    first = now.astimezone(UTC).date() - timedelta(days=DAYS - 1)
    listed = {each.username: recent for each in trial.listed if (recent := _recent(each, first)).days}
    unlisted = trial.unlisted if len(listed) >= most else 0
    for sighting in sightings:
        if sighting.at.astimezone(UTC).date() < first:
            continue
        before = listed.get(sighting.username)
        if before is None and len(listed) >= most:
            unlisted += sighting.times
        else:
            listed[sighting.username] = _with(before, sighting)
    return Trial(trial.since, tuple(sorted(listed.values(), key=lambda each: (each.kind, each.username))), unlisted)


def _recent(each: WouldHold, first: date) -> WouldHold:
    return replace(each, days={day: count for day, count in each.days.items() if day >= first})


def _with(before: WouldHold | None, seen: Sighting) -> WouldHold:
    day = seen.at.astimezone(UTC).date()
    days = dict(before.days) if before else {}
    days[day] = days.get(day, 0) + seen.times
    if before is not None and before.last > seen.at:
        return replace(before, days=days)
    return WouldHold(seen.username, seen.kind, days, seen.at, seen.operation, seen.target)


class Gathering:
    """What one process has seen since its last note, bounded: past some changes of one requester only their number is kept, past many
    requesters (somebody makes names up) nothing of further ones. The API server asks again about one request where it has to write anew:
    the same change of the same object counts once.
    """

    __slots__ = ("_by_username", "_held", "dropped")

    def __init__(self, sightings: Iterable[Sighting] = ()) -> None:
        self._by_username: dict[str, list[Sighting]] = {}
        self._held = 0
        self.dropped = 0
        for sighting in sightings:
            self.add(sighting)

    def add(self, sighting: Sighting) -> None:
        known = self._by_username.get(sighting.username, [])
        if any((each.operation, each.target) == (sighting.operation, sighting.target) for each in known):
            return
        for at, each in enumerate(known):
            if len(known) >= OF_ONE and each.environments == sighting.environments:
                known[at] = replace(sighting, times=each.times + sighting.times)
                return
        if self._held >= IN_ALL:
            self.dropped += sighting.times
            return
        self._held += 1
        self._by_username.setdefault(sighting.username, []).append(sighting)

    def take(self) -> tuple[Sighting, ...]:
        """All of them, oldest first; afterwards it is empty."""
        taken = sorted((each for several in self._by_username.values() for each in several), key=lambda each: each.at)
        self._by_username, self._held, self.dropped = {}, 0, 0
        return tuple(taken)

    def __bool__(self) -> bool:
        return bool(self._held)
