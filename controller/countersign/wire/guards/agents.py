"""What agents never do, signed for or not; in process, so that it holds while the webhook is down."""

from collections.abc import Sequence
from typing import Final

from countersign.domain.names import GROUP
from countersign.wire.cel import every, literal, negated, optional_name, some
from countersign.wire.guards.laundering import keeps_owners
from countersign.wire.guards.objects import (
    NAMESPACES,
    OWN_KINDS,
    Guard,
    Rule,
    Site,
    agent_variables,
    condition,
    constraints,
    has_subresource,
    operation,
    policy,
    refusal,
    resource_in,
    variable,
)
from countersign.wire.shards import Shard

NAME: Final = "countersign-agents"
NAME_INSIDE: Final = "countersign-agents-inside"
_RBAC: Final = "rbac.authorization.k8s.io"
_VOLUMES: Final = ("persistentvolumes", "persistentvolumes/status", "persistentvolumeclaims", "persistentvolumeclaims/status")
_DEFINITIONS: Final = ("customresourcedefinitions", "customresourcedefinitions/status")
_ASK: Final = "ask the person you work for to do it."


def agent_policies(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    return [*_by_kind(site, shards), *_inside(site, shards)] if shards else []


def _by_kind(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    ours = f'request.resource.group == "{GROUP}"'
    namespace = every('request.resource.group == ""', resource_in(["namespaces"]))
    rights = f'request.resource.group == "{_RBAC}"'
    finalizing = every(namespace, has_subresource("finalize"), operation("UPDATE"))
    owned = every(operation("CREATE", "UPDATE"), resource_in(["persistentvolumes", "persistentvolumeclaims", "customresourcedefinitions"]))
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            Rule(GROUP, sorted(OWN_KINDS), ["CREATE", "UPDATE", "DELETE"]),
            Rule("", NAMESPACES, ["CREATE", "UPDATE", "DELETE"]),
            Rule("", _VOLUMES, ["CREATE", "UPDATE"]),
            Rule("apiextensions.k8s.io", _DEFINITIONS, ["CREATE", "UPDATE"]),
            Rule("apiregistration.k8s.io", ["apiservices"], ["CREATE", "UPDATE", "DELETE"]),
            Rule(_RBAC, ["clusterroles", "clusterrolebindings", "roles", "rolebindings"], ["CREATE", "UPDATE", "DELETE"]),
        ),
        "variables": [
            *agent_variables(shards),
            variable("name", optional_name()),
            variable("role", 'object == null ? "" : object.?roleRef.name.orValue("")'),
        ],
        "validations": [
            refusal(
                negated(every(ours, "variables.agent")),
                f"Agents never create, change or delete Reviewers, AgentIdentities or ProtectedEnvironments: {_ASK}",
            ),
            refusal(
                negated(every(namespace, f"variables.name == {literal(site.namespace)}", "variables.agent")),
                f"Agents change nothing about Countersign's own namespace: {_ASK}",
            ),
            refusal(
                negated(every(rights, _our_rights(), "variables.agent")),
                f"Agents change nothing about Countersign's roles and who holds them: {_ASK}",
            ),
            refusal(
                negated(every('request.resource.group == "apiregistration.k8s.io"', "variables.agent")),
                f"Agents write no APIServices, which can put another server in the place of any API: {_ASK}",
            ),
            refusal(
                some(negated(owned), keeps_owners(), negated("variables.agent")),
                "Agents give volumes, claims and CustomResourceDefinitions no new ownerReferences: deleting the owner would delete them unsigned.",
            ),
            refusal(
                negated(every(finalizing, "variables.agent")),
                f"Agents do not finalize namespaces, which removes them while their objects are still there: {_ASK}",
            ),
            refusal(
                some(negated(some(namespace, owned)), _keeps_finalizers(), negated("variables.agent")),
                f"Agents take no finalizers from namespaces, volumes, claims and CustomResourceDefinitions: {_ASK}",
            ),
        ],
    }
    return policy(site, NAME, spec)


def _keeps_finalizers() -> str:
    """What has to be done before the object may go stays to be done."""
    kept = "oldObject.metadata.?finalizers.orValue([]).all(old, old in object.metadata.?finalizers.orValue([]))"
    return some(negated(operation("UPDATE")), kept)


def _our_rights() -> str:
    """Our roles and bindings by name, bindings to our roles, and roles that are aggregated into ours."""
    return some(
        _starts("variables.name"),
        _starts("variables.role"),
        _aggregated("object"),
        _aggregated("oldObject"),
    )


def _starts(name: str) -> str:
    return f'{name} == "countersign" || {name}.startsWith("countersign-")'


def _aggregated(tree: str) -> str:
    return f'{tree} != null && {tree}.metadata.?labels.orValue({{}}).exists(key, key.startsWith("{GROUP}/aggregate-"))'


def _inside(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(Rule("*", ["*/*"], ["*"], "Namespaced"), namespace=site.namespace),
        "matchConditions": [condition("in-our-namespace", f'request.?namespace.orValue("") == {literal(site.namespace)}')],
        "variables": agent_variables(shards),
        "validations": [refusal("!variables.agent", f"Agents write nothing in Countersign's own namespace: {_ASK}")],
    }
    return policy(site, NAME_INSIDE, spec)
