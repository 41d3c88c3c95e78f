"""Writing the change request of a refusal: once for one act and round, whoever computes it (docs/rules.md, The act)."""

from dataclasses import dataclass, replace
from datetime import timedelta

from countersign.domain.decide import Facts, Withhold, act_now, operation_of
from countersign.domain.errors import UnableError
from countersign.domain.identify import Agent, Human, Machine
from countersign.domain.resources import ChangeRequest, Losses, Meta, Requester
from countersign.domain.statement import act_of, names_of, render
from countersign.service.ports import Requests


@dataclass(frozen=True, slots=True)
class Opened:
    """`created` is False where another had written the same request before."""

    request: ChangeRequest
    created: bool


class Opening:
    def __init__(self, requests: Requests, *, ttl: timedelta) -> None:
        self._requests = requests
        self._ttl = ttl

    async def open(self, facts: Facts, verdict: Withhold, losses: Losses, *, timeout: float) -> Opened:
        """Write the request of the verdict's next round. Raises UnableError where that cannot be done."""
        draft = draft_request(facts, verdict, losses, self._ttl)
        digest = act_now(facts)
        for name in names_of(draft):
            named = replace(draft, meta=Meta(name=name))
            if await self._requests.create(named, timeout=timeout):
                return Opened(named, created=True)
            existing = await self._requests.get(name, timeout=timeout)
            if existing is not None and act_of(existing) == digest and existing.round == draft.round:
                return Opened(existing, created=False)
        raise UnableError("Every name that the change request could bear is taken by another.")


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
        case Human(reviewer=""):
            return most + 1
        case Human() | Agent() | Machine():
            return most


def _requester(who: Agent | Human | Machine) -> Requester:
    match who:
        case Agent(username=username, key=key, identities=identities, sponsors=sponsors):
            return Requester(username, key, identities, sponsors)
        case Human(username=username) | Machine(username=username):
            return Requester(username, who.key)
