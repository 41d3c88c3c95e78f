"""What a refusal says: facts for an agent, the way on for a human, the same as causes for machines (design: A refusal).

An eager agent runs what it reads: its text holds no command that signs and none that changes anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from countersign.domain.answer import Answer, Reason
from countersign.domain.approval import Standing
from countersign.domain.identify import Agent, Human, Machine, Requester
from countersign.domain.limits import Full
from countersign.domain.names import GROUP
from countersign.domain.resources import ChangeRequest, Lockdown, Target
from countersign.domain.sshsig import APPROVE

POLL_SECONDS: Final = 60
_SHOWN: Final = 5
_RESOURCE: Final = f"changerequests.{GROUP}"
_DONE: Final[Mapping[str, str]] = {"DELETE": "nothing was deleted", "UPDATE": "nothing was changed", "CREATE": "nothing was created"}
_SINGULAR: Final[Mapping[str, str]] = {
    "namespaces": "namespace",
    "persistentvolumes": "volume",
    "persistentvolumeclaims": "claim",
    "customresourcedefinitions": "custom resource definition",
    "agentidentities": "agent identity",
    "reviewers": "reviewer",
    "protectedenvironments": "environment",
}


@dataclass(frozen=True, slots=True)
class Case:
    """What every text is made from."""

    who: Requester
    operation: str
    target: Target
    cluster: str

    @property
    def thing(self) -> str:
        kind = _SINGULAR.get(self.target.resource, self.target.resource)
        name = f"{self.target.namespace}/{self.target.name}" if self.target.namespace else self.target.name
        return f'{kind} "{name}" on {self.cluster}'

    @property
    def untouched(self) -> str:
        return _DONE.get(self.operation, "nothing was changed")


def pending(case: Case, request: ChangeRequest, state: Standing | None, before: str = "") -> Answer:
    """Waits for signatures. `before`: how the round before this one ended, where there was one."""
    votes = state.tally.counted if state else 0
    required = state.tally.required if state else request.required
    people = "1 person" if required == 1 else f"{required} people"
    head = (
        f"WAITING FOR HUMAN SIGNATURES, {case.untouched}: {case.thing} needs {people} to sign "
        f"{request.meta.name} ({votes} of {required}, until {_minute(request.expires_at)})."
    )
    lines = [head]
    if before:
        lines.append(f"The round before this one is over: {_quoted(before)}.")
    lines.extend(_next_steps(case, request, state))
    return Answer(
        allowed=False,
        reason=Reason.PENDING,
        message="\n".join(lines),
        causes=_causes("Pending", request.meta.name, human=True),
    )


def rejected(case: Case, request: ChangeRequest, sentence: str, until: datetime | None) -> Answer:
    again = f" It can be asked again after {_minute(until)}, if the person you work for wants that." if until else ""
    return Answer(
        allowed=False,
        reason=Reason.REJECTED,
        message=(
            f"REJECTED BY A HUMAN, {case.untouched}: {case.thing}, {request.meta.name}.\n"
            f"{_quoted(sentence)}.{again}\n"
            "Stop here. Attempts by another route are held and recorded too."
        ),
        causes=_causes("Rejected", request.meta.name, human=True),
    )


def dry_run(case: Case, required: int, name: str) -> Answer:
    known = f" It waits for them as {_RESOURCE}/{name}." if name else " A dry run writes no change request; the real request would."
    people = "1 person has" if required == 1 else f"{required} people have"
    return Answer(
        allowed=False,
        reason=Reason.DRY_RUN,
        message=f"DRY RUN, {case.untouched}: {case.thing} would be held until {people} signed for it.{known}",
        causes=_causes("DryRun", name, human=True),
    )


def limited(case: Case, full: Full) -> Answer:
    """Too many wait already. Nothing is opened: people would have to read it."""
    waiting = ", ".join(request.meta.name or "one that is being written" for request in full.waiting[:_SHOWN])
    more = len(full.waiting) - _SHOWN
    return Answer(
        allowed=False,
        reason=Reason.LIMITED,
        message=(
            f"TOO MANY OPEN CHANGE REQUESTS, {case.untouched}: {len(full.waiting)} change requests of {full.whose} wait for human signatures, "
            f"and no more than {full.most} may; none was opened for {case.thing}.\n"
            "This is not a permission problem: another identity or another route does not help, and attempts are recorded.\n"
            f"Next step: wait until people have decided on those, or they expire (the first at {_minute(full.waiting[0].expires_at)}); "
            "then this same request can be asked again. Until then end this task here, and tell the person you work for.\n"
            f"Waiting: {waiting}{f' and {more} more' if more > 0 else ''}"
        ),
        causes=(*_causes("Limited", "", human=True), ("waiting", str(len(full.waiting))), ("limit", str(full.most))),
    )


def locked(case: Case, lockdown: Lockdown | None) -> Answer:
    """For agents alone: people are not held by a lockdown."""
    incident, since = (lockdown.incident, _minute(lockdown.since)) if lockdown else ("unknown", "now")
    return Answer(
        allowed=False,
        reason=Reason.LOCKED,
        message=(
            f"LOCKED DOWN, {case.untouched}: {case.thing}. A guard of this cluster was tampered with (incident {incident}, {since}), "
            "so nothing of this kind is let through for any agent, signed for or not.\n"
            "This is not a permission problem, and asking again does not help: only people end it. Attempts by another route are held and recorded too.\n"
            "Next step: tell the person you work for that the cluster is locked down, with the number of the incident, and end this task here.\n"
            "State: kubectl get protectedenvironments.kube-countersign.dev default -o jsonpath='{.status.lockdown}'   (at most once a minute)"
        ),
        causes=(*_causes("Locked", "", human=True), ("incident", incident)),
    )


def forbidden(case: Case, sentence: str) -> Answer:
    return Answer(
        allowed=False,
        reason=Reason.FORBIDDEN,
        message=f"NOT ALLOWED, {case.untouched}: {case.thing}. {sentence}",
        causes=_causes("Forbidden", "", human=True),
    )


def no_target(case: Case) -> Answer:
    return Answer(
        allowed=False,
        reason=Reason.NO_TARGET,
        message=f"NOT FOUND, {case.untouched}: {case.thing} does not exist any more, or is another object than the request shows. Look again before you ask.",
        causes=_causes("NoTarget", "", human=False),
    )


def invalid(sentences: tuple[str, ...], fault: str = "Invalid", signature: str = "") -> Answer:
    causes = (("outcome", "Refused"), ("fault", fault), ("signature", signature))
    return Answer(
        allowed=False,
        reason=Reason.INVALID,
        code=422 if fault == "Invalid" else 403,
        message=" ".join(sentences),
        causes=causes if signature else causes[:-1],
    )


def unknown(sentence: str) -> Answer:
    return Answer(allowed=False, reason=Reason.UNKNOWN, message=f"REFUSED: {sentence}", causes=(("outcome", "Refused"),))


def unable(sentence: str) -> Answer:
    """Our inability, under another name than a policy's, so that an outage never looks like one."""
    return Answer(
        allowed=False,
        reason=Reason.UNABLE,
        code=503,
        message=f"COUNTERSIGN COULD NOT DECIDE, so nothing was changed: {sentence} Ask again; if it stays so, tell the platform team.",
        causes=(("outcome", "Unable"),),
    )


def _next_steps(case: Case, request: ChangeRequest, state: Standing | None) -> tuple[str, ...]:
    name = request.meta.name
    match case.who:
        case Agent(guise=None | Machine()) | Machine():
            return (
                "This is not a permission problem: changing RBAC or identity does not help, and signatures by agents or their sponsors do not count. "
                "Attempts by another route are held and recorded too.",
                "Next step: give this name to the person you work for and end this task here.",
                f"State: kubectl get {_RESOURCE} {name} -o jsonpath='{{.status.outcome}}'   (at most once a minute)",
                "Pending: come back later. Approved: send this same request again. Rejected or Expired: stop; the reason is in .status.message.",
            )
        case Human() | Agent():
            able = ", ".join(state.tally.eligible) if state and state.tally.eligible else "see .status.eligibleReviewers"
            return (
                f"Who can sign: {able}. They do it with kubectl and their SSH key:",
                f"  kubectl get {_RESOURCE} {name} -o jsonpath='{{.spec.statement}}' | tee {name}.txt",
                f"  ssh-keygen -Y sign -n {APPROVE} -f ~/.ssh/id_ed25519 {name}.txt",
                "  kubectl create -f approval.yaml        # changeRequest, reviewer, decision, comment, signature",
                f"Wait: kubectl wait --for=condition=Settled {_RESOURCE}/{name}; then send this same request again.",
            )


def _causes(outcome: str, name: str, *, human: bool) -> tuple[tuple[str, str], ...]:
    causes = [("outcome", outcome)]
    if name:
        causes.append(("changeRequest", f"{_RESOURCE}/{name}"))
    causes.append(("humanActionRequired", "true" if human else "false"))
    if outcome == "Pending":
        causes.append(("pollSeconds", str(POLL_SECONDS)))
    return tuple(causes)


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ")


def _quoted(text: str) -> str:
    """A reviewer's words in one line of printable characters."""
    return "".join(char if char.isprintable() else " " for char in text)[:500]
