"""What RBAC allows: roles and bindings as the API server evaluates them.

After k8s.io/kubernetes 1.36 pkg/registry/rbac/validation/rule.go (who a binding is for, which rules it gives) and
pkg/apis/rbac/v1/evaluation_helpers.go (what a rule matches). Aggregated ClusterRoles are read with the rules that the API server's
aggregation controller has filled in. Other authorizers (Node, webhooks, a cloud's own) are not looked at here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One PolicyRule about resources. `names` empty: every object."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RoleRef:
    """`namespace` is "" for a ClusterRole."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"Role/{self.name}" if self.namespace else f"ClusterRole/{self.name}"


@dataclass(frozen=True, slots=True)
class Binding:
    """`namespace` is "" for a ClusterRoleBinding. ServiceAccounts stand among `users` by their usernames."""

    namespace: str
    name: str
    role: RoleRef
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        kind, where = ("RoleBinding", f" in {self.namespace}") if self.namespace else ("ClusterRoleBinding", "")
        return f"{kind}/{self.name}{where} ({self.role})"


@dataclass(frozen=True, slots=True)
class Request:
    """One question to an authorizer, about resources. `namespace` "" is the whole cluster; `name` "" is no object in particular."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def combined(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def __str__(self) -> str:
        named = f" {self.name}" if self.name else ""
        return (
            f"{self.verb} {self.combined}{'.' + self.group if self.group else ''}{named}{' in ' + self.namespace if self.namespace else ''}"
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule that a binding gives, in `namespace` or, where that is "", everywhere."""

    namespace: str
    rule: Rule
    binding: Binding


@dataclass(frozen=True, slots=True)
class Reach:
    """Where one permission holds: in `namespace` ("" everywhere), for the objects `names` (empty: all), and by which binding."""

    namespace: str
    names: frozenset[str]
    binding: Binding


Roles: TypeAlias = Mapping[RoleRef, Sequence[Rule]]


class Rbac:
    """Bindings by whom they are for. Built once from everything, then only read."""

    __slots__ = ("_by_group", "_by_user", "_roles")

    def __init__(self, roles: Roles, bindings: Iterable[Binding]) -> None:
        self._roles = roles
        self._by_user: dict[str, list[Binding]] = {}
        self._by_group: dict[str, list[Binding]] = {}
        for binding in bindings:
            for user in binding.users:
                self._by_user.setdefault(user, []).append(binding)
            for group in binding.groups:
                self._by_group.setdefault(group, []).append(binding)

    @property
    def users(self) -> Iterable[str]:
        """Every username that a binding names."""
        return self._by_user.keys()

    @property
    def groups(self) -> Iterable[str]:
        """Every group that a binding names."""
        return self._by_group.keys()

    def grants(self, users: Iterable[str], groups: Iterable[str]) -> tuple[Grant, ...]:
        """All that any of these users and groups are given; each binding once."""
        bindings = {id(binding): binding for binding in self._bindings(users, groups)}
        return tuple(Grant(binding.namespace, rule, binding) for binding in bindings.values() for rule in self._roles.get(binding.role, ()))

    def rules(self, role: RoleRef) -> Sequence[Rule]:
        return self._roles.get(role, ())

    def _bindings(self, users: Iterable[str], groups: Iterable[str]) -> Iterator[Binding]:
        for user in users:
            yield from self._by_user.get(user, ())
        for group in groups:
            yield from self._by_group.get(group, ())


def allows(grants: Iterable[Grant], request: Request) -> bool:
    """The API server's own answer: whether any grant allows the request."""
    return any(
        grant.namespace in ("", request.namespace) and _matches(grant.rule, request) and _names(grant.rule, request.name)
        for grant in grants
    )


def reaches(grants: Iterable[Grant], verb: str, group: str, resource: str, subresource: str = "") -> tuple[Reach, ...]:
    """Wherever the permission holds at all, for whichever objects."""
    combined, of_everything = _spelt(resource, subresource)
    return tuple(
        [
            Reach(grant.namespace, rule.names, grant.binding)
            for grant in grants
            if (combined in (rule := grant.rule).resources or ANY in rule.resources or of_everything in rule.resources)
            and (verb in rule.verbs or ANY in rule.verbs)
            and (group in rule.groups or ANY in rule.groups)
        ]
    )


def _matches(rule: Rule, request: Request) -> bool:
    """By verb, group and resource."""
    combined, of_everything = _spelt(request.resource, request.subresource)
    return (
        (request.verb in rule.verbs or ANY in rule.verbs)
        and (request.group in rule.groups or ANY in rule.groups)
        and (combined in rule.resources or ANY in rule.resources or of_everything in rule.resources)
    )


def _spelt(resource: str, subresource: str) -> tuple[str, str]:
    """As a rule may name it: `resource/sub`, or `*/sub`, which is that subresource of everything."""
    return (f"{resource}/{subresource}", f"*/{subresource}") if subresource else (resource, resource)


def _names(rule: Rule, name: str) -> bool:
    return not rule.names or name in rule.names
