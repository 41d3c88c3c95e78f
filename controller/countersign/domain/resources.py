"""Our five resources as the core sees them (docs/rules.md). The wire layer parses into these; the schemas live there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from countersign.domain.request import GroupResource


class ProtectFrom(StrEnum):
    AGENTS = "Agents"
    PEOPLE = "People"
    EVERYONE = "Everyone"

    @property
    def strictness(self) -> int:
        return (ProtectFrom.AGENTS, ProtectFrom.PEOPLE, ProtectFrom.EVERYONE).index(self)


class Mode(StrEnum):
    AUDIT = "Audit"
    ENFORCE = "Enforce"


class WhenImpersonated(StrEnum):
    """What an environment makes of it that an agent could become somebody else (docs/posture.md)."""

    REPORT = "Report"
    WIDEN = "Widen"


class Registration(StrEnum):
    OPEN = "Open"
    CLOSED = "Closed"


class Verdict(StrEnum):
    APPROVE = "Approve"
    REJECT = "Reject"


class Outcome(StrEnum):
    PENDING = "Pending"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    EXECUTED = "Executed"
    EXPIRED = "Expired"


class SubjectKind(StrEnum):
    SERVICE_ACCOUNT = "ServiceAccount"
    USER = "User"
    GROUP = "Group"


@dataclass(frozen=True, slots=True)
class Meta:
    """What of an object's metadata decisions depend on. `created` is the API server's clock, UTC."""

    name: str
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    created: datetime | None = None
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """One way to recognise a requester. All fields given must match.

    ServiceAccount: `namespace` and `name` ("*" for every account of the namespace). User: `name` is an anchored glob (`*` and `?`).
    Group: `name` exactly. `groups`: all of them must be held. `extra`: for each key one of the values (globs).
    """

    kind: SubjectKind
    name: str
    namespace: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Becoming:
    """Whose names an agent could act under. `users`: usernames, or "*" for all that are no ServiceAccounts.

    `accounts`: ServiceAccounts as "namespace/name", "namespace/*" or "*/*".
    """

    users: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()

    def covers(self, username: str) -> bool:
        if not username.startswith(_ACCOUNT):
            return "*" in self.users or username in self.users
        namespace, _, name = username.removeprefix(_ACCOUNT).partition(":")
        return not self.accounts.isdisjoint((f"{namespace}/{name}", f"{namespace}/*", "*/*"))

    def __or__(self, other: "Becoming") -> "Becoming":
        return Becoming(self.users | other.users, self.accounts | other.accounts)

    def __bool__(self) -> bool:
        return bool(self.users or self.accounts)


ANYBODY: Final = Becoming(frozenset({"*"}), frozenset({"*/*"}))
_ACCOUNT: Final = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """`could_become` is what the operator has found in RBAC (status); not known yet is taken for everybody."""

    meta: Meta
    subjects: tuple[Subject, ...]
    sponsors: tuple[str, ...] = ()
    sponsor_from_username: bool = False
    could_become: Becoming = ANYBODY


@dataclass(frozen=True, slots=True)
class ReviewerKey:
    """`public_key` is the text of one OpenSSH public key line (type and base64, comment optional)."""

    name: str
    public_key: str
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reviewer:
    meta: Meta
    usernames: tuple[str, ...]
    teams: tuple[str, ...] = ()
    keys: tuple[ReviewerKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirement:
    """One matchExpressions entry of a LabelSelector: operator In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """A metav1.LabelSelector. Empty matches every namespace."""

    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        for key, value in self.match_labels.items():  # a loop, not all(): asked of each environment at each decision
            if labels.get(key) != value:
                return False
        return not self.match_expressions or all(_holds(requirement, labels) for requirement in self.match_expressions)


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case operator:
            raise ValueError(f"unknown selector operator {operator!r}")


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    required: int = 1
    teams: tuple[str, ...] = ()
    hardware_keys_only: bool = False
    use_within: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Lockdown:
    """A guard was tampered with: until people lift `incident`, nothing guarded is let through for an agent. `what` is a sentence."""

    incident: str
    since: datetime
    guard: str
    what: str


@dataclass(frozen=True, slots=True)
class Glass:
    """An announcement that a human does without signatures for a while, from `since` on; `by` is a username."""

    since: datetime
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class ProtectedEnvironment:
    """A set of namespaces (by `selector`, less `exclude`) and the listed kinds in them; `resources` adds to the built-in kinds.

    `glass`, `lockdown` (from its status, which the operator alone writes) and `lockdown_lifted` (an incident) are those of `default`.
    """

    meta: Meta
    protect_from: ProtectFrom
    selector: Selector = Selector()
    exclude: tuple[str, ...] = ()
    exceptions: tuple[Subject, ...] = ()
    own_work: timedelta | None = None
    mode: Mode = Mode.ENFORCE
    approvals: ApprovalRules = ApprovalRules()
    registration: Registration | None = None
    resources: tuple[GroupResource, ...] = ()
    lockdown_lifted: str = ""
    lockdown: Lockdown | None = None
    glass: Glass | None = None
    when_impersonated: WhenImpersonated = WhenImpersonated.REPORT

    @property
    def widens(self) -> bool:
        """Whether everyone whom an agent could become counts as that agent."""
        return self.when_impersonated is WhenImpersonated.WIDEN

    def covers(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return namespace not in self.exclude and self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class Cluster:
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Target:
    group: str
    version: str
    resource: str
    name: str
    namespace: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """`old` and `new` are "sha256:<hex>" or ""; `lines` are for people."""

    old: str = ""
    new: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Losses:
    """What cannot be rebuilt. None: not counted for this kind of target."""

    volumes: int | None = None
    load_balancers: int | None = None

    def exceed(self, signed: "Losses") -> bool:
        """Whether more would be lost than was signed for."""
        return (self.volumes or 0) > (signed.volumes or 0) or (self.load_balancers or 0) > (signed.load_balancers or 0)


@dataclass(frozen=True, slots=True)
class Requester:
    """`key` names the requester in the act (docs/rules.md, requester.key); `agents` and `sponsors` are sorted."""

    username: str
    key: str
    agents: tuple[str, ...] = ()
    sponsors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    meta: Meta
    cluster: Cluster
    operation: str
    target: Target
    change: Change
    losses: Losses
    requester: Requester
    environments: tuple[str, ...]
    required: int
    round: int
    expires_at: datetime
    statement: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    meta: Meta
    change_request: str
    reviewer: str
    verdict: Verdict
    comment: str
    signature: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace as classification and protection need it; `document` is the JSON it was read from, less managedFields."""

    meta: Meta
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    document: Mapping[str, object]
