"""What passes from the webhooks to the operator besides change requests, and the list that comes of it."""

from dataclasses import dataclass

from countersign.domain.checkpoint import Head
from countersign.domain.trial import Sighting


@dataclass(frozen=True, slots=True)
class Note:
    """`number` grows with each note of a process, so that one that came through unnoticed is not counted twice."""

    number: int
    head: Head
    sightings: tuple[Sighting, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A note as it lies there; `note` None where it cannot be read."""

    name: str
    uid: str
    note: Note | None


@dataclass(frozen=True, slots=True)
class Heads:
    """The list of heads; `taken`: for each process the number of its last note. `version` is that of what was read, "" where there was none."""

    heads: tuple[Head, ...] = ()
    taken: tuple[tuple[str, int], ...] = ()
    version: str = ""
