"""Which signatures count for a change request: the one rule that the webhook decides by and the operator shows.

The rules are those of now (keys, reviewers, sponsors, environments), and besides them what the request's spec holds:
required, sponsors, environments, losses (docs/rules.md, Quorum and its time).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from countersign.domain.identify import Agent, Human, Machine
from countersign.domain.request import UserInfo
from countersign.domain.resources import (
    Approval,
    ChangeRequest,
    Losses,
    ProtectedEnvironment,
    Verdict,
)
from countersign.domain.signing import ApprovalRefused, Fault, Vote, check_bearer, check_creator, check_request, prove, sponsors_now
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import act_of, timestamp

MOST_APPROVALS: Final = 1000
"""Of one request, so that counting is bounded: the earliest count. A person adds one at the most, and creation refuses what adds nothing."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One environment, judged by itself."""

    environment: str
    required: int
    votes: tuple[Vote, ...]
    quorum_at: datetime | None
    use_within: timedelta

    @property
    def satisfied(self) -> bool:
        return self.quorum_at is not None


@dataclass(frozen=True, slots=True)
class Tally:
    """`refused` says of each approval that does not count why; `usable_until` is None until the quorum is reached."""

    votes: tuple[Vote, ...]
    required: int
    judgements: tuple[Judgement, ...]
    refused: Mapping[str, str]
    rejection: Approval | None
    eligible: tuple[str, ...]
    quorum_at: datetime | None
    usable_until: datetime | None

    @property
    def counted(self) -> int:
        """How many of `required` are there, for people: never all of them while an environment waits for somebody of its own."""
        missing = max(self.required - len(self.votes), *(judgement.required - len(judgement.votes) for judgement in self.judgements), 0)
        return max(self.required - missing, 0)


class Phase(StrEnum):
    PENDING = "Pending"
    USABLE = "Approved"
    REJECTED = "Rejected"
    ENDED = "Expired"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a round stands at one moment; `why` is a sentence once it is over."""

    phase: Phase
    tally: Tally
    why: str = ""


def standing(
    request: ChangeRequest,
    snapshot: Snapshot,
    now: datetime,
    *,
    environments: Iterable[ProtectedEnvironment] = (),
    who: Agent | Human | Machine | None = None,
    losses: Losses | None = None,
) -> Standing:
    """Where the round stands. `environments` adds those that match now, `who` whoever asks now; `losses` None: not recounted."""
    result = tally(request, snapshot, environments=environments, who=who, now=now)
    if result.rejection is not None:
        return Standing(Phase.REJECTED, result, f"{result.rejection.reviewer} rejected it: {result.rejection.comment or 'no comment'}")
    if losses is not None and losses.exceed(request.losses):
        return Standing(Phase.ENDED, result, "more would be lost now than was signed for")
    if now >= request.expires_at:
        return Standing(Phase.ENDED, result, f"it expired at {timestamp(request.expires_at)}")
    if result.usable_until is None:
        return Standing(Phase.PENDING, result)
    if now >= result.usable_until:
        return Standing(Phase.ENDED, result, f"it was approved, but not used before {timestamp(result.usable_until)}")
    return Standing(Phase.USABLE, result)


def tally(
    request: ChangeRequest,
    snapshot: Snapshot,
    *,
    now: datetime,
    environments: Iterable[ProtectedEnvironment] = (),
    who: Agent | Human | Machine | None = None,
) -> Tally:
    """Count the signatures on a request: one per person, verified against the keys as they are now."""
    barred_people = frozenset(request.requester.sponsors) | sponsors_now(request, snapshot) | _barred_by(who)
    judged = _judged(request, snapshot, environments)
    approvals = sorted(snapshot.approvals.get(request.meta.name, ()), key=_by_time)
    votes: dict[str, Vote] = {}
    keys: set[bytes] = set()
    refused: dict[str, str] = {}
    rejection = next((approval for approval in approvals if approval.verdict is Verdict.REJECT), None)
    for approval in approvals[:MOST_APPROVALS]:
        if approval.verdict is Verdict.REJECT:
            continue
        if approval.reviewer in votes:
            refused[approval.meta.name] = f"{approval.reviewer} has signed already; one person counts once."
            continue
        try:
            vote, key = _vote(approval, request, snapshot, barred_people, now)
            _check_use(vote, judged, snapshot)
        except ApprovalRefused as refusal:
            refused[approval.meta.name] = str(refusal)
            continue
        if key in keys:
            refused[approval.meta.name] = (
                f"The key {vote.key} of {vote.reviewer} has signed already in another's name; one key counts once."
            )
            continue
        keys.add(key)
        votes[approval.reviewer] = vote
    more = _one_more(request, snapshot, who)
    judgements = tuple(_judge(environment, tuple(votes.values()), snapshot, more) for environment in judged)
    required = max([request.required, *(judgement.required for judgement in judgements)])
    quorum_at = _quorum(tuple(votes.values()), required, judgements)
    window = min((judgement.use_within for judgement in judgements), default=timedelta(hours=1))
    return Tally(
        votes=tuple(votes.values()),
        required=required,
        judgements=judgements,
        refused=refused,
        rejection=rejection,
        eligible=_eligible(request, snapshot, barred_people, judged),
        quorum_at=quorum_at,
        usable_until=min(request.expires_at, quorum_at + window) if quorum_at else None,
    )


def check(approval: Approval, request: ChangeRequest | None, creator: UserInfo, snapshot: Snapshot, now: datetime) -> Vote:
    """Whether this Approval may be created by this API user now. Raises ApprovalRefused with the exact reason.

    A second hurdle only: at every decision the signature is verified again (invariant 4).
    """
    # 1. The request: there, ours, as it was written, and still open.
    if request is None:
        raise ApprovalRefused(Fault.NO_REQUEST, f"There is no change request {approval.change_request!r}; copy the name from the refusal.")
    statement = check_request(request, snapshot)
    # 2. Who brings it: the reviewer himself, a human.
    check_creator(approval, creator, snapshot)
    # 3. Whether this person may sign for this requester at all.
    reviewer = snapshot.reviewers.get(approval.reviewer)
    barred_people = frozenset(request.requester.sponsors) | sponsors_now(request, snapshot)
    check_bearer(approval.reviewer, reviewer, request, snapshot, barred_people)
    assert reviewer is not None
    # 4. The signature over the statement, by a key that counts now.
    key, public = prove(approval, reviewer, statement, now)
    vote = Vote(approval.meta.name, reviewer.meta.name, key.name, public.hardware, now)
    # 5. Whether it counts for any environment.
    _check_use(vote, _judged(request, snapshot, ()), snapshot)
    # 6. Whether the round is still open.
    state = standing(request, snapshot, now)
    if state.phase in (Phase.REJECTED, Phase.ENDED):
        raise ApprovalRefused(
            Fault.ENDED, f"The change request {request.meta.name} has ended: {state.why}. Only a new request can be signed."
        )
    later = max(snapshot.rounds.get(act_of(request), ()), key=_round, default=request)
    if later.round > request.round:
        raise ApprovalRefused(
            Fault.ENDED, f"The change request {request.meta.name} has ended: sign the one that came after it, {later.meta.name}."
        )
    # 7. Whether it adds anything.
    if approval.verdict is Verdict.APPROVE:
        _check_adds(approval, request, state, len(snapshot.approvals.get(request.meta.name, ())))
    return vote


def _check_adds(approval: Approval, request: ChangeRequest, state: Standing, present: int) -> None:
    before = next((vote for vote in state.tally.votes if vote.reviewer == approval.reviewer), None)
    if before is not None:
        raise ApprovalRefused(
            Fault.AGAIN,
            f"{approval.reviewer} has signed {request.meta.name} already ({before.approval}); one person counts once. To withdraw it, reject.",
        )
    if present >= MOST_APPROVALS:
        raise ApprovalRefused(
            Fault.CROWDED, f"{request.meta.name} has {present} approvals, and no more are counted; reject it, and ask again."
        )


def _vote(
    approval: Approval, request: ChangeRequest, snapshot: Snapshot, barred_people: frozenset[str], now: datetime
) -> tuple[Vote, bytes]:
    """The vote, and the key that signed it."""
    created = approval.meta.created
    if created is None or created > request.expires_at:
        raise ApprovalRefused(Fault.LATE, f"It was created after the change request expired ({timestamp(request.expires_at)}).")
    statement = check_request(request, snapshot)
    reviewer = snapshot.reviewers.get(approval.reviewer)
    check_bearer(approval.reviewer, reviewer, request, snapshot, barred_people)
    assert reviewer is not None
    key, public = prove(approval, reviewer, statement, now)
    return Vote(approval.meta.name, reviewer.meta.name, key.name, public.hardware, created), public.blob


def _check_use(vote: Vote, environments: tuple[ProtectedEnvironment, ...], snapshot: Snapshot) -> None:
    if not environments or any(_counts(vote, environment, snapshot) for environment in environments):
        return
    if not any(_in_team(vote.reviewer, environment, snapshot) for environment in environments):
        teams = sorted({team for environment in environments for team in environment.approvals.teams})
        raise ApprovalRefused(Fault.WRONG_TEAM, f"{vote.reviewer} is in none of the teams that may sign here: {', '.join(teams)}.")
    raise ApprovalRefused(Fault.SOFTWARE_KEY, f"Only hardware keys (sk-…) may sign here, and the key {vote.key} is none; sign with one.")


def _judged(request: ChangeRequest, snapshot: Snapshot, environments: Iterable[ProtectedEnvironment]) -> tuple[ProtectedEnvironment, ...]:
    """Those that match now, and those that the request names and that still exist."""
    by_name = {environment.meta.name: environment for environment in environments}
    for name in request.environments:
        if name in snapshot.environments:
            by_name.setdefault(name, snapshot.environments[name])
    return tuple(by_name[name] for name in sorted(by_name))


def _judge(environment: ProtectedEnvironment, votes: tuple[Vote, ...], snapshot: Snapshot, more: int) -> Judgement:
    counting = tuple(vote for vote in votes if _counts(vote, environment, snapshot))
    required = environment.approvals.required + more
    quorum_at = counting[required - 1].at if len(counting) >= required else None
    return Judgement(environment.meta.name, required, counting, quorum_at, environment.approvals.use_within)


def _counts(vote: Vote, environment: ProtectedEnvironment, snapshot: Snapshot) -> bool:
    return _in_team(vote.reviewer, environment, snapshot) and (vote.hardware or not environment.approvals.hardware_keys_only)


def _in_team(reviewer: str, environment: ProtectedEnvironment, snapshot: Snapshot) -> bool:
    teams = environment.approvals.teams
    person = snapshot.reviewers.get(reviewer)
    return not teams or (person is not None and any(team in teams for team in person.teams))


def _quorum(votes: tuple[Vote, ...], required: int, judgements: tuple[Judgement, ...]) -> datetime | None:
    """When the last hurdle fell: every environment's quorum and the largest number anyone requires."""
    if len(votes) < required:
        return None
    moments = [votes[required - 1].at]
    for judgement in judgements:
        if judgement.quorum_at is None:
            return None
        moments.append(judgement.quorum_at)
    return max(moments)


def _one_more(request: ChangeRequest, snapshot: Snapshot, who: Agent | Human | Machine | None) -> int:
    """A human requester who is nobody registered (a shared admin account) needs one signature more (invariant 3)."""
    person = who.guise if isinstance(who, Agent) else who
    if isinstance(person, Human) and not person.reviewer:
        return 1
    username = request.requester.username
    if request.requester.agents or username.startswith("system:"):
        return 0
    return 0 if any(username in reviewer.usernames for reviewer in snapshot.reviewers.values()) else 1


def _barred_by(who: Agent | Human | Machine | None) -> frozenset[str]:
    """Who asks now may bear another name than who asked first: agents that only globs and groups match share an act."""
    match who:
        case Agent(username=username, sponsors=sponsors, lenders=lenders):
            return frozenset((username, *sponsors, *lenders))
        case Human(username=username) | Machine(username=username):
            return frozenset((username,))
        case None:
            return frozenset()


def _eligible(
    request: ChangeRequest, snapshot: Snapshot, barred_people: frozenset[str], environments: tuple[ProtectedEnvironment, ...]
) -> tuple[str, ...]:
    names = []
    for name, reviewer in sorted(snapshot.reviewers.items()):
        try:
            check_bearer(name, reviewer, request, snapshot, barred_people)
        except ApprovalRefused:
            continue
        if reviewer.keys and (not environments or any(_in_team(name, environment, snapshot) for environment in environments)):
            names.append(name)
    return tuple(names)


def _round(request: ChangeRequest) -> int:
    return request.round


def _by_time(approval: Approval) -> tuple[float, str]:
    created = approval.meta.created
    return (created.timestamp() if created else float("inf"), approval.meta.name)
