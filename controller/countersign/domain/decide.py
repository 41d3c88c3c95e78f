"""The rule. One pure function over everything that is known; its last line refuses (invariant 1)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from countersign.domain.answer import Reason
from countersign.domain.approval import Phase, Standing, standing
from countersign.domain.classify import HARDENED, Deletion, GuardedChange, Relabelling, Setting, fixed_losses
from countersign.domain.emergency import glass_is_broken, lockdown_in
from countersign.domain.identify import Agent, Human, Requester
from countersign.domain.profile import Profile
from countersign.domain.protect import Environments, Hold, hold, is_own_work, losing, matching, may_be_own_work
from countersign.domain.request import GroupResource, Operation, UserInfo
from countersign.domain.resources import ChangeRequest, Losses, Mode, Namespace, ProtectedEnvironment
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import act, digest_deleted


@dataclass(frozen=True, slots=True)
class Facts:
    """`losses`: of the namespace concerned, None where they were not counted (the look from memory, which never allows by itself).

    `home`: the namespace that a namespaced target lies in. `created`: the target's creationTimestamp.
    """

    who: Requester
    user: UserInfo
    change: GuardedChange
    snapshot: Snapshot
    now: datetime
    cool_off: timedelta
    held: Hold
    home: Namespace | None = None
    created: datetime | None = None
    losses: Losses | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """Let through, if a live look says the same. `request` is the change request that was signed for."""

    reason: Reason
    held: Environments = ()
    request: ChangeRequest | None = None
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Withhold:
    """Refused. `request` is the round that stands; `next_round` is set where a new one is to be opened."""

    reason: Reason
    held: Environments = ()
    request: ChangeRequest | None = None
    standing: Standing | None = None
    next_round: int = 0
    sentence: str = ""
    until: datetime | None = None


Verdict: TypeAlias = Permit | Withhold

_AGENT_ON_SETTINGS: Final = "Agents never create, change or delete reviewers, agent identities or environments, signed for or not."

_GENERATED: Final = "Give it a name of its own (metadata.name): a generated one cannot be signed for."


def decide(facts: Facts) -> Verdict:
    """
    1. What no signature can allow: agents writing to our settings.
    2. What no environment holds back from this requester.
    3. A lockdown: nothing of an agent passes that an environment enforces. Broken glass: everything of a human does.
    4. The requester's own fresh namespace.
    5. What is signed for: this act, or the deletion of the namespace it lies in.
    6. What only environments in Audit mode would hold back.
    7. Everything else is refused; what cannot be named again cannot be signed for.
    """
    if isinstance(facts.change, Setting) and isinstance(facts.who, Agent) and facts.who.guise is None:  # 1
        return Withhold(Reason.FORBIDDEN, sentence=_AGENT_ON_SETTINGS)
    if not facts.held.held:  # 2
        return Permit(Reason.EXCEPTED if facts.held.excepted else Reason.NOT_HELD, facts.held.excepted)
    enforcing = tuple(environment for environment in facts.held.held if environment.mode is Mode.ENFORCE)
    if enforcing and isinstance(facts.who, Agent) and lockdown_in(facts.snapshot):  # 3
        return Withhold(Reason.LOCKED, enforcing)
    if isinstance(facts.who, Human) and glass_is_broken(facts.snapshot, facts.now):
        return Permit(Reason.GLASS_BROKEN, facts.held.held)
    remaining = tuple(environment for environment in facts.held.held if not _is_own_work(environment, facts))
    if not remaining:  # 4
        return Permit(Reason.OWN_WORK, facts.held.held)
    enforced = tuple(environment for environment in remaining if environment.mode is Mode.ENFORCE)
    current = current_round(act_now(facts), facts.snapshot)
    state = _standing(current, facts, enforced) if current else None
    if current and state and state.phase is Phase.USABLE and _holds_all(state, enforced):  # 5
        return Permit(Reason.APPROVED, enforced, current, state)
    if covering := _covering(facts, enforced):
        return Permit(Reason.COVERED, enforced, *covering)
    if not enforced:  # 6
        return Permit(Reason.AUDIT, remaining)
    if isinstance(facts.change, Setting) and facts.change.generated:  # 7
        return Withhold(Reason.FORBIDDEN, enforced, sentence=_GENERATED)
    return _withhold(facts, enforced, current, state)


def guarded_kinds(profile: Profile, who: Requester) -> frozenset[GroupResource]:
    """The kinds whose deletion each environment holds back from a requester besides the built-in ones: in the hardened profile, from agents."""
    return HARDENED if profile is Profile.HARDENED and isinstance(who, Agent) else frozenset()


def holding(change: GuardedChange, who: Requester, user: UserInfo, snapshot: Snapshot, profile: Profile = Profile.STANDARD) -> Hold:
    """The environments that hold back a deletion or a relabelling; settings are judged in `register.py`. Raises UnableError."""
    match change:
        case Deletion():
            return hold(matching(change, snapshot, guarded_kinds(profile, who)), who, user, snapshot.directory)
        case Relabelling():
            return hold(losing(change, snapshot), who, user, snapshot.directory)
        case Setting():
            raise TypeError("settings have rules of their own")


def act_now(facts: Facts) -> str:
    target, change = facts.change.target, facts.change.change
    return act(
        cluster_uid=facts.snapshot.cluster.uid,
        operation=operation_of(facts.change),
        group=target.group,
        resource=target.resource,
        namespace=target.namespace,
        name=target.name,
        uid=target.uid,
        old=change.old,
        new=change.new,
        requester_key=facts.who.key,
    )


def act_of_home(facts: Facts) -> str:
    """The act of deleting the namespace that the target lies in, by the same requester; "" where there is none."""
    home = facts.home
    if home is None or not isinstance(facts.change, Deletion) or not facts.change.target.namespace:
        return ""
    return act(
        cluster_uid=facts.snapshot.cluster.uid,
        operation=Operation.DELETE,
        group="",
        resource="namespaces",
        namespace="",
        name=home.meta.name,
        uid=home.meta.uid,
        old=digest_deleted(home.document),
        new="",
        requester_key=facts.who.key,
    )


def operation_of(change: GuardedChange) -> Operation:
    match change:
        case Deletion():
            return Operation.DELETE
        case Relabelling():
            return Operation.UPDATE
        case Setting(operation=operation):
            return operation


def current_round(digest: str, snapshot: Snapshot) -> ChangeRequest | None:
    """The highest round that exists for an act."""
    return max(snapshot.rounds.get(digest, ()), key=lambda request: request.round, default=None)


def _is_own_work(environment: ProtectedEnvironment, facts: Facts) -> bool:
    if not isinstance(facts.change, Deletion) or (isinstance(facts.who, Agent) and facts.who.guise):
        return False  # what an agent did under another's name bears that name, too
    if facts.losses is not None and facts.losses.volumes != 0:
        return False
    if facts.change.kind in HARDENED:
        return _lies_in_own_work(environment, facts.change, facts)
    return may_be_own_work(environment, facts.change, facts.created, facts.user, facts.now)


def _lies_in_own_work(environment: ProtectedEnvironment, deletion: Deletion, facts: Facts) -> bool:
    """What takes no claim with it goes as its namespace would."""
    home = facts.home
    if home is None or deletion.takes_claims:
        return False
    return is_own_work(environment, home.annotations, home.meta.created, facts.user, facts.now)


def _standing(request: ChangeRequest, facts: Facts, environments: Environments) -> Standing:
    fixed = fixed_losses(facts.change.target) if isinstance(facts.change, Deletion) else Losses()
    return standing(
        request,
        facts.snapshot,
        facts.now,
        environments=environments,
        who=facts.who,
        losses=facts.losses if fixed is None else fixed,
    )


def _holds_all(state: Standing, environments: Environments) -> bool:
    satisfied = {judgement.environment for judgement in state.tally.judgements if judgement.satisfied}
    return all(environment.meta.name in satisfied for environment in environments)


def _covering(facts: Facts, environments: Environments) -> tuple[ChangeRequest, Standing] | None:
    """An approved deletion of a namespace covers the same requester's deletions inside it, for the same window."""
    digest = act_of_home(facts)
    request = current_round(digest, facts.snapshot) if digest else None
    if request is None:
        return None
    state = standing(request, facts.snapshot, facts.now, environments=environments, who=facts.who, losses=facts.losses)
    return (request, state) if state.phase is Phase.USABLE and _holds_all(state, environments) else None


def _withhold(facts: Facts, held: Environments, current: ChangeRequest | None, state: Standing | None) -> Withhold:
    if current is None or state is None:
        return Withhold(Reason.PENDING, held, next_round=1)
    match state.phase:
        case Phase.REJECTED:
            rejected = state.tally.rejection.meta.created if state.tally.rejection else None
            until = rejected + facts.cool_off if rejected else None
            if until is None or facts.now < until:
                return Withhold(Reason.REJECTED, held, current, state, sentence=state.why, until=until)
            return Withhold(Reason.PENDING, held, current, state, next_round=current.round + 1)
        case Phase.ENDED:
            return Withhold(Reason.PENDING, held, current, state, next_round=current.round + 1)
        case Phase.PENDING | Phase.USABLE:
            return Withhold(Reason.PENDING, held, current, state)
