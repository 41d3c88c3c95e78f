"""Who else can rewrite what is written to us: mutating webhooks and policies of others whose rules reach our kinds or our namespace.

None of it is an attack by itself (service meshes and policy engines do this), but each could take a label off, or put another image into
our Deployment while somebody upgrades it, and nothing would show whose wish that was. So they are named, and people know whether they are theirs.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from countersign.domain.document import JsonObject, items, mapping, strings, text
from countersign.domain.names import GROUP
from countersign.domain.resources import Requirement, Selector

_INSIDE: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"*", "*/*", "pods", "secrets", "services", "serviceaccounts", "configmaps"}),
    "apps": frozenset({"*", "*/*", "deployments", "replicasets"}),
    "rbac.authorization.k8s.io": frozenset({"*", "*/*", "roles", "rolebindings"}),
    "coordination.k8s.io": frozenset({"*", "*/*", "leases"}),
}


def reaches(collection: str, document: JsonObject, namespace: str, labels: Mapping[str, str]) -> str:
    """What of ours a MutatingWebhookConfiguration or MutatingAdmissionPolicy reaches, in words; "" for nothing.

    `labels` are those of our namespace.
    """
    if collection == "mutatingwebhookconfigurations":
        parts = [(items(hook, "rules"), mapping(hook, "namespaceSelector")) for hook in items(document, "webhooks")]
    else:
        constraints = mapping(document, "spec", "matchConstraints")
        parts = [(items(constraints, "resourceRules"), mapping(constraints, "namespaceSelector"))]
    rules = [rule for found, _ in parts for rule in found]
    if any(_names(rule, "apiGroups") & {GROUP, "*"} and _names(rule, "operations") & {"CREATE", "UPDATE", "*"} for rule in rules):
        return "Countersign's own kinds"
    if any(_selects(selector, labels) and any(_reaches_inside(rule) for rule in found) for found, selector in parts):
        return f"the namespace {namespace}"
    return ""


def _reaches_inside(rule: Any) -> bool:
    if text(rule, "scope") == "Cluster" or not _names(rule, "operations") & {"CREATE", "UPDATE", "*"}:
        return False
    groups, resources = _names(rule, "apiGroups"), _names(rule, "resources")
    return any(resources & wanted for group, wanted in _INSIDE.items() if groups & {group, "*"})


def _names(rule: Any, key: str) -> set[str]:
    return {value for value in items(rule, key) if isinstance(value, str)}


def _selects(selector: JsonObject, labels: Mapping[str, str]) -> bool:
    """What cannot be read is taken to select."""
    expressions: Iterable[Any] = items(selector, "matchExpressions")
    requirements = tuple(
        Requirement(text(each, "key"), text(each, "operator"), tuple(value for value in items(each, "values") if isinstance(value, str)))
        for each in expressions
    )
    try:
        return Selector(strings(selector, "matchLabels"), requirements).matches(labels)
    except ValueError:
        return True
