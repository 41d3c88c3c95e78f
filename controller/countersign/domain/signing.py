"""Who may sign a change request, and whether one signature is that person's (docs/rules.md, Signatures). Counting them is approval.py's.

The rules are those of now: keys, reviewers, sponsors.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from countersign.domain.errors import CountersignError
from countersign.domain.identify import Agent, Human, Machine
from countersign.domain.request import UserInfo
from countersign.domain.resources import Approval, ChangeRequest, Reviewer, ReviewerKey, Verdict
from countersign.domain.snapshot import Snapshot
from countersign.domain.sshkey import KeyRefused, PublicKey, parse_public_key
from countersign.domain.sshsig import APPROVE, REJECT, SignatureRefused, parse_signature, verify
from countersign.domain.statement import render, timestamp


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
    AGAIN = "SignedAlready"
    CROWDED = "TooManyApprovals"


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


def check_request(request: ChangeRequest, snapshot: Snapshot) -> bytes:
    """The statement, rebuilt: the bytes to verify signatures over. Raises ApprovalRefused."""
    if request.cluster.uid != snapshot.cluster.uid:
        raise ApprovalRefused(
            Fault.OTHER_CLUSTER, f"The change request {request.meta.name} is about another cluster ({request.cluster.uid})."
        )
    rebuilt = render(request)
    if rebuilt != request.statement:
        raise ApprovalRefused(
            Fault.TAMPERED,
            f"The statement in {request.meta.name} is not what its fields say; do not sign it, and tell your platform team.",
        )
    return rebuilt.encode("ascii")


def check_creator(approval: Approval, creator: UserInfo, snapshot: Snapshot) -> None:
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


def check_bearer(name: str, reviewer: Reviewer | None, request: ChangeRequest, snapshot: Snapshot, barred_people: frozenset[str]) -> None:
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


def prove(approval: Approval, reviewer: Reviewer, statement: bytes, now: datetime) -> tuple[ReviewerKey, PublicKey]:
    """The registered key that signed, verified over the statement as `check_request` rebuilt it. Raises ApprovalRefused."""
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
        verify(signature, statement, namespace)
    except SignatureRefused as refusal:
        raise ApprovalRefused(Fault.SIGNATURE, str(refusal), signature=refusal.reason) from refusal
    return key, public


def _registered(signed_by: PublicKey, reviewer: Reviewer) -> tuple[ReviewerKey, PublicKey]:
    for key in reviewer.keys:
        public = _readable(key.public_key)
        if public is not None and public.blob == signed_by.blob:
            return key, public
    raise ApprovalRefused(
        Fault.UNKNOWN_KEY,
        f"The signature is by the key {signed_by.fingerprint}, which is not registered for {reviewer.meta.name}; sign with a registered key.",
    )


@lru_cache(maxsize=4096)
def _readable(line: str) -> PublicKey | None:
    """Remembered, since each signature is held against every key of its reviewer."""
    try:
        return parse_public_key(line)
    except KeyRefused:
        return None


def sponsors_now(request: ChangeRequest, snapshot: Snapshot) -> frozenset[str]:
    """The sponsors, as of now, of every identity that the request names or that its username matches."""
    sponsors: set[str] = set()
    widened = any(snapshot.environments[name].widens for name in request.environments if name in snapshot.environments)
    for name in request.requester.agents:
        if identity := snapshot.identities.get(name):
            sponsors.update(identity.sponsors)
            if widened and identity.could_become.covers(request.requester.username):
                sponsors.update(snapshot.directory.lenders(identity))
    match snapshot.directory.named(request.requester.username):
        case Agent(sponsors=more):
            sponsors.update(more)
        case Human() | Machine():
            pass
    return frozenset(sponsors)
