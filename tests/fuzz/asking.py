"""Asking one replica, and holding its answer against the oracle."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from countersign.domain.answer import Answer, Reason
from countersign.domain.request import Operation, Request
from tests.fuzz import choices
from tests.fuzz.lagging import LaggingState
from tests.fuzz.oracle import Oracle
from tests.support.objects import MINUTE
from tests.support.replicas import Replica, Story
from tests.support.world import GROUP, Json, World, WorldRequests

COOL_OFF, TTL = 20 * MINUTE, 120 * MINUTE
GROUND: Final = {
    Reason.NOT_HELD: "not held",
    Reason.EXCEPTED: "excepted",
    Reason.OWN_WORK: "own work",
    Reason.AUDIT: "audit",
    Reason.APPROVED: "approved",
    Reason.COVERED: "covered",
    Reason.GLASS_BROKEN: "glass",
}
EXCUSES: Final = ("is not known here yet", "decided by others")

seen: Counter[str] = Counter()
"""How often each answer was given in this process: a fuzzer that is never allowed anything has shown nothing."""


class Alarm(logging.Handler):
    """An error inside a decision is answered with a refusal, and told to nobody but the log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record)


@dataclass
class LosingRequests(WorldRequests):
    """Writes that get lost: before they are stored, or on the way back."""

    fault: str = ""

    async def create(self, request: Any, *, timeout: float) -> bool:
        if self.fault == "before":
            self.fault, self.broken = "", "create"
        try:
            created = await super().create(request, timeout=timeout)
        finally:
            self.broken = ""
        if self.fault == "after":
            self.fault, self.broken = "", "create"
            return await super().create(replace(request), timeout=timeout)
        return created


class Asking(RuleBasedStateMachine):
    """One cluster. `healthy` is a replica that misses nothing, `late` one whose memory lags and whose clock may be off."""

    def __init__(self) -> None:
        super().__init__()
        self.alarm = Alarm()
        logging.getLogger("countersign").addHandler(self.alarm)

    def teardown(self) -> None:
        logging.getLogger("countersign").removeHandler(self.alarm)

    @initialize()
    def begin(self) -> None:
        self.story = Story()
        self.world: World = self.story.world
        self.oracle = Oracle(self.world)
        choices.furnish(self.story)
        self.restart()

    @rule()
    def restart(self) -> None:
        """Both replicas anew: what they remembered is gone."""
        self.healthy, self.late = (self.new_replica() for _ in range(2))

    # ── asking ──

    def ask(self, request: Request, replica: Replica, *, meanwhile: Callable[[], None] | None = None) -> Answer:
        now = replica.clock.now()
        grounds = self.oracle.grounds(request, now)
        views = self.views(replica)
        if meanwhile is not None:
            once = [meanwhile]
            replica.live.meanwhile = lambda _: once.pop()() if once else None
        answer = replica.ask(request)
        replica.live.meanwhile = lambda _: None
        views += self.views(replica)
        self.oracle.note_requests(request, views)
        if meanwhile is not None:
            # What happens while we look may count or not; what was there before the review came must.
            grounds |= self.oracle.grounds(request, replica.clock.now())
        self.judge(request, answer, grounds, replica, disturbed=meanwhile is not None)
        return answer

    def judge(self, request: Request, answer: Answer, grounds: set[str], replica: Replica, *, disturbed: bool) -> None:
        seen[answer.reason.value] += 1
        assert not self.alarm.heard, self.alarm.heard[0].getMessage() + str(self.alarm.heard[0].exc_info)
        told = f"{request.operation} {request.resource} {request.namespace}/{request.name} by {request.user.username}: {answer.message or answer.chain}"
        if answer.allowed:
            needed = {GROUND.get(answer.reason)}
            if request.group == GROUP:  # held though it need not be, as below, and let through by signatures or an exception
                needed.add(GROUND[Reason.NOT_HELD])
            assert needed & grounds or answer.reason is Reason.NOT_GUARDED, f"{answer.reason} without a ground ({grounds}): {told}"
            if answer.reason is Reason.NOT_GUARDED:
                assert request.operation is Operation.UPDATE, told
                assert request.resource == "namespaces", told
            return
        if answer.reason is Reason.UNABLE:
            excused = replica.state.unable or replica.live.broken or any(excuse in answer.message for excuse in EXCUSES)
            assert excused or isinstance(replica.requests, LosingRequests), f"unable for no reason: {told}"
        elif replica is self.healthy and not disturbed and request.group != GROUP and answer.reason is not Reason.UNKNOWN:
            # Of changes to settings more is held than need be: what is not plainly harmless counts as taken away (docs/rules.md).
            assert not grounds, f"refused ({answer.reason}) though there is a ground ({grounds}): {told}"

    def views(self, replica: Replica) -> list[list[Json]]:
        assert isinstance(replica.state, LaggingState)
        return [replica.state.documents("agentidentities"), self.world.listed("agentidentities")]

    def replica(self, late: bool) -> Replica:
        return self.late if late else self.healthy

    def new_replica(self) -> Replica:
        return self.story.replica(cool_off=COOL_OFF, ttl=TTL, most=1000, memory=LaggingState)
