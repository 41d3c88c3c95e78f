"""Which signatures count for a change request: the one rule that the webhook decides by and the operator shows.

The rules are those of now (keys, reviewers, sponsors, environments), and besides them what the request's spec holds:
required, sponsors, environments, losses (docs/rules.md, Quorum and its time).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from countersign.domain.errors import CountersignError
from countersign.domain.identify import Agent, Human, Machine
from countersign.domain.request import UserInfo
from countersign.domain.resources import (
    Approval,
    ChangeRequest,
    Losses,
    ProtectedEnvironment,
    Reviewer,
    ReviewerKey,
    Verdict,
)
from countersign.domain.snapshot import Snapshot
from countersign.domain.sshkey import KeyRefused, PublicKey, parse_public_key
from countersign.domain.sshsig import APPROVE, REJECT, SignatureRefused, parse_signature, verify
from countersign.domain.statement import act_of, render, timestamp


class Fault(StrEnum):
    """Why an approval is refused or does not count; a cause in the refusal and a word in the status."""

    NO_REQUEST = "NoSuchChangeRequest"
    TAMPERED = "StatementDiffers"
    OTHER_CLUSTER = "OtherCluster"
    ENDED = "RequestEnded"
    AGENT = "ByAnAgent"
    SERVICE_ACCOUNT = "ByAServiceAccount"
    STRANGER = "NotRegistered"
    NOT_THIS_REVIEWER = "NotThisReviewer"
    REQUESTER = "IsTheRequester"
    SPONSOR = "IsASponsor"
    NO_REVIEWER = "NoSuchReviewer"
    WRONG_TEAM = "WrongTeam"
    SOFTWARE_KEY = "HardwareKeyNeeded"
    UNKNOWN_KEY = "KeyNotRegistered"
    EXPIRED_KEY = "KeyExpired"
    WEAK_KEY = "KeyNotAccepted"
    SIGNATURE = "SignatureRefused"
    LATE = "TooLate"


class ApprovalRefused(CountersignError):
    """`signature` says of a refused signature what is wrong with it (a `SignatureFault`)."""

    def __init__(self, fault: Fault, sentence: str, *, signature: str = "") -> None:
        super().__init__(sentence)
        self.fault = fault
        self.signature = signature


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's signature that counts. `at` is the API server's creationTimestamp of the Approval."""

    approval: str
    reviewer: str
    key: str
    hardware: bool
    at: datetime


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
    barred_people = frozenset(request.requester.sponsors) | _sponsors_now(request, snapshot) | _barred_by(who)
    judged = _judged(request, snapshot, environments)
    approvals = sorted(snapshot.approvals.get(request.meta.name, ()), key=_by_time)
    votes: dict[str, Vote] = {}
    keys: set[bytes] = set()
    refused: dict[str, str] = {}
    rejection = next((approval for approval in approvals if approval.verdict is Verdict.REJECT), None)
    for approval in approvals:
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
    _check_request(request, snapshot)
    # 2. Who brings it: the reviewer himself, a human.
    _check_creator(approval, creator, snapshot)
    # 3. Whether this person may sign for this requester at all.
    reviewer = snapshot.reviewers.get(approval.reviewer)
    barred_people = frozenset(request.requester.sponsors) | _sponsors_now(request, snapshot)
    _check_bearer(approval.reviewer, reviewer, request, snapshot, barred_people)
    assert reviewer is not None
    # 4. The signature over the statement, by a key that counts now.
    key, public = _prove(approval, reviewer, request, now)
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
    return vote


def _check_request(request: ChangeRequest, snapshot: Snapshot) -> None:
    if request.cluster.uid != snapshot.cluster.uid:
        raise ApprovalRefused(
            Fault.OTHER_CLUSTER, f"The change request {request.meta.name} is about another cluster ({request.cluster.uid})."
        )
    if render(request) != request.statement:
        raise ApprovalRefused(
            Fault.TAMPERED,
            f"The statement in {request.meta.name} is not what its fields say; do not sign it, and tell your platform team.",
        )


def _check_creator(approval: Approval, creator: UserInfo, snapshot: Snapshot) -> None:
    match snapshot.directory.identify(creator):
        case Agent():
            raise ApprovalRefused(Fault.AGENT, "An agent cannot bring an Approval, whoever signed it; the reviewer creates it.")
        case Machine():
            raise ApprovalRefused(
                Fault.SERVICE_ACCOUNT,
                f"{creator.username} is not a person; an Approval is created by the reviewer, with the reviewer's own login.",
            )
        case Human(username=username, reviewer=""):
            raise ApprovalRefused(
                Fault.STRANGER, f"{username} is not a username of any Reviewer; ask your platform team to register it in a Reviewer."
            )
        case Human(reviewer=reviewer) if reviewer != approval.reviewer:
            raise ApprovalRefused(
                Fault.NOT_THIS_REVIEWER,
                f"You are {reviewer}, the Approval says {approval.reviewer}; a reviewer creates only his or her own.",
            )
        case Human():
            return


def _check_bearer(name: str, reviewer: Reviewer | None, request: ChangeRequest, snapshot: Snapshot, barred_people: frozenset[str]) -> None:
    """Two people, not two usernames (invariant 3)."""
    if reviewer is None:
        raise ApprovalRefused(Fault.NO_REVIEWER, f"There is no Reviewer {name!r}.")
    if request.requester.username in reviewer.usernames:
        raise ApprovalRefused(Fault.REQUESTER, f"{name} asked for this change; a second person has to sign.")
    if {name, *reviewer.usernames} & barred_people:
        raise ApprovalRefused(
            Fault.SPONSOR, f"{name} is a sponsor of the agent that asked ({request.requester.username}); a second person has to sign."
        )
    for username in reviewer.usernames:
        match snapshot.directory.named(username):
            case Agent():
                raise ApprovalRefused(Fault.AGENT, f"{username}, a username of {name}, is an agent's; agents do not sign.")
            case Machine():
                raise ApprovalRefused(Fault.SERVICE_ACCOUNT, f"{username}, a username of {name}, is not a person's.")
            case Human():
                continue


def _prove(approval: Approval, reviewer: Reviewer, request: ChangeRequest, now: datetime) -> tuple[ReviewerKey, PublicKey]:
    """The registered key that signed, verified over the bytes rebuilt from the request's fields. Raises ApprovalRefused."""
    try:
        signature = parse_signature(approval.signature)
    except SignatureRefused as refusal:
        raise ApprovalRefused(Fault.SIGNATURE, str(refusal), signature=refusal.reason) from refusal
    key, public = _registered(signature.key, reviewer)
    if key.not_after is not None and now >= key.not_after:
        raise ApprovalRefused(
            Fault.EXPIRED_KEY, f"The key {key.name} of {reviewer.meta.name} expired at {timestamp(key.not_after)}; register a new one."
        )
    namespace = APPROVE if approval.verdict is Verdict.APPROVE else REJECT
    try:
        verify(signature, render(request).encode("ascii"), namespace)
    except SignatureRefused as refusal:
        raise ApprovalRefused(Fault.SIGNATURE, str(refusal), signature=refusal.reason) from refusal
    return key, public


def _registered(signed_by: PublicKey, reviewer: Reviewer) -> tuple[ReviewerKey, PublicKey]:
    for key in reviewer.keys:
        try:
            public = parse_public_key(key.public_key)
        except KeyRefused:
            continue
        if public.blob == signed_by.blob:
            return key, public
    raise ApprovalRefused(
        Fault.UNKNOWN_KEY,
        f"The signature is by the key {signed_by.fingerprint}, which is not registered for {reviewer.meta.name}; sign with a registered key.",
    )


def _vote(
    approval: Approval, request: ChangeRequest, snapshot: Snapshot, barred_people: frozenset[str], now: datetime
) -> tuple[Vote, bytes]:
    """The vote, and the key that signed it."""
    created = approval.meta.created
    if created is None or created > request.expires_at:
        raise ApprovalRefused(Fault.LATE, f"It was created after the change request expired ({timestamp(request.expires_at)}).")
    _check_request(request, snapshot)
    reviewer = snapshot.reviewers.get(approval.reviewer)
    _check_bearer(approval.reviewer, reviewer, request, snapshot, barred_people)
    assert reviewer is not None
    key, public = _prove(approval, reviewer, request, now)
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
    if isinstance(who, Human) and not who.reviewer:
        return 1
    username = request.requester.username
    if request.requester.agents or username.startswith("system:"):
        return 0
    return 0 if any(username in reviewer.usernames for reviewer in snapshot.reviewers.values()) else 1


def _barred_by(who: Agent | Human | Machine | None) -> frozenset[str]:
    """Who asks now may bear another name than who asked first: agents that only globs and groups match share an act."""
    match who:
        case Agent(username=username, sponsors=sponsors):
            return frozenset((username, *sponsors))
        case Human(username=username) | Machine(username=username):
            return frozenset((username,))
        case None:
            return frozenset()


def _sponsors_now(request: ChangeRequest, snapshot: Snapshot) -> frozenset[str]:
    """The sponsors, as of now, of every identity that the request names or that its username matches."""
    sponsors: set[str] = set()
    for name in request.requester.agents:
        if identity := snapshot.identities.get(name):
            sponsors.update(identity.sponsors)
    match snapshot.directory.named(request.requester.username):
        case Agent(sponsors=more):
            sponsors.update(more)
        case Human() | Machine():
            pass
    return frozenset(sponsors)


def _eligible(
    request: ChangeRequest, snapshot: Snapshot, barred_people: frozenset[str], environments: tuple[ProtectedEnvironment, ...]
) -> tuple[str, ...]:
    names = []
    for name, reviewer in sorted(snapshot.reviewers.items()):
        try:
            _check_bearer(name, reviewer, request, snapshot, barred_people)
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
