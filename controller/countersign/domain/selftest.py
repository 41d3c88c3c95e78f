"""What `countersign selftest` reads out of one attempt of its throw-away agent, and what it says of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from countersign.domain.names import GROUP
from countersign.domain.resources import Mode, ProtectedEnvironment, Selector

NAME: Final = "countersign-selftest"
"""Of the throw-away namespace and AgentIdentity, and of the account that makes them."""
AGENT_ACCOUNT: Final = "countersign-selftest-agent"

_DENIED: Final = f'.{GROUP}" denied the request'
_UNDECIDED: Final = "COULD NOT DECIDE"
_RECORDED: Final = "would be refused"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the API server answered; `status` 0: nothing."""

    status: int
    message: str = ""
    warnings: tuple[str, ...] = ()


class Outcome(Enum):
    HELD = auto()
    RECORDED = auto()  # let through by an environment in Audit mode, and written down
    LET_THROUGH = auto()
    UNDECIDED = auto()  # held, but by a fault of ours
    UNANSWERED = auto()  # held, since no webhook answers
    NOT_ALLOWED = auto()  # RBAC, or the token: the attempt has not come as far as admission
    OTHER = auto()

    @property
    def settled(self) -> bool:
        """Whether waiting longer would change nothing."""
        return self in (Outcome.HELD, Outcome.RECORDED)


def outcome_of(attempt: Attempt) -> Outcome:
    message = attempt.message
    if _UNDECIDED in message:
        return Outcome.UNDECIDED
    if _DENIED in message:
        return Outcome.HELD
    if "failed calling webhook" in message:
        return Outcome.UNANSWERED
    if HTTPStatus.OK <= attempt.status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome.RECORDED if any(_RECORDED in warning for warning in attempt.warnings) else Outcome.LET_THROUGH
    if attempt.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and "ValidatingAdmissionPolicy" not in message:
        return Outcome.NOT_ALLOWED
    return Outcome.OTHER


def labels_for(selector: Selector) -> dict[str, str]:
    """Labels by which a namespace is selected, where any are."""
    labels = dict(selector.match_labels)
    for requirement in selector.match_expressions:
        match requirement.operator:
            case "In":
                labels.setdefault(requirement.key, requirement.values[0])
            case "Exists":
                labels.setdefault(requirement.key, "")
            case _:
                continue
    return labels


def success(outcome: Outcome, default: ProtectedEnvironment, seconds: float) -> str:
    if outcome is Outcome.RECORDED:
        return (
            f"RECORDED after {seconds:.1f} s, not refused: the ProtectedEnvironment default is in mode {default.mode.value}. "
            "Agents are held back once it says Enforce (value default.mode)."
        )
    return f"IN FORCE after {seconds:.1f} s: an agent's deletion of a namespace is held back until people sign for it."


def failure(outcome: Outcome, attempt: Attempt, default: ProtectedEnvironment, *, registered: bool, namespace: str) -> str:
    """`registered`: whether the webhook configuration is there. What is wrong, then where to look."""
    operator = f"kubectl -n {namespace} logs deployment/countersign-operator"
    webhook = f"kubectl -n {namespace} get pods; kubectl -n {namespace} logs deployment/countersign-webhook"
    match outcome:
        case Outcome.LET_THROUGH if not registered:
            return (
                "NOT IN FORCE: an agent's deletion is let through, since there is no ValidatingWebhookConfiguration countersign. "
                f"The operator makes it: {operator}"
            )
        case Outcome.LET_THROUGH if default.mode is Mode.ENFORCE:
            return (
                "NOT IN FORCE: an agent's deletion is let through. The operator has not put the throw-away agent into the guards: "
                f"kubectl describe agentidentities {NAME}; {operator}"
            )
        case Outcome.LET_THROUGH:
            return f"NOT IN FORCE: an agent's deletion is let through, and nothing says that it was recorded (mode {default.mode.value}): {operator}"
        case Outcome.UNDECIDED:
            return f"FAILS CLOSED: deletions are held, but by a fault of Countersign: {attempt.message}\nLook at: {webhook}"
        case Outcome.UNANSWERED:
            return f"FAILS CLOSED: deletions are held, but since no webhook answers: {attempt.message}\nLook at: {webhook}"
        case Outcome.NOT_ALLOWED:
            return f"NOT TESTED: the throw-away agent was not let as far as Countersign: {attempt.status} {attempt.message}"
        case _:
            return f"NOT TESTED: the API server answered {attempt.status} {attempt.message}"


def cannot_be_covered(default: ProtectedEnvironment, labels: Iterable[tuple[str, str]]) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in labels) or "no labels"
    return (
        f"NOT TESTED: the ProtectedEnvironment default covers no namespace {NAME} ({shown}): its selector contradicts itself, or it excludes "
        f"that name. Look at: kubectl get protectedenvironments {default.meta.name} -o yaml"
    )
