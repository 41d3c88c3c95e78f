"""One admission review, from request to answer. It never raises, and only a proven case is an allow.

1. identify and classify   2. judge from memory   3. look live before any allow   4. write the change request of a refusal
5. record, then answer
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from countersign.domain import refusal
from countersign.domain.answer import Answer, Reason
from countersign.domain.approval import check, standing
from countersign.domain.classify import (
    Countersigning,
    Deletion,
    GuardedChange,
    Misunderstood,
    NotGuarded,
    Relabelling,
    Setting,
    classify,
    fixed_losses,
)
from countersign.domain.decide import Facts, Permit, Withhold, operation_of
from countersign.domain.document import text
from countersign.domain.emergency import lockdown_in
from countersign.domain.errors import CountersignError, UnableError
from countersign.domain.limits import Full
from countersign.domain.record import decision
from countersign.domain.request import Request
from countersign.domain.resources import ChangeRequest, Losses
from countersign.domain.signing import ApprovalRefused
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import act_of
from countersign.service.explain import with_context
from countersign.service.judging import Judge, Judged, losses_seen, question
from countersign.service.opening import Opening, required_signatures
from countersign.service.ports import Clock, DecisionLog, LiveLook, Look, Metrics, Parsers, Question, State, Witness

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
_WRITE_SECONDS = 3.0
_ATTEMPTS = 4  # looks in a row that each find what the one before had not asked for


@dataclass(frozen=True, slots=True)
class Outside:
    """The ports that a review needs. `witness`: who else is told of what was decided."""

    state: State
    live: LiveLook
    clock: Clock
    log: DecisionLog
    metrics: Metrics
    parsers: Parsers
    witness: Witness | None = None


class Review:
    """The service behind /validate."""

    def __init__(self, outside: Outside, judge: Judge, opening: Opening) -> None:
        self._outside = outside
        self._judge = judge
        self._opening = opening

    def ready(self) -> str:
        """Tell why reviews cannot be answered now; an empty text when they can."""
        try:
            self._outside.state.snapshot()
        except UnableError as error:
            return str(error)
        return ""

    async def review(self, request: Request, *, deadline: float) -> Answer:
        """`deadline` is on the clock's monotonic scale, seconds."""
        started = self._outside.clock.monotonic()
        answer = await self._safely(request, deadline)
        seconds = self._outside.clock.monotonic() - started
        answer = self._recorded(request, answer, seconds)
        self._outside.metrics.decided(allowed=answer.allowed, reason=answer.reason.value, seconds=seconds)
        self._witnessed(request, answer)
        return answer

    async def _safely(self, request: Request, deadline: float) -> Answer:
        try:
            return await self._answer(request, deadline)
        except UnableError as error:
            return self._told(request, refusal.unable(str(error)))
        except CountersignError as error:
            return self._told(request, refusal.invalid((str(error),)))
        except Exception:  # noqa: BLE001  # invariant 1: whatever went wrong, it is a refusal
            _log.exception("review %s failed", request.uid)
            return self._told(request, refusal.unable("an error of its own; its log has the details."))

    def _told(self, request: Request, answer: Answer) -> Answer:
        """A refusal that no verdict stands behind, with who asked, as far as that is known."""
        try:
            return with_context(request, self._outside.state.snapshot(), Withhold(answer.reason), answer=answer)
        except UnableError:  # nothing is known of anybody: most often why it is refused
            return _without_context(answer)
        except Exception:  # noqa: BLE001  # the refusal stands, whatever cannot be said about it
            _log.exception("who asked in review %s could not be found out", request.uid)
            return _without_context(answer)

    def _recorded(self, request: Request, answer: Answer, seconds: float) -> Answer:
        """Recorded before it is answered (invariant 11): what cannot be recorded is not allowed."""
        try:
            self._outside.log.append(decision(request, answer, now=self._outside.clock.now(), milliseconds=seconds * 1000))
        except Exception:  # noqa: BLE001  # whatever went wrong, it is not recorded
            _log.exception("the decision on review %s could not be recorded", request.uid)
            self._outside.metrics.unrecorded()
            return self._told(request, refusal.unable("the decision could not be recorded."))
        return answer

    def _witnessed(self, request: Request, answer: Answer) -> None:
        if self._outside.witness is None:
            return
        try:
            self._outside.witness.decided(request, answer)
        except Exception:  # noqa: BLE001  # the decision is made and recorded: a trial that misses it is the lesser harm
            _log.exception("review %s could not be taken down for a trial", request.uid)

    async def _answer(self, request: Request, deadline: float) -> Answer:
        snapshot = self._outside.state.snapshot()
        match classify(request, self._judge.kinds(snapshot)):  # 1
            case NotGuarded():
                return with_context(request, snapshot, Permit(Reason.NOT_GUARDED))
            case Misunderstood(why=why):
                return with_context(request, snapshot, Withhold(Reason.UNKNOWN), answer=refusal.unknown(why))
            case Countersigning():
                return await self._countersigned(request, deadline)
            case (Deletion() | Relabelling() | Setting()) as change:
                return await self._guarded(request, change, snapshot, deadline)

    async def _guarded(self, request: Request, change: GuardedChange, snapshot: Snapshot, deadline: float) -> Answer:
        judged = self._judge.judge(request, change, snapshot, self._outside.clock.now(), None)  # 2
        if judged.findings.errors and not _is_forbidden(judged):
            return with_context(request, judged.facts.snapshot, Withhold(Reason.INVALID), answer=refusal.invalid(judged.findings.errors))
        look: Look | None = None
        if isinstance(judged.verdict, Permit) or await self._has_more(judged, deadline):  # 3
            judged, look = await self._look(request, judged, question(judged), deadline)
        for _ in range(_ATTEMPTS):
            match judged.verdict:
                case Permit() if look is not None:
                    if judged.findings.errors:
                        return with_context(
                            request, judged.facts.snapshot, Withhold(Reason.INVALID), answer=refusal.invalid(judged.findings.errors)
                        )
                    return with_context(request, judged.facts.snapshot, judged.verdict, judged.findings.warnings)
                case Withhold() as verdict:
                    answer = await self._withheld(request, judged, verdict, look, deadline)  # 4
                    if isinstance(answer, Answer):
                        return replace(answer, warnings=(*answer.warnings, *judged.findings.warnings))
                    judged, look = await self._look(request, judged, answer, deadline)
                case Permit():
                    raise UnableError("an allow without a live look")
        raise UnableError("the change request is being decided by others at this moment.")

    async def _has_more(self, judged: Judged, deadline: float) -> bool:
        """Whether a request that waits has signatures that memory does not know yet."""
        verdict = judged.verdict
        if not isinstance(verdict, Withhold) or verdict.reason is not Reason.PENDING or verdict.request is None or verdict.next_round:
            return False
        known = len(judged.facts.snapshot.approvals.get(verdict.request.meta.name, ()))
        return await self._outside.live.count_approvals(verdict.request.meta.name, timeout=self._left(deadline, _LOOK_SECONDS)) > known

    async def _look(self, request: Request, judged: Judged, asked: Question, deadline: float) -> tuple[Judged, Look]:
        """Look until nothing further is to be read. Raises UnableError."""
        for _ in range(_ATTEMPTS):
            look = await self._outside.live.look(asked, timeout=self._left(deadline, _LOOK_SECONDS))
            now = self._outside.clock.now()
            judged = self._judge.judge(request, judged.facts.change, look.snapshot, now, losses_seen(look, asked))
            further = question(judged)
            if asked.answers(further):
                return judged, look
            asked = replace(further, requests=tuple(dict.fromkeys((*asked.requests, *further.requests))))
        raise UnableError("the change request is being decided by others at this moment.")

    async def _withheld(self, request: Request, judged: Judged, verdict: Withhold, look: Look | None, deadline: float) -> Answer | Question:
        """The refusal; or a question to look at once more, where another had opened the same request before us."""
        facts = judged.facts
        case = refusal.Case(facts.who, operation_of(facts.change), facts.change.target, facts.snapshot.cluster.name)
        current = verdict.request
        if verdict.reason is Reason.LOCKED:
            return with_context(request, facts.snapshot, verdict, answer=refusal.locked(case, lockdown_in(facts.snapshot)))
        if verdict.reason is Reason.FORBIDDEN:
            return with_context(request, facts.snapshot, verdict, answer=refusal.forbidden(case, verdict.sentence))
        if verdict.reason is Reason.REJECTED and current is not None:
            answer = refusal.rejected(case, current, verdict.sentence, verdict.until)
            return with_context(request, facts.snapshot, verdict, answer=answer)
        if request.dry_run:
            name = current.meta.name if current and not verdict.next_round else ""
            answer = refusal.dry_run(case, required_signatures(facts, verdict), name)
            return with_context(request, facts.snapshot, verdict, answer=answer)
        if not verdict.next_round and current is not None:
            answer = refusal.pending(case, current, verdict.standing, _ended_before(current, facts))
            return with_context(request, facts.snapshot, verdict, answer=answer)
        if full := self._opening.full(facts, verdict):
            known = await self._opening.find(facts, verdict, timeout=self._left(deadline, _WRITE_SECONDS))
            if known is not None:
                return _besides(question(judged), known)
            return with_context(request, facts.snapshot, verdict, answer=refusal.limited(case, full))
        if not await self._is_there(judged, deadline):
            return with_context(request, facts.snapshot, verdict, answer=refusal.no_target(case))
        losses = await self._losses(judged, look, deadline)
        opened = await self._opening.open(facts, verdict, losses, timeout=self._left(deadline, _WRITE_SECONDS))
        if isinstance(opened, Full):
            return with_context(request, facts.snapshot, verdict, answer=refusal.limited(case, opened))
        if not opened.created:
            return _besides(question(judged), opened.request)
        before = verdict.standing.why if verdict.standing else ""
        state = standing(opened.request, facts.snapshot, facts.now)  # says who can sign
        written = replace(verdict, request=opened.request, standing=state)
        return with_context(request, facts.snapshot, written, answer=refusal.pending(case, opened.request, state, before))

    async def _is_there(self, judged: Judged, deadline: float) -> bool:
        """Change requests are written for targets that exist, whatever a forged review claims."""
        target = judged.facts.change.target
        if operation_of(judged.facts.change) == "CREATE":
            return True
        live = await self._outside.live.target(target, timeout=self._left(deadline, _WRITE_SECONDS))
        return live is not None and text(live, "metadata", "uid") == target.uid

    async def _losses(self, judged: Judged, look: Look | None, deadline: float) -> Losses:
        if not isinstance(judged.facts.change, Deletion):
            return Losses()
        fixed = fixed_losses(judged.facts.change.target)
        if fixed is not None:
            return fixed
        if look is not None and judged.facts.losses is not None:
            return judged.facts.losses
        return await self._outside.live.losses(judged.facts.change.target, timeout=self._left(deadline, _WRITE_SECONDS))

    async def _countersigned(self, request: Request, deadline: float) -> Answer:
        """An Approval is checked at creation with the exact reason of a refusal."""
        if request.object is None:
            return self._told(request, refusal.unknown("The Approval is missing from the review."))
        approval = self._outside.parsers.approval(request.object)
        asked = Question(requests=(approval.change_request,))
        look = await self._outside.live.look(asked, timeout=self._left(deadline, _LOOK_SECONDS))
        change_request = look.snapshot.requests.get(approval.change_request)
        said: dict[str, object] = {"changeRequest": approval.change_request, "verdict": approval.verdict.value}
        try:
            vote = check(approval, change_request, request.user, look.snapshot, self._outside.clock.now())
        except ApprovalRefused as refused:
            answer = refusal.invalid((str(refused),), refused.fault, refused.signature)
            answer = with_context(request, look.snapshot, Withhold(Reason.INVALID), answer=answer)
            return _saying(answer, {**said, "fault": refused.fault.value}, {"fault": refused.fault.value})
        answer = with_context(request, look.snapshot, Permit(Reason.ACCEPTED))
        return _saying(answer, {**said, "reviewers": [vote.reviewer]}, {"reviewer": vote.reviewer})

    def _left(self, deadline: float, most: float) -> float:
        """Seconds for the next step. Raises UnableError when the deadline has passed."""
        left = min(most, deadline - self._outside.clock.monotonic())
        if left <= 0:
            raise UnableError("its time was up.")
        return left


def _without_context(answer: Answer) -> Answer:
    return replace(answer, audit={"decision": "refuse", "reason": answer.reason.value})


def _saying(answer: Answer, chain: Mapping[str, object], audit: Mapping[str, str]) -> Answer:
    return replace(answer, chain={**answer.chain, **chain}, audit={**answer.audit, **audit})


def _besides(asked: Question, request: ChangeRequest) -> Question:
    return replace(asked, requests=(*asked.requests, request.meta.name))


def _ended_before(request: ChangeRequest, facts: Facts) -> str:
    """How the round before this one ended: said every time, since the API server may ask twice about one request and show the second answer."""
    earlier = next((each for each in facts.snapshot.rounds.get(act_of(request), ()) if each.round == request.round - 1), None)
    return standing(earlier, facts.snapshot, facts.now, losses=request.losses).why if earlier else ""


def _is_forbidden(judged: Judged) -> bool:
    return isinstance(judged.verdict, Withhold) and judged.verdict.reason is Reason.FORBIDDEN
