"""Writing the change request of a refusal: once for one act and round, whoever computes it (docs/rules.md, The act)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from countersign.domain.decide import Facts, Withhold, act_now, operation_of
from countersign.domain.errors import UnableError
from countersign.domain.identify import Agent, Human, Machine
from countersign.domain.limits import Bounds, Full, reached
from countersign.domain.resources import ChangeRequest, Losses, Meta, Requester
from countersign.domain.statement import act_of, names_of, render
from countersign.service.ports import Requests


@dataclass(frozen=True, slots=True)
class Opened:
    """`created` is False where another had written the same request before."""

    request: ChangeRequest
    created: bool


class Opening:
    """`remember`: how long a watch-fed view may lag behind; what was opened longer ago, it has shown."""

    def __init__(self, requests: Requests, *, ttl: timedelta, bounds: Bounds, remember: timedelta) -> None:
        self._requests = requests
        self._ttl = ttl
        self._bounds = bounds
        self._remember = remember
        self._recent: dict[tuple[str, int], tuple[datetime, ChangeRequest]] = {}  # by act and round; also those being written

    def full(self, facts: Facts, verdict: Withhold) -> Full | None:
        """The bound that one more request would exceed, besides this very one in another's hands."""
        self._forget(facts)
        own, shown = (act_now(facts), verdict.next_round), facts.snapshot.rounds
        unseen = [
            request
            for (act, number), (_, request) in self._recent.items()
            if (act, number) != own and all(each.round != number for each in shown.get(act, ()))
        ]
        return reached(_requester(facts.who), self._bounds, facts.snapshot, unseen, facts.now)

    async def find(self, facts: Facts, verdict: Withhold, *, timeout: float) -> ChangeRequest | None:
        """The request of the verdict's next round, if somebody has opened it and memory does not know. Raises UnableError."""
        draft = draft_request(facts, verdict, Losses(), self._ttl)
        for name in names_of(draft):
            existing = await self._requests.get(name, timeout=timeout)
            if existing is None or _is_same(existing, draft):
                return existing
        return None

    async def open(self, facts: Facts, verdict: Withhold, losses: Losses, *, timeout: float) -> Opened | Full:
        """Write the request of the verdict's next round. Raises UnableError where that cannot be done."""
        if full := self.full(facts, verdict):  # again, and at once before it is written: others were let in while this one read
            return full
        draft = draft_request(facts, verdict, losses, self._ttl)
        key, ours = (act_now(facts), draft.round), (facts.now, draft)
        self._recent.setdefault(key, ours)
        try:
            opened = await self._write(draft, timeout)
        except BaseException:  # a deadline's cancellation too: what was not written must not take up room
            if self._recent.get(key) is ours:  # else another review has the same request in hand, or has written it
                self._recent.pop(key)
            raise
        self._recent[key] = (facts.now, opened.request)
        return opened

    async def _write(self, draft: ChangeRequest, timeout: float) -> Opened:
        for name in names_of(draft):
            named = replace(draft, meta=Meta(name=name))
            if await self._requests.create(named, timeout=timeout):
                return Opened(named, created=True)
            existing = await self._requests.get(name, timeout=timeout)
            if existing is not None and _is_same(existing, draft):
                return Opened(existing, created=False)
        raise UnableError("Every name that the change request could bear is taken by another.")

    def _forget(self, facts: Facts) -> None:
        """What memory shows by now; and what is older than memory may be, or younger than now: the clock was set back."""
        kept = {key: (at, request) for key, (at, request) in self._recent.items() if timedelta() <= facts.now - at <= self._remember}
        self._recent = kept


def _is_same(existing: ChangeRequest, draft: ChangeRequest) -> bool:
    return act_of(existing) == act_of(draft) and existing.round == draft.round


def draft_request(facts: Facts, verdict: Withhold, losses: Losses, ttl: timedelta) -> ChangeRequest:
    """The request of a verdict's next round, without a name; its statement is over all its other fields."""
    who = facts.who
    draft = ChangeRequest(
        meta=Meta(name=""),
        cluster=facts.snapshot.cluster,
        operation=operation_of(facts.change),
        target=facts.change.target,
        change=facts.change.change,
        losses=losses,
        requester=_requester(who),
        environments=tuple(sorted(environment.meta.name for environment in verdict.held)),
        required=required_signatures(facts, verdict),
        round=verdict.next_round,
        expires_at=(facts.now + ttl).replace(microsecond=0),
    )
    return replace(draft, statement=render(draft))


def required_signatures(facts: Facts, verdict: Withhold) -> int:
    """The largest number that an environment asks for, and one more for a human who is nobody registered (invariant 3)."""
    most = max((environment.approvals.required for environment in verdict.held), default=1)
    match facts.who:
        case Human(reviewer="") | Agent(guise=Human(reviewer="")):
            return most + 1
        case Human() | Agent() | Machine():
            return most


def _requester(who: Agent | Human | Machine) -> Requester:
    match who:
        case Agent(username=username, key=key, identities=identities, sponsors=sponsors):
            return Requester(username, key, identities, sponsors)
        case Human(username=username) | Machine(username=username):
            return Requester(username, who.key)
