"""Policies by target, for every identity: an agent can make others carry its change, so it does not matter who asks.

ownerReferences make the garbage collector delete in the agent's place (Kubernetes: garbage collection across scopes); the label
`protected` is what namespaceSelectors go by; `created-by` is what `ownWork` goes by. docs/rules.md, "Who may write what".
"""

from collections.abc import Sequence
from typing import Final

from countersign.domain.names import ANNOTATION_CREATED_BY, GROUP, LABEL_PROTECTED
from countersign.wire.cel import USERNAME, every, literal, literals, negated, some
from countersign.wire.guards.objects import (
    NAMESPACES,
    OWN_KINDS,
    RECORDS,
    Guard,
    Rule,
    Site,
    agent_variables,
    constraints,
    operation,
    policy,
    refusal,
    variable,
)
from countersign.wire.shards import Shard

NAME: Final = "countersign-laundering"

OLD_OWNERS: Final = "(oldObject == null ? [] : oldObject.metadata.?ownerReferences.orValue([]))"
NEW_OWNERS: Final = "object.metadata.?ownerReferences.orValue([])"


def keeps_owners(*allowed: str) -> str:
    """No owner is there that was not there before. `blockOwnerDeletion` and `controller` may change: the garbage collector sets them."""
    same = " && ".join(f"old.{member} == new.{member}" for member in ("apiVersion", "kind", "name", "uid"))
    return f"{NEW_OWNERS}.all(new, {some(f'{OLD_OWNERS}.exists(old, {same})', *allowed)})"


def laundering_policies(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    namespace = 'request.resource.group == "" && request.resource.resource == "namespaces"'
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            Rule("", NAMESPACES, ["CREATE", "UPDATE"]), Rule(GROUP, sorted([*OWN_KINDS, *RECORDS]), ["CREATE", "UPDATE"])
        ),
        "variables": [
            *agent_variables(shards),
            variable("oldLevel", _value("oldObject", "labels", LABEL_PROTECTED)),
            variable("newLevel", _value("object", "labels", LABEL_PROTECTED)),
            variable("oldCreator", _value("oldObject", "annotations", ANNOTATION_CREATED_BY)),
            variable("newCreator", _value("object", "annotations", ANNOTATION_CREATED_BY)),
        ],
        "validations": [
            refusal(
                keeps_owners(*_allowed_owners(site)),
                "Namespaces and Countersign's own objects get no ownerReferences: deleting the owner would delete them unsigned. Leave metadata.ownerReferences out.",
            ),
            refusal(
                some(negated(namespace), _level_kept(site)),
                f"The label {LABEL_PROTECTED} is Countersign's own: it follows from the ProtectedEnvironments. Leave it out, and change the environment instead.",
            ),
            refusal(
                some(negated(namespace), _creator_kept(site)),
                f"The annotation {ANNOTATION_CREATED_BY} is set by Countersign when an agent creates a namespace, and never changes. Leave it as it is.",
            ),
        ],
    }
    return policy(site, NAME, spec)


def _value(tree: str, member: str, key: str) -> str:
    """A label or annotation, "" where it is absent."""
    return f'{tree} == null ? "" : {tree}.metadata.?{member}[{literal(key)}].orValue("")'


def _allowed_owners(site: Site) -> list[str]:
    """Kinds that the team has listed; for an agent none is."""
    if not site.owners:
        return []
    kind = "(new.apiVersion.contains('/') ? new.apiVersion.split('/')[0] : '') + '/' + new.kind"
    return [every("!variables.agent", f"{kind} in {literals(site.owners)}")]


def _level_kept(site: Site) -> str:
    removed = every(operation("UPDATE"), 'variables.newLevel == ""', 'variables.oldLevel == "Agents"', "!variables.agent")
    return some("variables.newLevel == variables.oldLevel", f"{USERNAME} == {literal(site.operator)}", removed)


def _creator_kept(site: Site) -> str:
    """At creation it can only be the requester's own name, which our MutatingAdmissionPolicy has put there; else it must be absent."""
    own = f"variables.newCreator == {USERNAME}" if site.mutating else FALSE_AT_CREATION
    return some("variables.newCreator == variables.oldCreator", every(operation("CREATE"), own))


FALSE_AT_CREATION: Final = 'variables.newCreator == ""'
