"""How many change requests may wait for signatures at once: so that nobody wears reviewers out, or fills the cluster (docs/rules.md, Limits).

Three bounds, since a name is cheap to an agent that may make ServiceAccounts: for one requester, for one agent identity under all of its names,
and for everybody together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from countersign.domain.approval import Phase, standing
from countersign.domain.resources import ChangeRequest, Requester
from countersign.domain.snapshot import Snapshot

_IDENTITY: Final = 5
_EVERYBODY: Final = 50


@dataclass(frozen=True, slots=True)
class Bounds:
    """`requester` is what teams configure; the others are multiples of it."""

    requester: int

    @property
    def identity(self) -> int:
        return self.requester * _IDENTITY

    @property
    def everybody(self) -> int:
        return self.requester * _EVERYBODY


@dataclass(frozen=True, slots=True)
class Full:
    """A bound that is reached. `whose` finishes the sentence "20 change requests of …"; `waiting` is sorted by expiry."""

    whose: str
    most: int
    waiting: tuple[ChangeRequest, ...]


def reached(requester: Requester, bounds: Bounds, snapshot: Snapshot, unseen: Iterable[ChangeRequest], now: datetime) -> Full | None:
    """The first bound that one more request of this requester would exceed. `unseen`: open ones that the snapshot does not show yet."""
    requests = [*snapshot.requests.values(), *unseen]
    alive = [request for request in requests if now < request.expires_at]
    own = [request for request in alive if request.requester.key == requester.key]
    if full := _full("this requester", bounds.requester, own, snapshot, now):
        return full
    for name in requester.agents:
        of_identity = [request for request in alive if name in request.requester.agents]
        if full := _full(f"the agent identity {name}", bounds.identity, of_identity, snapshot, now):
            return full
    return _full("all requesters together", bounds.everybody, alive, snapshot, now)


def _full(whose: str, most: int, alive: Sequence[ChangeRequest], snapshot: Snapshot, now: datetime) -> Full | None:
    if len(alive) < most:  # the exact count verifies signatures: only where it matters
        return None
    waiting = [request for request in alive if _is_waiting(request, snapshot, now)]
    return Full(whose, most, tuple(sorted(waiting, key=lambda request: request.expires_at))) if len(waiting) >= most else None


def _is_waiting(request: ChangeRequest, snapshot: Snapshot, now: datetime) -> bool:
    """Whether people still have to decide: it has neither ended nor enough signatures, and its target is not known to be gone."""
    if (request.target.group, request.target.resource, request.operation) == ("", "namespaces", "DELETE"):
        namespace = snapshot.namespaces.get(request.target.name)
        if namespace is None or namespace.meta.uid != request.target.uid:
            return False
    return request.meta.name not in snapshot.approvals or standing(request, snapshot, now).phase is Phase.PENDING
