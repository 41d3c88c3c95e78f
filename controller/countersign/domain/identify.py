"""Who asks: an agent, a human or a machine; from `userInfo` alone (invariant 5)."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeAlias

from countersign.domain.request import UserInfo
from countersign.domain.resources import AgentIdentity, Reviewer, Subject, SubjectKind

SERVICE_ACCOUNT: Final = "system:serviceaccount:"

# kube-controller-manager's own accounts (pkg/controller accounts of `--use-service-account-credentials`), never `kube-system:*`.
_CONTROLLERS: Final = (
    "attachdetach-controller",
    "certificate-controller",
    "cloud-node-controller",
    "cloud-provider",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "device-taint-eviction-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "ephemeral-volume-controller",
    "expand-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "job-controller",
    "legacy-service-account-token-cleaner",
    "namespace-controller",
    "node-controller",
    "persistent-volume-binder",
    "pod-garbage-collector",
    "pv-protection-controller",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resource-claim-controller",
    "resourcequota-controller",
    "root-ca-cert-publisher",
    "route-controller",
    "selinux-warning-controller",
    "service-account-controller",
    "service-cidrs-controller",
    "service-controller",
    "statefulset-controller",
    "storage-version-migrator-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
)
BUILTIN_CONTROLLERS: Final = frozenset(
    {"system:kube-controller-manager"} | {f"{SERVICE_ACCOUNT}kube-system:{name}" for name in _CONTROLLERS}
)


@dataclass(frozen=True, slots=True)
class Agent:
    """`identities` and `sponsors` are sorted; `key` names the requester in the act (docs/rules.md, requester.key).

    `guise`: who it seems to be, where no identity matches and it only counts as the agents that could have become it.
    `lenders`: usernames of people of whom any may run the agent that is behind it. They are of this moment, and stand in no change request.
    """

    username: str
    identities: tuple[str, ...]
    sponsors: tuple[str, ...]
    key: str
    guise: "Human | Machine | None" = None
    lenders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Human:
    """`reviewer` is the registered person of that username, or ""."""

    username: str
    reviewer: str

    @property
    def key(self) -> str:
        return _plain_key(self.username)


@dataclass(frozen=True, slots=True)
class Machine:
    username: str
    builtin: bool

    @property
    def key(self) -> str:
        return _plain_key(self.username)


Requester: TypeAlias = Agent | Human | Machine


_Entry: TypeAlias = tuple[AgentIdentity, Subject]


class Directory:
    """Identities and people, indexed: exact names, groups and namespaces by lookup, only globs one by one."""

    __slots__ = ("_by_group", "_by_namespace", "_by_username", "_globs", "_identities", "_last", "_lenders", "_named", "_people")

    def __init__(self, identities: Iterable[AgentIdentity], reviewers: Iterable[Reviewer]) -> None:
        self._by_username: dict[str, list[_Entry]] = {}
        self._by_group: dict[str, list[_Entry]] = {}
        self._by_namespace: dict[str, list[_Entry]] = {}
        self._globs: list[tuple[re.Pattern[str], _Entry]] = []
        self._identities = tuple(identities)
        for identity in self._identities:
            for subject in identity.subjects:
                self._add(identity, subject)
        self._people = {username: reviewer.meta.name for reviewer in reviewers for username in reviewer.usernames}
        self._named: dict[str, Requester] = {}
        self._lenders: dict[str, frozenset[str]] = {}
        self._last: tuple[UserInfo, Requester] | None = None

    def _add(self, identity: AgentIdentity, subject: Subject) -> None:
        entry = (identity, subject)
        match subject.kind:
            case SubjectKind.GROUP:
                self._by_group.setdefault(subject.name, []).append(entry)
            case SubjectKind.USER if is_glob(subject.name):
                self._globs.append((glob(subject.name), entry))
            case SubjectKind.SERVICE_ACCOUNT if subject.name == "*":
                self._by_namespace.setdefault(subject.namespace, []).append(entry)
            case SubjectKind.USER | SubjectKind.SERVICE_ACCOUNT:
                self._by_username.setdefault(exact_username(subject), []).append(entry)

    def identify(self, user: UserInfo) -> Requester:
        """An agent where any AgentIdentity matches; a machine where it is a ServiceAccount or a `system:` name; else a human.

        One decision asks several times for the same user.
        """
        if self._last is None or self._last[0] is not user:
            self._last = (user, self._identify(user))
        return self._last[1]

    def _identify(self, user: UserInfo) -> Requester:
        found = [(identity, subject) for identity, subject in self._candidates(user) if matches(subject, user)]
        if found:
            return _agent(user, found)
        if user.username.startswith("system:"):
            return Machine(user.username, user.username in BUILTIN_CONTROLLERS)
        return Human(user.username, self._people.get(user.username, ""))

    def _candidates(self, user: UserInfo) -> Iterator[_Entry]:
        """Those that can match at all."""
        yield from self._by_username.get(user.username, ())
        for group in user.groups:
            yield from self._by_group.get(group, ())
        if user.username.startswith(SERVICE_ACCOUNT):
            yield from self._by_namespace.get(user.username.removeprefix(SERVICE_ACCOUNT).partition(":")[0], ())
        for pattern, entry in self._globs:
            if pattern.fullmatch(user.username):
                yield entry

    def counted(self, user: UserInfo) -> Requester:
        """Whom a requester counts as where an environment widens: as every agent, too, that could have become it (docs/posture.md).

        Never the cluster's own controllers (invariant 9).
        """
        who = self.identify(user)
        if isinstance(who, Machine) and who.builtin:
            return who
        behind = [identity for identity in self._identities if identity.could_become.covers(user.username)]
        if not behind:
            return who
        identities = {identity.meta.name for identity in behind}
        sponsors = {sponsor for identity in behind for sponsor in identity.sponsors}
        lenders = tuple(sorted({username for identity in behind for username in self.lenders(identity)}))
        if isinstance(who, Agent):
            identities, sponsors = identities | set(who.identities), sponsors | set(who.sponsors)
            return replace(who, identities=tuple(sorted(identities)), sponsors=tuple(sorted(sponsors)), lenders=lenders)
        return Agent(who.username, tuple(sorted(identities)), tuple(sorted(sponsors)), who.key, guise=who, lenders=lenders)

    def lenders(self, identity: AgentIdentity) -> frozenset[str]:
        """The registered usernames of whoever may run an agent that acts under another name just now.

        Where its own name tells its sponsor (`sponsorFrom: Username`), that name is hidden then.
        """
        known = self._lenders.get(identity.meta.name)
        if known is None:
            lent = (username for username in self._people if identity.sponsor_from_username and _may_bear(identity, username))
            known = self._lenders[identity.meta.name] = frozenset(lent)
        return known

    def named(self, username: str) -> Requester:
        """Who bears a name, whatever groups come with it. Remembered for people's usernames, which each count of signatures asks for."""
        known = self._named.get(username)
        if known is None:
            known = self._identify(UserInfo(username))
            if username in self._people:
                self._named[username] = known
        return known


def identify(user: UserInfo, identities: Iterable[AgentIdentity], reviewers: Iterable[Reviewer]) -> Requester:
    """As `Directory.identify`, for a single question."""
    return Directory(identities, reviewers).identify(user)


def exact_username(subject: Subject) -> str:
    """The one username that a subject names, or "" where it is a glob, a whole namespace or a group."""
    match subject.kind:
        case SubjectKind.SERVICE_ACCOUNT if subject.name != "*":
            return f"{SERVICE_ACCOUNT}{subject.namespace}:{subject.name}"
        case SubjectKind.USER if not is_glob(subject.name):
            return subject.name
        case SubjectKind.SERVICE_ACCOUNT | SubjectKind.USER | SubjectKind.GROUP:
            return ""


def matches(subject: Subject, user: UserInfo) -> bool:
    """Whether all of a subject's fields match the user."""
    return (
        _name_matches(subject, user)
        and all(group in user.groups for group in subject.groups)
        and all(_any_matches(globs, user.extra.get(key, ())) for key, globs in subject.extra.items())
    )


def shown(subject: Subject) -> str:
    """A subject, for people."""
    name = f"{subject.namespace}/{subject.name}" if subject.namespace else subject.name
    return f"{subject.kind} {name!r}"


def is_glob(name: str) -> bool:
    return "*" in name or "?" in name


@lru_cache(maxsize=4096)
def glob(pattern: str, *, one: str = ".") -> re.Pattern[str]:
    """An anchored glob: `*` is any run of characters, `?` any one (`one`, a regex of one character), everything else itself.

    What stands between two stars is looked for once, from the left (an atomic group): many stars cost no more than one.
    """
    first, *others = ("".join(one if char == "?" else re.escape(char) for char in part) for part in pattern.split("*"))
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle if part) + ".*" + last, re.DOTALL)


def _name_matches(subject: Subject, user: UserInfo) -> bool:
    match subject.kind:
        case SubjectKind.SERVICE_ACCOUNT:
            prefix = f"{SERVICE_ACCOUNT}{subject.namespace}:"
            return user.username.startswith(prefix) if subject.name == "*" else user.username == prefix + subject.name
        case SubjectKind.USER:
            return bool(glob(subject.name).fullmatch(user.username))
        case SubjectKind.GROUP:
            return subject.name in user.groups


def _any_matches(globs: Iterable[str], values: Iterable[str]) -> bool:
    values = tuple(values)
    return any(glob(pattern).fullmatch(value) for pattern in globs for value in values)


def _may_bear(identity: AgentIdentity, username: str) -> bool:
    """Whether a subject goes by this name, whatever else it asks for."""
    return any(subject.kind is SubjectKind.GROUP or _name_matches(subject, UserInfo(username)) for subject in identity.subjects)


def _agent(user: UserInfo, found: list[tuple[AgentIdentity, Subject]]) -> Agent:
    identities = {identity.meta.name: identity for identity, _ in found}
    sponsors = {sponsor for identity in identities.values() for sponsor in identity.sponsors}
    if any(identity.sponsor_from_username for identity in identities.values()):
        sponsors.add(user.username)
    return Agent(
        username=user.username,
        identities=tuple(sorted(identities)),
        sponsors=tuple(sorted(sponsors)),
        key=_agent_key(user.username, found),
    )


def _agent_key(username: str, found: list[tuple[AgentIdentity, Subject]]) -> str:
    """The username; the matched subjects where the name is only a session's and changes with it, or where a human bears it too."""
    if any(_names_one(subject) and not _is_conditional(subject) for _, subject in found):
        return _plain_key(username)
    return json.dumps(sorted({_matched(username, identity, subject) for identity, subject in found}))


def _matched(username: str, identity: AgentIdentity, subject: Subject) -> str:
    return f"{identity.meta.name}/{subject.kind}:{username if _names_one(subject) else subject.name}"


def _names_one(subject: Subject) -> bool:
    return subject.kind is SubjectKind.SERVICE_ACCOUNT or (subject.kind is SubjectKind.USER and not is_glob(subject.name))


def _is_conditional(subject: Subject) -> bool:
    """Whether others may bear the same name: what such an agent may do is no act of theirs (invariant 2)."""
    return bool(subject.groups or subject.extra)


def _plain_key(username: str) -> str:
    """A username that could be taken for a list of subjects is quoted."""
    return json.dumps(username) if username.startswith(("[", '"')) else username
