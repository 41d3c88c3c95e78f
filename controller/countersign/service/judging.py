"""From a request and a snapshot to a verdict: the pure part of a review, done once from memory and once after a live look."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from countersign.domain.answer import Reason
from countersign.domain.classify import HARDENED, NAMESPACES, REVIEWERS, Deletion, GuardedChange, Relabelling, Setting
from countersign.domain.decide import Facts, Verdict, Withhold, act_now, act_of_home, current_round, decide, holding, operation_of
from countersign.domain.document import text
from countersign.domain.emergency import glass_faults
from countersign.domain.identify import Agent, Requester
from countersign.domain.profile import Profile
from countersign.domain.protect import Hold, asker, registration_is_closed
from countersign.domain.register import SettingHold, notes, setting_hold
from countersign.domain.request import GroupResource, Operation, Request, UserInfo
from countersign.domain.resources import AgentIdentity, Losses, ProtectedEnvironment, Reviewer
from countersign.domain.selfcheck import NOTHING_FOUND, Findings, check_environment, check_identity, check_reviewer
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import act_of, names
from countersign.service.ports import Look, Parsers, Question

_NO_DEFAULT: Final = (
    "Registration is closed and the environment `default`, which says who may open it, is missing; "
    "restore it with `helm upgrade --set default.registration=Closed`, then ask again."
)

_NO_ROOM: Final = (
    "There is no room for so many single names: the API server bounds how many it can be told to hold back. "
    "Name agents by a group, a glob or all accounts of a namespace, or remove identities that are no longer used."
)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Terms:
    """The installation's own settings that a decision depends on."""

    cool_off: timedelta
    our_namespace: str
    profile: Profile = Profile.STANDARD
    glass_ahead: timedelta = timedelta(minutes=5)


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

    def kinds(self, snapshot: Snapshot) -> frozenset[GroupResource]:
        """The kinds whose deletion may be guarded, besides the built-in ones."""
        return snapshot.listed | (HARDENED if self._terms.profile is Profile.HARDENED else frozenset())

    def judge(self, request: Request, change: GuardedChange, snapshot: Snapshot, now: datetime, losses: Losses | None) -> Judged:
        """Raises UnableError where the snapshot lacks what the rule needs, CountersignError for an object of ours that cannot be read."""
        who = snapshot.directory.identify(request.user)
        findings = NOTHING_FOUND
        if isinstance(change, Setting) and not isinstance(who, Agent):  # agents never may: what they wrote need not be read
            held, findings, closed_for_good = self._setting(request, change, who, snapshot, now)
        elif isinstance(change, Setting):
            held, closed_for_good = Hold((), ()), False
        else:
            held, closed_for_good = holding(change, who, request.user, snapshot, self._terms.profile), False
        facts = Facts(
            who=snapshot.directory.counted(request.user) if any(environment.widens for environment in held.held) else who,
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
        if closed_for_good:
            return Judged(facts, Withhold(Reason.FORBIDDEN, sentence=_NO_DEFAULT), findings)
        return Judged(facts, decide(facts), findings)

    def _setting(self, request: Request, change: Setting, who: Requester, snapshot: Snapshot, now: datetime) -> tuple[Hold, Findings, bool]:
        old = self._parsers.setting(request.resource, request.old_object) if request.old_object is not None else None
        new = self._parsers.setting(request.resource, request.object) if request.object is not None else None
        if change.operation is Operation.DELETE:
            new = None
        result: SettingHold = setting_hold(change, old, new, who, request.user, snapshot)
        findings = self._check(new, snapshot, now, request.user) if new is not None else NOTHING_FOUND
        if old is not None and findings.errors:
            known = set(self._check(old, snapshot, now, request.user).errors)
            findings = Findings(tuple(error for error in findings.errors if error not in known), findings.warnings)
        if isinstance(new, ProtectedEnvironment):
            before = old if isinstance(old, ProtectedEnvironment) else None
            asking = asker(before or new, who, request.user, snapshot.directory)
            faults = glass_faults(before, new, asking, request.user, now, self._terms.glass_ahead)
            findings = replace(findings, errors=(*findings.errors, *faults))
        told = tuple(f"countersign: {note}" for note in notes(old, new, result.weaker))
        return result.hold, replace(findings, warnings=(*findings.warnings, *told)), result.closed_for_good

    def _check(self, new: AgentIdentity | Reviewer | ProtectedEnvironment, snapshot: Snapshot, now: datetime, by: UserInfo) -> Findings:
        match new:
            case AgentIdentity():
                return self._with_room(new, snapshot, check_identity(new, snapshot, our_namespace=self._terms.our_namespace, by=by))
            case Reviewer():
                return check_reviewer(new, snapshot, now)
            case ProtectedEnvironment():
                return check_environment(new, snapshot, closed=registration_is_closed(snapshot), now=now)

    def _with_room(self, new: AgentIdentity, snapshot: Snapshot, findings: Findings) -> Findings:
        """Past the last shard an identity is refused, never the surface widened (invariant 8)."""
        known = snapshot.identities.get(new.meta.name)
        # The API server gives a new object its time after admission; without one it would pass for the oldest.
        placed = replace(new, meta=known.meta if known else replace(new.meta, created=_LAST))
        if new.meta.name not in self._parsers.without_room({**snapshot.identities, new.meta.name: placed}.values()):
            return findings
        return replace(findings, errors=(*findings.errors, _NO_ROOM))


def question(judged: Judged) -> Question:
    """What the live look must read for this verdict: the round that stands and the next one, of this act and of the namespace's.

    A look has read enough once its own verdict asks for nothing further: only then is the current round known to be the last.
    """
    facts, target = judged.facts, judged.facts.change.target
    own = _Series(act_now(facts), operation_of(facts.change), target.resource, target.namespace, target.name)
    wanted = [*own.names(facts.snapshot)]
    losses = target if isinstance(facts.change, Deletion) and facts.change.kind == NAMESPACES else None
    home_act = act_of_home(facts)
    home = current_round(home_act, facts.snapshot) if home_act else None
    if home is not None:
        wanted += _Series(home_act, Operation.DELETE, NAMESPACES.resource, "", home.target.name).names(facts.snapshot)
        losses = home.target
    return Question(tuple(wanted), _namespace(facts), losses, all_requests=_may_register_freely(facts))


@dataclass(frozen=True, slots=True)
class _Series:
    """The rounds of one act, and the words of their names."""

    act: str
    operation: Operation
    resource: str
    namespace: str
    name: str

    def names(self, snapshot: Snapshot) -> Iterator[str]:
        """The current round's, and those under which the next one could be found."""
        current = current_round(self.act, snapshot)
        if current is not None:
            yield current.meta.name
        following = current.round + 1 if current else 1
        for name in names(
            operation=self.operation, resource=self.resource, namespace=self.namespace, name=self.name, act=self.act, round_=following
        ):
            yield name
            holder = snapshot.requests.get(name)
            if holder is None or act_of(holder) == self.act:
                return


def _may_register_freely(facts: Facts) -> bool:
    change = facts.change
    return isinstance(change, Setting) and change.kind == REVIEWERS and not registration_is_closed(facts.snapshot)


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
