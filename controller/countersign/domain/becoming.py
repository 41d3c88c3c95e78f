"""Whom a requester could become by RBAC, at once and by way of others.

The modes and checks of impersonation: k8s.io/apiserver 1.36 pkg/endpoints/filters/impersonation/mode.go (KEP-5284). That a right to
issue tokens, to approve certificates or to grant rights makes somebody else of one: "RBAC Good Practices", privilege escalation risks
(https://kubernetes.io/docs/concepts/security/rbac-good-practices/).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from countersign.domain.identify import SERVICE_ACCOUNT
from countersign.domain.rbac import ANY, Grant, Rbac, Reach, Request, RoleRef, reaches
from countersign.domain.resources import ANYBODY, Becoming

AUTHENTICATION: Final = "authentication.k8s.io"
RBAC_GROUP: Final = "rbac.authorization.k8s.io"
CERTIFICATES: Final = "certificates.k8s.io"
MASTERS: Final = "system:masters"
EVERY_ACCOUNT: Final = "*/*"
_IMPERSONATE: Final = "impersonate"
# The resource whose name is checked, in each constrained mode.
_MODES: Final = {
    "user-info": "users",
    "serviceaccount": "serviceaccounts",
    "arbitrary-node": "nodes",
    "associated-node": "nodes",
}
_TELLING_VERBS: Final = frozenset({"bind", "escalate", "approve"})
_TELLING_RESOURCES: Final = frozenset(
    {ANY, "serviceaccounts/token", "*/token", "nodes/proxy", "*/proxy", "certificatesigningrequests/approval", "*/approval"}
    | {"certificatesigningrequests/nodeclient", "*/nodeclient"}
)
_CLIENT_SIGNERS: Final = frozenset({"kubernetes.io/kube-apiserver-client", "kubernetes.io/*"})
_NODE_SIGNERS: Final = frozenset({"kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/*"})


@dataclass(frozen=True, slots=True)
class Path:
    """One way of becoming somebody else: whom, by which permissions, and the questions to an authorizer that decide it.

    `groups`: those that can be taken on besides; "*" is any, and so system:masters, whom nothing is refused.
    """

    reaches: tuple[Reach, ...]
    becoming: Becoming
    asks: tuple[Request, ...]
    groups: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.reaches)


_NONE: Final = Path((), Becoming(), ())


def impersonation(grants: Sequence[Grant]) -> Path:
    """With groups alone nobody is impersonated: a user or an account has to be named as well."""
    found = [_plain(grants), *(_constrained(grants, mode) for mode in _MODES), *_unheard_of(grants)]
    paths = [path for path in found if path.becoming]
    return Path(
        reaches=tuple(reach for path in paths for reach in path.reaches),
        becoming=_joined(path.becoming for path in paths),
        asks=tuple(ask for path in paths for ask in path.asks),
        groups=frozenset(group for path in paths for group in path.groups),
    )


def _plain(grants: Sequence[Grant]) -> Path:
    """The verb `impersonate`: users and groups of the core API group, everywhere; ServiceAccounts in their namespaces."""
    users, accounts = _everywhere(reaches(grants, _IMPERSONATE, "", "users")), reaches(grants, _IMPERSONATE, "", "serviceaccounts")
    groups = _everywhere(reaches(grants, _IMPERSONATE, "", "groups"))
    return Path(
        reaches=(*users, *accounts, *groups),
        becoming=Becoming(_named(users), _accounts(accounts)),
        asks=(
            *_asks(users, _IMPERSONATE, "", "users"),
            *_asks(accounts, _IMPERSONATE, "", "serviceaccounts"),
            *_asks(groups, _IMPERSONATE, "", "groups"),
        ),
        groups=_named(groups),
    )


def _constrained(grants: Sequence[Grant], mode: str) -> Path:
    """A mode needs two rights: whom (`impersonate:<mode>`), and what as (`impersonate-on:<mode>:<verb>`)."""
    verb, on = f"impersonate:{mode}", f"impersonate-on:{mode}:"
    if not any(ANY in grant.rule.verbs or any(held.startswith(on) for held in grant.rule.verbs) for grant in grants):
        return _NONE
    resource = _MODES[mode]
    who = reaches(grants, verb, AUTHENTICATION, resource)
    groups: tuple[Reach, ...] = ()
    match resource:
        case "serviceaccounts":
            becoming = Becoming(accounts=_accounts(who))
        case "nodes":
            who = _everywhere(who)
            becoming = node(who, _named(who))
        case _:
            who = _everywhere(who)
            becoming = Becoming(_named(who))
            groups = _everywhere(reaches(grants, verb, AUTHENTICATION, "groups"))
    asks = (*_asks(who, verb, AUTHENTICATION, resource), *_asks(groups, verb, AUTHENTICATION, "groups"))
    return Path((*who, *groups), becoming, asks, _named(groups))


def _unheard_of(grants: Sequence[Grant]) -> Iterable[Path]:
    """Verbs of impersonation that a later Kubernetes may know: taken for the worst."""
    known = {_IMPERSONATE, *(f"impersonate:{mode}" for mode in _MODES)}
    for grant in grants:
        for verb in sorted(grant.rule.verbs - known):
            if verb.startswith(_IMPERSONATE) and not verb.startswith("impersonate-on:"):
                reach = Reach(grant.namespace, grant.rule.names, grant.binding)
                yield Path((reach,), ANYBODY, (Request(verb, AUTHENTICATION, "users"),), frozenset({ANY}))


def minting(grants: Sequence[Grant], our_namespace: str = "") -> Path:
    """Tokens of ServiceAccounts. In our own namespace a policy refuses that to agents in every profile."""
    found = tuple(
        reach
        for reach in reaches(grants, "create", "", "serviceaccounts", "token")
        if not our_namespace or reach.namespace != our_namespace
    )
    return Path(found, Becoming(accounts=_accounts(found)), _asks(found, "create", "", "serviceaccounts", "token"))


def certifying(grants: Sequence[Grant]) -> Path:
    """A client certificate for any name and any group but system:masters, which the API server refuses to sign for."""
    asked = _everywhere(reaches(grants, "create", CERTIFICATES, "certificatesigningrequests"))
    approved = _everywhere(
        reaches(grants, "update", CERTIFICATES, "certificatesigningrequests", "approval")
        + reaches(grants, "patch", CERTIFICATES, "certificatesigningrequests", "approval")
    )
    signers = tuple(
        reach
        for reach in _everywhere(reaches(grants, "approve", CERTIFICATES, "signers"))
        if not reach.names or reach.names & (_CLIENT_SIGNERS | _NODE_SIGNERS)
    )
    if not (asked and approved and signers):
        return _NONE
    name = min(signers[0].names & (_CLIENT_SIGNERS | _NODE_SIGNERS), default="")
    asks = (Request("approve", CERTIFICATES, "signers", name=name),)
    if any(not reach.names or reach.names & _CLIENT_SIGNERS for reach in signers):
        return Path((*signers, *approved), ANYBODY, asks, frozenset({ANY}))
    return Path((*signers, *approved), node(signers, frozenset({ANY})), asks)


def enrolling(grants: Sequence[Grant]) -> Path:
    """A node's client certificate, which kube-controller-manager approves by itself for whoever has this right."""
    asked = _everywhere(reaches(grants, "create", CERTIFICATES, "certificatesigningrequests"))
    approved = _everywhere(reaches(grants, "create", CERTIFICATES, "certificatesigningrequests", "nodeclient"))
    if not (asked and approved):
        return _NONE
    return Path(
        approved, node(approved, frozenset({ANY})), _asks(approved, "create", CERTIFICATES, "certificatesigningrequests", "nodeclient")
    )


def ruling(grants: Sequence[Grant], rbac: Rbac) -> Path:
    """`escalate` on roles, and `bind` to them: whatever rights one likes, and with those, everybody.

    A right to bind ClusterRoles by their names is worth what those hold.
    """
    found: list[Reach] = []
    asks: list[Request] = []
    for resource in ("clusterroles", "roles"):
        escalating = reaches(grants, "escalate", RBAC_GROUP, resource) if _writes(grants, resource) else ()
        if resource == "clusterroles":
            escalating = _everywhere(escalating)
        binding = reaches(grants, "bind", RBAC_GROUP, resource) if _writes(grants, "clusterrolebindings", "rolebindings") else ()
        binding = tuple(reach for reach in binding if resource == "roles" or not reach.names or _makes_somebody_else(reach, rbac))
        found += (*escalating, *binding)
        asks += (*_asks(escalating, "escalate", RBAC_GROUP, resource), *_asks(binding, "bind", RBAC_GROUP, resource))
    if _everywhere(found):
        return Path(tuple(found), ANYBODY, tuple(asks), frozenset({ANY}))
    # Every right in a namespace: its accounts.
    return Path(tuple(found), Becoming(accounts=frozenset(f"{reach.namespace}/{ANY}" for reach in found)), tuple(asks))


def _writes(grants: Sequence[Grant], *resources: str) -> bool:
    return any(reaches(grants, verb, RBAC_GROUP, resource) for verb in ("create", "update", "patch") for resource in resources)


def _makes_somebody_else(reach: Reach, rbac: Rbac) -> bool:
    """Whether one of the ClusterRoles that may be bound by name holds a permission of which any path here is made."""
    return any(
        ANY in rule.verbs
        or any(verb in _TELLING_VERBS or verb.startswith(_IMPERSONATE) for verb in rule.verbs)
        or not rule.resources.isdisjoint(_TELLING_RESOURCES)
        for name in reach.names
        for rule in rbac.rules(RoleRef("", name))
    )


def entering_nodes(grants: Sequence[Grant]) -> Path:
    """The kubelet's own API by `nodes/proxy`: a shell in every pod, and so its account, past admission and audit."""
    found = _everywhere(reaches(grants, "create", "", "nodes", "proxy") + reaches(grants, "get", "", "nodes", "proxy"))
    asks = (*_asks(found, "create", "", "nodes", "proxy"), *_asks(found, "get", "", "nodes", "proxy"))
    return Path(found, Becoming(accounts=frozenset({EVERY_ACCOUNT})), asks) if found else _NONE


def node(held: Sequence[Reach], names: frozenset[str]) -> Becoming:
    """A node may have tokens of the accounts of its pods (the Node authorizer), and pods can be sent to it: every account."""
    if not held:
        return Becoming()
    users = {"*"} if ANY in names else {f"system:node:{name}" for name in names}
    return Becoming(frozenset(users), frozenset({EVERY_ACCOUNT}))


def closure(start: Becoming, groups: frozenset[str], rbac: Rbac) -> Becoming:
    """Everybody who can be become from there on, by anybody who has been become already."""
    reached = start
    while True:
        if ANY in groups or MASTERS in groups or reached == ANYBODY:
            return ANYBODY
        grants = rbac.grants(*_borne(reached, groups, rbac))
        more = [impersonation(grants), minting(grants), certifying(grants), enrolling(grants), ruling(grants, rbac), entering_nodes(grants)]
        wider = _joined([reached, *(path.becoming for path in more)])
        taken = groups.union(*(path.groups for path in more))
        if (wider, taken) == (reached, groups):
            return reached
        reached, groups = wider, taken


def _borne(becoming: Becoming, groups: frozenset[str], rbac: Rbac) -> tuple[set[str], set[str]]:
    """The usernames that bindings name and that are among these, and the groups that come with them."""
    held = {*groups, "system:authenticated"} if becoming else set(groups)
    for account in becoming.accounts:
        held |= {"system:serviceaccounts", f"system:serviceaccounts:{account.partition('/')[0]}"}
    if EVERY_ACCOUNT in becoming.accounts:
        held |= {group for group in rbac.groups if group.startswith("system:serviceaccounts:")}
    if any(user.startswith("system:node:") or user == ANY for user in becoming.users):
        held.add("system:nodes")
    return {user for user in rbac.users if becoming.covers(user)}, held


def account_groups(namespace: str) -> frozenset[str]:
    return frozenset({"system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{namespace}"})


def account_username(account: str) -> str:
    """The username of "namespace/name"."""
    namespace, _, name = account.partition("/")
    return f"{SERVICE_ACCOUNT}{namespace}:{name}"


def _everywhere(found: Iterable[Reach]) -> tuple[Reach, ...]:
    """Those that hold for what lies in no namespace."""
    return tuple(reach for reach in found if not reach.namespace)


def _named(found: Iterable[Reach]) -> frozenset[str]:
    return frozenset(name for reach in found for name in (reach.names or {ANY}))


def _accounts(found: Iterable[Reach]) -> frozenset[str]:
    """A name without a namespace holds in each: which accounts are called so nobody knows beforehand."""
    return frozenset(
        EVERY_ACCOUNT if not reach.namespace else f"{reach.namespace}/{name}" for reach in found for name in (reach.names or {ANY})
    )


def _asks(found: Iterable[Reach], verb: str, group: str, resource: str, subresource: str = "") -> tuple[Request, ...]:
    """The same permission as a question, for each of the places where it holds."""
    return tuple(
        dict.fromkeys(Request(verb, group, resource, subresource, reach.namespace, min(reach.names, default="")) for reach in found)
    )


def _joined(becomings: Iterable[Becoming]) -> Becoming:
    joined = Becoming()
    for becoming in becomings:
        joined |= becoming
    return joined
