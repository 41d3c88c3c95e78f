"""From a request and a snapshot to a verdict: the pure part of a review, done once from memory and once after a live look."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from countersign.domain.answer import Reason
from countersign.domain.classify import NAMESPACES, Deletion, GuardedChange, Relabelling, Setting
from countersign.domain.decide import Facts, Verdict, Withhold, act_now, act_of_home, current_round, decide, holding
from countersign.domain.document import text
from countersign.domain.identify import Agent
from countersign.domain.protect import Hold, registration_is_closed
from countersign.domain.register import SettingHold, setting_hold
from countersign.domain.request import Operation, Request
from countersign.domain.resources import AgentIdentity, Losses, ProtectedEnvironment, Reviewer
from countersign.domain.selfcheck import NOTHING_FOUND, Findings, check_environment, check_identity, check_reviewer
from countersign.domain.snapshot import Snapshot
from countersign.service.opening import request_names
from countersign.service.ports import Look, Parsers, Question

_NO_DEFAULT: Final = (
    "Registration is closed and the environment `default`, which says who may open it, is missing; "
    "restore it with `helm upgrade`, then ask again."
)


@dataclass(frozen=True, slots=True)
class Terms:
    """The installation's own settings that a decision depends on."""

    cool_off: timedelta
    our_namespace: str


@dataclass(frozen=True, slots=True)
class Judged:
    """`findings` are those of a setting's own check; their errors refuse whatever the verdict is."""

    facts: Facts
    verdict: Verdict
    findings: Findings = NOTHING_FOUND


class Judge:
    def __init__(self, parsers: Parsers, terms: Terms) -> None:
        self._parsers = parsers
        self._terms = terms

    def judge(self, request: Request, change: GuardedChange, snapshot: Snapshot, now: datetime, losses: Losses | None) -> Judged:
        """Raises UnableError where the snapshot lacks what the rule needs, CountersignError for an object of ours that cannot be read."""
        who = snapshot.directory.identify(request.user)
        findings = NOTHING_FOUND
        if isinstance(change, Setting):
            held, findings, closed_for_good = self._setting(request, change, snapshot, now)
        else:
            held, closed_for_good = holding(change, who, request.user, snapshot), False
        facts = Facts(
            who=who,
            user=request.user,
            change=change,
            snapshot=snapshot,
            now=now,
            cool_off=self._terms.cool_off,
            held=held,
            home=snapshot.namespaces.get(change.target.namespace) if change.target.namespace else None,
            created=_created(request),
            losses=losses,
        )
        if closed_for_good and not isinstance(who, Agent):
            return Judged(facts, Withhold(Reason.FORBIDDEN, sentence=_NO_DEFAULT), findings)
        return Judged(facts, decide(facts), findings)

    def _setting(self, request: Request, change: Setting, snapshot: Snapshot, now: datetime) -> tuple[Hold, Findings, bool]:
        old = self._parsers.setting(request.resource, request.old_object) if request.old_object is not None else None
        new = self._parsers.setting(request.resource, request.object) if request.object is not None else None
        if change.operation is Operation.DELETE:
            new = None
        who = snapshot.directory.identify(request.user)
        result: SettingHold = setting_hold(change, old, new, who, request.user, snapshot, now)
        findings = self._check(new, snapshot, now) if new is not None else NOTHING_FOUND
        if old is not None and findings.errors:
            known = set(self._check(old, snapshot, now).errors)
            findings = Findings(tuple(error for error in findings.errors if error not in known), findings.warnings)
        return result.hold, findings, result.closed_for_good

    def _check(self, new: AgentIdentity | Reviewer | ProtectedEnvironment, snapshot: Snapshot, now: datetime) -> Findings:
        match new:
            case AgentIdentity():
                return check_identity(new, snapshot, our_namespace=self._terms.our_namespace)
            case Reviewer():
                return check_reviewer(new, snapshot, now)
            case ProtectedEnvironment():
                return check_environment(new, snapshot, closed=registration_is_closed(snapshot, now), now=now)


def question(judged: Judged) -> Question:
    """What the live look must read for this verdict: the round that stands and the next one, of this act and of the namespace's."""
    facts = judged.facts
    current = current_round(act_now(facts), facts.snapshot)
    wanted = [current.meta.name] if current else []
    wanted.append(request_names(facts, current.round + 1 if current else 1)[0])
    home_act = act_of_home(facts)
    home = current_round(home_act, facts.snapshot) if home_act else None
    losses = facts.change.target if isinstance(facts.change, Deletion) and facts.change.kind == NAMESPACES else None
    if home is not None:
        wanted.append(home.meta.name)
        losses = home.target
    return Question(requests=tuple(wanted), namespace=_namespace(facts), losses=losses)


def losses_seen(look: Look, asked: Question) -> Losses | None:
    return look.losses if asked.losses is not None else None


def _namespace(facts: Facts) -> str:
    match facts.change:
        case Deletion(target=target, home=home) as deletion:
            return target.name if deletion.kind == NAMESPACES else home
        case Relabelling(target=target):
            return target.name
        case Setting():
            return ""


def _created(request: Request) -> datetime | None:
    written = text(request.old_object, "metadata", "creationTimestamp")
    try:
        return datetime.fromisoformat(written).astimezone(UTC) if written else None
    except ValueError:
        return None
