"""Roles and bindings (rbac.authorization.k8s.io/v1), kept as small as decisions about them allow."""

from collections.abc import Sequence
from sys import intern
from typing import Any, Final

from countersign.domain.document import JsonObject, items, text
from countersign.domain.identify import SERVICE_ACCOUNT
from countersign.domain.rbac import Binding, RoleRef, Rule

GROUP: Final = "rbac.authorization.k8s.io"
ROLES: Final = ("clusterroles", "roles")
BINDINGS: Final = ("clusterrolebindings", "rolebindings")
COLLECTIONS: Final = (*ROLES, *BINDINGS)
_KEPT_SETS: dict[frozenset[str], frozenset[str]] = {}


def path_of(plural: str) -> str:
    return f"/apis/{GROUP}/v1/{plural}"


def parse_role(document: JsonObject) -> tuple[RoleRef, tuple[Rule, ...]]:
    """A Role or ClusterRole with its rules about resources; those about URLs say nothing about objects."""
    ref = RoleRef(intern(text(document, "metadata", "namespace")), text(document, "metadata", "name"))
    rules = tuple(
        Rule(_set(rule, "verbs"), _set(rule, "apiGroups"), _set(rule, "resources"), _set(rule, "resourceNames"))
        for rule in items(document, "rules")
        if items(rule, "resources")
    )
    return ref, rules


def parse_binding(document: JsonObject) -> Binding:
    """A RoleBinding or ClusterRoleBinding. A ServiceAccount without a namespace is of the binding's own, if it has one."""
    namespace = intern(text(document, "metadata", "namespace"))
    kind, name = text(document, "roleRef", "kind"), text(document, "roleRef", "name")
    # A Role that a ClusterRoleBinding names is nobody's (rule.go, GetRoleReferenceRules): it is looked for where there is none.
    home = {"ClusterRole": "", "Role": namespace or _NOWHERE}.get(kind, _NOWHERE)
    subjects = items(document, "subjects")
    return Binding(
        namespace=namespace,
        name=text(document, "metadata", "name"),
        role=RoleRef(home, intern(name)),
        users=tuple(_users(subjects, namespace)),
        groups=tuple(intern(text(subject, "name")) for subject in subjects if text(subject, "kind") == "Group"),
    )


_NOWHERE: Final = "-"  # no namespace is called so


def _users(subjects: Sequence[Any], namespace: str) -> list[str]:
    users = []
    for subject in subjects:
        match text(subject, "kind"):
            case "User":
                users.append(intern(text(subject, "name")))
            case "ServiceAccount" if home := text(subject, "namespace") or namespace:
                users.append(intern(f"{SERVICE_ACCOUNT}{home}:{text(subject, 'name')}"))
            case _:
                pass
    return users


def _set(rule: Any, member: str) -> frozenset[str]:
    """The same set is kept once: a thousand roles use the same few lists of verbs."""
    found = frozenset(intern(value) for value in items(rule, member) if isinstance(value, str))
    return _KEPT_SETS.setdefault(found, found) if len(_KEPT_SETS) < _MOST_SETS else found


_MOST_SETS: Final = 10_000
