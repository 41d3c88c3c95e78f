"""What rights agents may give to others (design, hardened profile): none by which an account that is no agent becomes stronger.

RBAC lets everybody pass on what he holds himself, and an agent may hold much that Countersign alone holds back. So the rules that it
writes are looked at when it writes them, and the roles that it binds when it binds them: those are parameters of the policies.
"""

from collections.abc import Sequence
from typing import Final

from countersign.domain.names import LABEL_AGENT
from countersign.wire.cel import every, literal, literals, negated, some
from countersign.wire.guards.objects import (
    Guard,
    Json,
    Rule,
    Site,
    agents_spec,
    condition,
    constraints,
    policy,
    refusal,
    resource_in,
    variable,
)
from countersign.wire.guards.powers import RBAC_GROUP, Power, rules_give
from countersign.wire.guards.workloads import account, known_strangers
from countersign.wire.shards import Shard

NAME: Final = "countersign-hardened-rights"
NAME_ROLES: Final = "countersign-hardened-roles"
NAME_CLUSTER_ROLES: Final = "countersign-hardened-clusterroles"
_ASK: Final = "ask the person you work for to do it."
_GIVES: Final = (
    f"Agents give no rights to others that Countersign holds back from themselves, or by which one becomes somebody else: {_ASK}"
)
_BINDINGS: Final = ("rolebindings", "clusterrolebindings")
_ROLES: Final = ("roles", "clusterroles")
_STRANGERS: Final = "variables.strangers.size() > 0"
_HARMLESS: Final = ("system:auth-delegator",)
_NEVER: Final = ("cluster-admin", "admin", "edit")
_AGGREGATING: Final = f"{RBAC_GROUP}/aggregate-to-"


def rights_policies(site: Site, shards: Sequence[Shard], accounts: Sequence[Shard], held: Sequence[Power]) -> list[Guard]:
    """`shards` find the agents among requesters, `accounts` (dealt for `workloads.WHO`) among accounts and subjects."""
    if not shards:
        return []
    own = ["rolebindings"]
    return [
        *policy(site, NAME, _written(site, shards, accounts, held)),
        *policy(site, NAME_ROLES, _bound(site, shards, accounts, held, "Role", own), params=(f"{RBAC_GROUP}/v1", "Role")),
        *policy(
            site,
            NAME_CLUSTER_ROLES,
            _bound(site, shards, accounts, held, "ClusterRole", _BINDINGS),
            params=(f"{RBAC_GROUP}/v1", "ClusterRole"),
        ),
    ]


def _written(site: Site, shards: Sequence[Shard], accounts: Sequence[Shard], held: Sequence[Power]) -> Json:
    """What can be told from the object that is written."""
    role, binding = resource_in(_ROLES), resource_in(_BINDINGS)
    changed = some("oldObject == null", "variables.rules != variables.oldRules", f"{_labels('object')} != {_labels('oldObject')}")
    aggregated = f"{_labels('object')}.exists(key, key.startsWith({literal(_AGGREGATING)}) && (oldObject == null || !(key in {_labels('oldObject')})))"
    aggregating = every("has(object.aggregationRule)", "oldObject == null || object.?aggregationRule != oldObject.?aggregationRule")
    named = some(f"object.roleRef.name in {literals(_NEVER)}", 'object.roleRef.name.startsWith("system:")')
    unmarked = f"!({literal(LABEL_AGENT)} in {_labels('object')})" if site.mutating else "false"
    return agents_spec(
        shards,
        constraints(Rule(RBAC_GROUP, [*_ROLES, *_BINDINGS], ["CREATE", "UPDATE"])),
        [
            refusal(negated(every(role, changed, "variables.agent", "variables.dangerous")), _GIVES),
            refusal(
                negated(every(role, some(aggregated, aggregating), "variables.agent")),
                f"Agents write no ClusterRoles that are gathered into others, or gather them, by labels: {_ASK}",
            ),
            refusal(
                negated(every(binding, "variables.agent", named, negated(f"object.roleRef.name in {literals(_HARMLESS)}"), _STRANGERS)),
                _GIVES,
            ),
            refusal(
                negated(every(binding, "variables.agent", unmarked, _STRANGERS)),
                "This binding does not bear the label by which agents' writes are told, so its role was not looked at: write it once more.",
            ),
        ],
        variables=[
            variable("rules", _rules("object")),
            variable("oldRules", f"oldObject == null ? [] : {_rules('oldObject')}"),
            variable("dangerous", rules_give("variables.rules", held)),
            *_newcomers(accounts),
        ],
    )


def _bound(
    site: Site, shards: Sequence[Shard], accounts: Sequence[Shard], held: Sequence[Power], kind: str, resources: Sequence[str]
) -> Json:
    """The role that a binding names, among all roles as parameters. The label of agents' writes spares everybody else the search."""
    frame = constraints(Rule(RBAC_GROUP, list(resources), ["CREATE", "UPDATE"]))
    marked = {"matchExpressions": [{"key": LABEL_AGENT, "operator": "Exists"}]}
    return agents_spec(
        shards,
        {**frame, "objectSelector": marked} if site.mutating else frame,
        [refusal(negated(every("variables.agent", _STRANGERS, "variables.dangerous")), _GIVES)],
        conditions=[condition("this-role", f"object.roleRef.kind == {literal(kind)} && object.roleRef.name == params.metadata.name")],
        variables=[*_newcomers(accounts), variable("dangerous", rules_give(f"({_rules('params')})", held))],
        # Parameters that the API server has not read yet would refuse everybody under Fail, as in the first second after its start.
        failing="Ignore",
    )


def _newcomers(accounts: Sequence[Shard]) -> list[Json]:
    """`strangers`: the subjects that the binding did not have before and that are no agents."""
    subjects, before = (f"({tree}.?subjects.orValue(null) == null ? [] : {tree}.subjects)" for tree in ("object", "oldObject"))
    home = 'subject.?namespace.orValue("")'
    group = '{"username": dyn(""), "groups": dyn([subject.name])}'
    user = '{"username": dyn(subject.name), "groups": dyn([])}'
    who = f'subject.kind == "ServiceAccount" ? {account(home, "subject.name")} : subject.kind == "Group" ? {group} : {user}'
    new = f"{subjects}.filter(subject, oldObject == null || !(subject in {before}))"
    return [variable("newcomers", f"{new}.map(subject, {who})"), *known_strangers(accounts, "variables.newcomers")]


def _rules(tree: str) -> str:
    return f"{tree}.?rules.orValue(null) == null ? [] : {tree}.rules"


def _labels(tree: str) -> str:
    return f"{tree}.metadata.?labels.orValue({{}})"
