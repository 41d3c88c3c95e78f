"""What RBAC lets an agent do: what it could delete, whom it could become, which ways round Countersign are open (docs/posture.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from countersign.domain import becoming as paths
from countersign.domain.becoming import Path, closure
from countersign.domain.classify import BUILT_IN, NAMESPACES
from countersign.domain.identify import SERVICE_ACCOUNT, glob, is_glob, matches
from countersign.domain.profile import Profile
from countersign.domain.rbac import ANY, Grant, Rbac, Reach, Request, reaches
from countersign.domain.request import GroupResource, UserInfo
from countersign.domain.resources import ANYBODY, AgentIdentity, Becoming, Subject, SubjectKind
from countersign.domain.waysround import OF_THE_CLUSTER, Opening, Way, anonymous, direct, indirect, opening_of, where

_ACCOUNTS_OF: Final = "system:serviceaccounts:"
_ORDER: Final = tuple(Way)
# What our policies refuse to agents: in both profiles, and in the hardened one (wire/guards). Not nodes/proxy, which opens the kubelets'
# own ports too, nor rights that an agent gives to itself: those no admission sees being used.
_CLOSED: Final = frozenset({Way.FLOWS})
_CLOSED_BY_HARDENED: Final = frozenset(
    {
        Way.TOKENS,
        Way.CERTIFICATES,
        Way.NODES,
        Way.WORKLOADS,
        Way.PODS,
        Way.GRANTS,
        Way.EMPTYING,
        Way.RECLAIM,
        Way.DEFINITIONS,
    }
)
# What the jail of priority and fairness holds (wire/guards/jail.py).
_CLOSED_BY_JAIL: Final = frozenset({Way.POLICIES, Way.WEBHOOKS})
# Rights that another authorizer than RBAC may give (a cloud's own): asked of each agent, whatever RBAC says.
PROBES: Final = (
    (Way.IMPERSONATE, Request("impersonate", "", "users")),
    (Way.IMPERSONATE, Request("impersonate", "", "serviceaccounts")),
    (Way.POLICIES, Request("update", "admissionregistration.k8s.io", "validatingadmissionpolicies", name="countersign-guards")),
    (Way.POLICIES, Request("create", "admissionregistration.k8s.io", "mutatingadmissionpolicies")),
    (Way.RIGHTS, Request("bind", "rbac.authorization.k8s.io", "clusterroles")),
    (Way.RIGHTS, Request("escalate", "rbac.authorization.k8s.io", "clusterroles")),
    (Way.TOKENS, Request("create", "", "serviceaccounts", "token")),
    (Way.WEBHOOKS, Request("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations")),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """Of the installation: where it stands, what it refuses, and which kinds environments guard besides the built-in ones.

    `jailed`: the agents whose writes to admission policies priority and fairness holds.
    """

    our_namespace: str
    profile: Profile = Profile.STANDARD
    listed: frozenset[GroupResource] = frozenset()
    jailed: frozenset[str] = frozenset()

    def closes(self, way: Way, agent: str) -> str:
        """What of ours closes a way; "" where nothing does."""
        if way in _CLOSED:
            return "a policy of Countersign"
        if way in _CLOSED_BY_HARDENED and self.profile is Profile.HARDENED:
            return "the profile hardened"
        if way in _CLOSED_BY_JAIL and agent in self.jailed:
            return "the policy jail"
        return ""


@dataclass(frozen=True, slots=True)
class Posture:
    """`deletes`: guarded kinds with the place. `openings`: the worst first, those that are closed among them.

    `groups_unknown`: its users may be in groups of which only the authenticator knows.
    """

    agent: str
    deletes: tuple[tuple[str, str], ...]
    openings: tuple[Opening, ...]
    becoming: Becoming
    groups_unknown: bool = False

    @property
    def open(self) -> tuple[Opening, ...]:
        return tuple(opening for opening in self.openings if not opening.closed_by)

    @property
    def worst(self) -> Opening | None:
        """The first way that leaves the agent not held."""
        return next((opening for opening in self.open if opening.way.direct), None)

    @property
    def held(self) -> bool:
        return self.worst is None


def assess(identity: AgentIdentity, rbac: Rbac, terms: Terms, answers: Mapping[Request, bool] | None = None) -> Posture:
    """`answers`: what the API server's whole chain of authorizers said for this agent, where it was asked."""
    grants = rbac.grants(*_names_of(identity, rbac))
    found = {way: path for way, path in _becomings(grants, rbac, terms.our_namespace).items() if path and not _is_own(path, identity)}
    openings = [
        *(opening_of(way, path.reaches, path.asks) for way, path in found.items()),
        *direct(grants, terms.listed),
        *indirect(grants, terms.our_namespace, lambda namespace: _owns_namespace(identity, namespace)),
        *_anybody(rbac),
    ]
    judged = [_closed(opening, terms.closes(opening.way, identity.meta.name), answers or {}) for opening in openings]
    judged += _beyond_rbac({opening.way for opening in openings}, answers or {})
    paths_open = [found[opening.way] for opening in judged if not opening.closed_by and opening.way in found]
    beyond = Becoming() if not any(not opening.bindings and opening.way is Way.IMPERSONATE for opening in judged) else ANYBODY
    start = Becoming()
    for becoming in (beyond, *(path.becoming for path in paths_open)):
        start |= becoming
    groups = frozenset(group for path in paths_open for group in path.groups)
    return Posture(
        agent=identity.meta.name,
        deletes=_deletes(grants, terms.listed),
        openings=tuple(sorted(judged, key=lambda opening: _ORDER.index(opening.way))),
        becoming=closure(start, groups, rbac) if start else start,
        groups_unknown=any(subject.kind is not SubjectKind.SERVICE_ACCOUNT for subject in identity.subjects),
    )


def questions(posture: Posture) -> tuple[Request, ...]:
    """What an authorizer should be asked of an agent: whether it refuses the ways that RBAC opens, and whether it opens others."""
    asks = [ask for opening in posture.open if opening.way.direct for ask in opening.asks]
    return tuple(dict.fromkeys([*asks, *(request for _, request in PROBES)]))


# ── who the agent is to RBAC ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _names_of(identity: AgentIdentity, rbac: Rbac) -> tuple[set[str], set[str]]:
    """The usernames and groups under which bindings may reach it. Of a glob or a namespace: all that bindings name."""
    users: set[str] = set()
    groups: set[str] = {"system:authenticated"}
    for subject in identity.subjects:
        groups.update(subject.groups)
        match subject.kind:
            case SubjectKind.SERVICE_ACCOUNT:
                groups |= paths.account_groups(subject.namespace)
                users |= _accounts_of(subject.namespace, rbac) if subject.name == ANY else {_username(subject)}
            case SubjectKind.USER:
                fits = glob(subject.name).fullmatch
                users |= {user for user in rbac.users if fits(user)} if is_glob(subject.name) else {subject.name}
            case SubjectKind.GROUP:
                groups.add(subject.name)
                if subject.name.startswith(_ACCOUNTS_OF):
                    groups.add("system:serviceaccounts")
                    users |= _accounts_of(subject.name.removeprefix(_ACCOUNTS_OF), rbac)
    return users, groups


def representatives(identity: AgentIdentity, rbac: Rbac, most: int = 3) -> tuple[UserInfo, ...]:
    """Some requesters that are this agent, of whom an authorizer can be asked: of a glob or a namespace those that bindings name."""
    found = [
        UserInfo(
            username,
            groups=frozenset({*groups, *subject.groups, "system:authenticated"}),
            extra={key: tuple(_example(value) for value in values[:1]) for key, values in subject.extra.items()},
        )
        for subject in identity.subjects
        for username, groups in _bearers(subject, rbac, most)
    ]
    return tuple(found[: most * 4])


def _bearers(subject: Subject, rbac: Rbac, most: int) -> Iterable[tuple[str, frozenset[str]]]:
    match subject.kind:
        case SubjectKind.SERVICE_ACCOUNT:
            named = sorted(_accounts_of(subject.namespace, rbac))[:most] if subject.name == ANY else [_username(subject)]
            return [(name, paths.account_groups(subject.namespace)) for name in named or [f"{SERVICE_ACCOUNT}{subject.namespace}:default"]]
        case SubjectKind.USER:
            known = sorted(user for user in rbac.users if glob(subject.name).fullmatch(user))[:most]
            return [(name, frozenset()) for name in known or [_example(subject.name)]]
        case SubjectKind.GROUP:
            return [("countersign-posture", frozenset({subject.name}))]


def _example(pattern: str) -> str:
    return pattern.replace("*", "x").replace("?", "x")


def _username(subject: Subject) -> str:
    return f"{SERVICE_ACCOUNT}{subject.namespace}:{subject.name}"


def _accounts_of(namespace: str, rbac: Rbac) -> set[str]:
    prefix = f"{SERVICE_ACCOUNT}{namespace}:"
    return {user for user in rbac.users if user.startswith(prefix)}


# ── whom it could become ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _becomings(grants: Sequence[Grant], rbac: Rbac, our_namespace: str) -> dict[Way, Path]:
    return {
        Way.IMPERSONATE: paths.impersonation(grants),
        Way.RIGHTS: paths.ruling(grants, rbac),
        Way.CERTIFICATES: paths.certifying(grants),
        Way.TOKENS: paths.minting(grants, our_namespace),
        Way.NODES: paths.enrolling(grants),
        Way.KUBELETS: paths.entering_nodes(grants),
    }


def _is_own(path: Path, identity: AgentIdentity) -> bool:
    """Whether it only leads to names that are this same agent's, with no groups that such a name would not have."""
    return (
        not path.groups
        and all(user != ANY and _recognised(identity, UserInfo(user)) for user in path.becoming.users)
        and all(_owns(identity, account) for account in path.becoming.accounts)
    )


def _recognised(identity: AgentIdentity, user: UserInfo) -> bool:
    return any(matches(subject, user) for subject in identity.subjects)


def _owns(identity: AgentIdentity, account: str) -> bool:
    namespace, _, name = account.partition("/")
    if ANY in (namespace, name):
        return _owns_namespace(identity, namespace)
    return _recognised(identity, UserInfo(paths.account_username(account), groups=paths.account_groups(namespace)))


def _owns_namespace(identity: AgentIdentity, namespace: str) -> bool:
    """Whether every ServiceAccount of the namespace is this agent."""
    return any(
        not subject.groups
        and not subject.extra
        and (
            (subject.kind is SubjectKind.SERVICE_ACCOUNT and (subject.namespace, subject.name) == (namespace, ANY))
            or (subject.kind is SubjectKind.GROUP and subject.name == _ACCOUNTS_OF + namespace)
        )
        for subject in identity.subjects
    )


# ── what is open ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _anybody(rbac: Rbac) -> Iterable[Opening]:
    grants = rbac.grants(("system:anonymous",), ("system:unauthenticated",))
    return anonymous(grants, [reach for path in _becomings(grants, rbac, "").values() for reach in path.reaches])


def _closed(opening: Opening, ours: str, answers: Mapping[Request, bool]) -> Opening:
    if ours:
        return replace(opening, closed_by=ours)
    if opening.way.direct and opening.asks and all(answers.get(ask) is False for ask in opening.asks):
        return replace(opening, closed_by="an authorizer")
    return opening


def _beyond_rbac(known: set[Way], answers: Mapping[Request, bool]) -> Iterable[Opening]:
    """Ways that RBAC does not open, and another authorizer does."""
    for way in _ORDER:
        allowed = tuple(request for probed, request in PROBES if probed is way and answers.get(request))
        if allowed and way not in known:
            yield Opening(way, "everywhere", (), allowed)


# ── what it could delete ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _deletes(grants: Sequence[Grant], listed: frozenset[GroupResource]) -> tuple[tuple[str, str], ...]:
    """Guarded kinds, and where: these are the deletions that Countersign holds back."""
    found = []
    for kind in sorted(BUILT_IN | listed, key=str):
        held = list(reaches(grants, "delete", kind.group, kind.resource))
        if kind == NAMESPACES:
            held = [_as_name(reach) for reach in held]
        else:
            held += reaches(grants, "deletecollection", kind.group, kind.resource)
        if kind in OF_THE_CLUSTER:
            held = [reach for reach in held if not reach.namespace]
        if held:
            found.append((str(kind), where(held)))
    return tuple(found)


def _as_name(reach: Reach) -> Reach:
    """A right in a namespace is a right to the Namespace itself (apiserver request/requestinfo.go)."""
    return replace(reach, namespace="", names=reach.names or frozenset({reach.namespace})) if reach.namespace else reach
