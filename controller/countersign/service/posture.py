"""What every agent's rights would let it do, kept in the status of its AgentIdentity, in metrics and Events (docs/posture.md).

Reckoned anew after each change of roles and bindings, of an identity or an environment, a few seconds apart at the least, and now and
then without one, since another authorizer than RBAC gives no sign of a change.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from countersign.domain.document import JsonObject, items, text
from countersign.domain.errors import CountersignError
from countersign.domain.names import GROUP, VERSION
from countersign.domain.posture import Posture, Terms, assess, questions, representatives
from countersign.domain.rbac import Binding, Rbac, Request, RoleRef, Rule
from countersign.domain.request import UserInfo
from countersign.domain.resources import AgentIdentity, Becoming, Target
from countersign.domain.snapshot import Snapshot
from countersign.service.keeping import Condition, Notice, Notices, Report, Statuses
from countersign.service.ports import ApiError, Clock, State

_log = logging.getLogger(__name__)

PERIOD: Final = 60.0
SETTLE: Final = 0.3  # seconds in which further changes join the same round
APART: Final = 2.0  # seconds between two rounds at the least
_AT_ONCE: Final = 8
_LINES: Final = 10
_LONGEST: Final = 1000
_PLURAL: Final = "agentidentities"


class Rights(Protocol):
    @property
    def version(self) -> int:
        """Another one after each change."""

    @property
    def fault(self) -> str:
        """Why roles or bindings are not known."""

    def known(self) -> tuple[Mapping[RoleRef, Sequence[Rule]], Sequence[Binding]] | None:
        """Roles and bindings as of now; None until all have been listed."""


class Access(Protocol):
    async def allowed(self, user: UserInfo, request: Request) -> bool:
        """What the whole chain of authorizers says. Raises ApiError."""


class PostureMeter(Protocol):
    def postures(self, found: Mapping[str, Sequence[str] | None], held: Mapping[str, bool]) -> None:
        """The open ways of each agent, and whether it is held; whoever is not named is gone."""


class RenderBecoming(Protocol):
    def __call__(self, becoming: Becoming, generation: int) -> dict[str, Any]:
        """As it stands in status, bounded."""


@dataclass(frozen=True, slots=True)
class Told:
    """Where the findings go."""

    statuses: Statuses
    notices: Notices
    meter: PostureMeter
    render: RenderBecoming


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the authorizers said of an agent and when (monotonic seconds); `sure`: what they had said before as well.

    They go by caches of their own: right after a change of RBAC they may still speak of what was before.
    """

    questions: tuple[Request, ...]
    said: Mapping[Request, bool]
    sure: Mapping[Request, bool]
    at: float


class Postures:
    def __init__(self, state: State, rights: Rights, access: Access, told: Told, clock: Clock, terms: Callable[[Snapshot], Terms]) -> None:
        self._state = state
        self._rights = rights
        self._access = access
        self._told = told
        self._clock = clock
        self._terms = terms
        self._woken = asyncio.Event()
        self._rbac: tuple[int, Rbac] | None = None
        self._asked: dict[str, _Asked] = {}
        self._waiting: set[str] = set()
        self._last: dict[str, Posture] = {}
        self._generations: dict[tuple[str, str], int] = {}

    def wake(self) -> None:
        self._woken.set()

    def heard(self, plural: str, event: str, document: JsonObject) -> None:
        """An identity or an environment was seen: only what it asks for matters, not its status."""
        key = (plural, text(document, "metadata", "uid"))
        generation = document.get("metadata", {}).get("generation", 0)
        if event == "DELETED":
            self._generations.pop(key, None)
            self.wake()
        elif self._generations.get(key) != generation:
            self._generations[key] = generation
            self.wake()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._woken.clear()
            try:
                await self.round()
            except CountersignError as error:
                _log.warning("the agents' posture could not be reckoned: %s", error)
            except Exception:  # noqa: BLE001  # the operator must outlive one bad object
                _log.exception("the agents' posture could not be reckoned")
            await asyncio.sleep(APART)
            try:
                await asyncio.wait_for(self._woken.wait(), PERIOD - APART)
                await asyncio.sleep(SETTLE)
            except TimeoutError:  # nobody woke it: what authorizers say may have changed all the same
                continue

    async def round(self) -> Mapping[str, Posture]:
        """One reckoning of all; what was found. Raises CountersignError."""
        snapshot = self._state.snapshot()
        identities = tuple(snapshot.identities.values())
        rbac = await self._built()
        if rbac is None:
            await self._tell_unknown(identities)
            return {}
        terms = self._terms(snapshot)
        found: dict[str, Posture] = {}
        for identity in identities:
            posture = await self._posture(identity, rbac, terms)
            if posture is not None:
                found[identity.meta.name] = posture
                await self._tell(identity, posture)
        self._asked = {name: asked for name, asked in self._asked.items() if name in snapshot.identities}
        self._last = {name: posture for name, posture in (self._last | found).items() if name in snapshot.identities}
        self._told.meter.postures(
            {name: [opening.way.value for opening in posture.open] for name, posture in self._last.items()},
            {name: posture.held for name, posture in self._last.items()},
        )
        return found

    async def _built(self) -> Rbac | None:
        version, known = self._rights.version, None
        if self._rbac is None or self._rbac[0] != version:
            known = self._rights.known()
            if known is None:
                return None
            # In a thread: guards are repaired in the same loop, and within a tenth of a second.
            self._rbac = (version, await asyncio.to_thread(Rbac, *known))
        return self._rbac[1]

    async def _posture(self, identity: AgentIdentity, rbac: Rbac, terms: Terms) -> Posture | None:
        """None where the authorizers contradict RBAC for the first time: that is to be heard twice."""
        first = await asyncio.to_thread(assess, identity, rbac, terms)
        asked = await self._ask_again(identity, rbac, questions(first))
        if asked is None:
            return first
        sure = await asyncio.to_thread(assess, identity, rbac, terms, asked.sure)
        if asked.sure == asked.said or sure == await asyncio.to_thread(assess, identity, rbac, terms, asked.said):
            self._waiting.discard(identity.meta.name)
            return sure
        self.wake()
        if identity.meta.name in self._waiting:  # once: who changes RBAC all the time does not keep its posture unknown
            return sure
        self._waiting.add(identity.meta.name)
        return None

    async def _ask_again(self, identity: AgentIdentity, rbac: Rbac, wanted: tuple[Request, ...]) -> _Asked | None:
        """None where they do not answer: then RBAC alone is taken."""
        name, now = identity.meta.name, self._clock.monotonic()
        before = self._asked.get(name)
        known = before is not None and before.questions == wanted
        if before is not None and known and before.sure == before.said and now - before.at < PERIOD - 1:
            return before
        if before is not None and known and now - before.at < APART:
            return before
        try:
            said = await _ask(identity, rbac, wanted, self._access)
        except ApiError as error:
            _log.warning("the authorizers could not be asked about %s: %s", name, error)
            return None
        earlier = before.said if before is not None and known else {}
        asked = _Asked(wanted, said, {request: answer for request, answer in said.items() if earlier.get(request) is answer}, now)
        self._asked[name] = asked
        return asked

    async def _tell(self, identity: AgentIdentity, posture: Posture) -> None:
        condition = held(posture)
        before = _held_before(self._told.statuses.current(_PLURAL, identity.meta.name, identity.meta.uid))
        becoming = self._told.render(posture.becoming, identity.meta.generation)
        fields = {
            "counts": {
                "couldDelete": len(posture.deletes),
                "couldBecome": sum(len(names) for names in becoming.values() if isinstance(names, list)),
                "waysRound": len(posture.open),
            },
            "waysRound": lines(posture),
            "couldBecome": becoming,
        }
        try:
            await self._told.statuses.report(Report(_PLURAL, identity.meta, (condition,), fields))
        except ApiError as error:
            _log.warning("the posture of %s could not be written: %s", identity.meta.name, error)
            return
        if condition.holds is False and before != "False":
            _log.warning("agent %s is not held: %s", identity.meta.name, condition.message)
            await self._told.notices.tell(Notice("AgentIdentity", _about(identity), "NotHeld", condition.message, warning=True))

    async def _tell_unknown(self, identities: Sequence[AgentIdentity]) -> None:
        """Not while they are only being listed: what was found before stands until then."""
        if not self._rights.fault:
            return
        message = f"Roles and bindings cannot be read, so nobody knows what its rights leave open: {self._rights.fault}"
        condition = Condition("Held", holds=None, reason="RightsUnknown", message=message[:_LONGEST])
        for identity in identities:
            await self._told.statuses.report(Report(_PLURAL, identity.meta, (condition,)))


async def assess_asking(identity: AgentIdentity, rbac: Rbac, terms: Terms, access: Access) -> Posture:
    """The posture by RBAC and by what the API server's authorizers say. Raises ApiError."""
    answers = await _ask(identity, rbac, questions(assess(identity, rbac, terms)), access)
    return assess(identity, rbac, terms, answers)


async def _ask(identity: AgentIdentity, rbac: Rbac, wanted: Sequence[Request], access: Access) -> Mapping[Request, bool]:
    """Allowed where any requester that is this agent is. Raises ApiError."""
    answers: dict[Request, bool] = {}
    for user in representatives(identity, rbac):
        rest = [request for request in wanted if not answers.get(request)]
        for begin in range(0, len(rest), _AT_ONCE):
            part = rest[begin : begin + _AT_ONCE]
            said = await asyncio.gather(*(access.allowed(user, request) for request in part))
            answers.update(zip(part, said, strict=True))
    return answers


def held(posture: Posture) -> Condition:
    worst = posture.worst
    if worst is not None:
        return Condition("Held", holds=False, reason=worst.way.value, message=worst.sentence[:_LONGEST])
    if posture.open:
        ways = ", ".join(opening.way.value for opening in posture.open)
        message = f"What it asks for as itself is held back. Indirect ways are open: {ways} (status.waysRound)."
        return Condition("Held", holds=True, reason="HeldAsItself", message=message[:_LONGEST])
    return Condition("Held", holds=True, reason="NoWayRound", message="Its rights leave open no way round that is known.")


def lines(posture: Posture) -> list[str]:
    """The worst ways, a sentence each."""
    sentences = [opening.sentence[:_LONGEST] for opening in posture.open]
    rest = len(sentences) - _LINES
    return sentences[:_LINES] + ([f"and {rest} more: see `python -m countersign posture`"] if rest > 0 else [])


def _held_before(status: JsonObject) -> str:
    return next((text(condition, "status") for condition in items(status, "conditions") if text(condition, "type") == "Held"), "")


def _about(identity: AgentIdentity) -> Target:
    return Target(GROUP, VERSION, _PLURAL, identity.meta.name, uid=identity.meta.uid)
