"""What is said about a decision besides the refusal itself: warnings, audit annotations, what the decision log adds."""

from dataclasses import replace

from countersign.domain.answer import Answer, Reason
from countersign.domain.decide import Permit, Verdict, Withhold
from countersign.domain.identify import Agent, Human, Machine, Requester
from countersign.domain.request import Request
from countersign.domain.snapshot import Snapshot


def with_context(
    request: Request, snapshot: Snapshot, verdict: Verdict, warnings: tuple[str, ...] = (), *, answer: Answer | None = None
) -> Answer:
    """The answer to a verdict, with who asked and why; `answer` is the refusal where it is one."""
    who = snapshot.directory.identify(request.user)
    behind = _behind(request, snapshot, who, verdict)
    reason = answer.reason if answer else verdict.reason
    answer = answer or Answer(allowed=isinstance(verdict, Permit), reason=reason)
    return replace(
        answer,
        warnings=(*answer.warnings, *warnings, *_recognised(who, verdict), *_widened(behind)),
        audit={**answer.audit, **_audit(who, verdict, reason), **({"could-be": ",".join(behind)} if behind else {})},
        chain={**answer.chain, **_chain(who, verdict), **({"couldBe": list(behind)} if behind else {})},
    )


def _behind(request: Request, snapshot: Snapshot, who: Requester, verdict: Verdict) -> tuple[str, ...]:
    """The agents that could have taken this name, where an environment counts that (`whenAgentsCanImpersonate: Widen`)."""
    if not any(environment.widens for environment in verdict.held):
        return ()
    counted = snapshot.directory.counted(request.user)
    known = who.identities if isinstance(who, Agent) else ()
    return tuple(name for name in counted.identities if name not in known) if isinstance(counted, Agent) else ()


def _widened(behind: tuple[str, ...]) -> tuple[str, ...]:
    """Within the 120 characters that the API server likes (apiserver endpoints/filters/warning.go)."""
    if not behind:
        return ()
    more = f" and {len(behind) - 1} more" if len(behind) > 1 else ""
    return (f"countersign: agents could act under this name ({behind[0][:40]}{more}), and it is held back as they are",)


def _recognised(who: Requester, verdict: Verdict) -> tuple[str, ...]:
    match who:
        case Agent(identities=identities, sponsors=sponsors):
            warning = f"recognised as agent {', '.join(identities)}, run by {', '.join(sponsors)}"
            held = " (would be refused: an environment is in Audit mode)" if verdict.reason is Reason.AUDIT else ""
            return (f"countersign: {warning}{held}",)
        case Human() | Machine():
            return ()


def _audit(who: Requester, verdict: Verdict, reason: Reason) -> dict[str, str]:
    pairs = {
        "decision": "allow" if isinstance(verdict, Permit) else "refuse",
        "reason": reason.value,
        "agents": ",".join(who.identities) if isinstance(who, Agent) else "",
        "sponsors": ",".join(who.sponsors) if isinstance(who, Agent) else "",
        "environments": ",".join(sorted(environment.meta.name for environment in verdict.held)),
        "change-request": verdict.request.meta.name if verdict.request else "",
        "reviewers": ",".join(_reviewers(verdict)),
    }
    return {key: value for key, value in pairs.items() if value}


def _chain(who: Requester, verdict: Verdict) -> dict[str, object]:
    """Agent → pod → ServiceAccount → sponsor → reviewers"""
    return {
        "kind": type(who).__name__,
        "agents": list(who.identities) if isinstance(who, Agent) else [],
        "sponsors": list(who.sponsors) if isinstance(who, Agent) else [],
        "reviewers": _reviewers(verdict),
        "environments": sorted(environment.meta.name for environment in verdict.held),
        "changeRequest": verdict.request.meta.name if verdict.request else "",
        "approvals": [vote.approval for vote in verdict.standing.tally.votes] if verdict.standing else [],
    }


def _reviewers(verdict: Permit | Withhold) -> list[str]:
    return [vote.reviewer for vote in verdict.standing.tally.votes] if verdict.standing else []
