"""The webhook configuration: which requests are sent to the webhook at all (invariants 8 and 9).

Every entry fails closed, but those (`trial-…`) that only environments in Audit mode make: they hold nobody. Its rules name the kinds; its matchConditions, compiled from identities and environments, name the
requesters, so that nobody else's request leaves the API server. At least one condition that is false keeps a request away.
"""

from collections.abc import Sequence
from typing import Final

from countersign.domain.classify import HARDENED
from countersign.domain.names import GROUP, LABEL_PROTECTED
from countersign.domain.profile import Profile
from countersign.domain.request import GroupResource
from countersign.domain.resources import Mode, ProtectedEnvironment, ProtectFrom
from countersign.wire.cel import FALSE, TRUE, covers, every, is_builtin, is_human, is_machine, literal, negated, some
from countersign.wire.guards.objects import (
    NAMESPACES,
    OWN_KINDS,
    TRIAL,
    Guard,
    Json,
    Rule,
    Site,
    client,
    condition,
    configuration,
    operation,
    resource_in,
    rules_for,
)
from countersign.wire.shards import Shard

_NAMESPACE: Final = GroupResource("", "namespaces")
_CLAIM: Final = GroupResource("", "persistentvolumeclaims")
_CLUSTER_KINDS: Final = (
    GroupResource("", "persistentvolumes"),
    GroupResource("apiextensions.k8s.io", "customresourcedefinitions"),
)
# Characters of one expression made from environments. The API server refuses 100,000 and takes seconds to compile some 30,000; past this
# the condition is wider, never narrower: the webhook itself judges each by itself.
_ROOM: Final = 16_000
_BEYOND_AGENTS: Final = (ProtectFrom.PEOPLE, ProtectFrom.EVERYONE)


def webhook_configuration(site: Site, shards: Sequence[Shard], environments: Sequence[ProtectedEnvironment]) -> Guard:
    """The object named `countersign`; past identities' shards its size grows only with the environments."""
    entries = [_agents(site, index, shard, environments) for index, shard in enumerate(shards)]
    entries += _people(site, shards, environments)
    entries += [_own(site, environments), _approvals(site)]
    return configuration(site, entries)


def _entry(
    site: Site, name: str, rules: Sequence[Rule], conditions: Sequence[Json], *, protected: Sequence[str] = (), trial: bool = False
) -> Json:
    """`trial`: nothing of what it is asked about is held back by anybody, so without an answer it passes, and soon."""
    selector = {"matchExpressions": [{"key": LABEL_PROTECTED, "operator": "In", "values": list(protected)}]} if protected else {}
    return {
        "name": f"{TRIAL if trial else ''}{name}.{GROUP}",
        "clientConfig": client(site),
        "rules": [rule.body() for rule in rules],
        "failurePolicy": "Ignore" if trial else "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": selector,
        "objectSelector": {},
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": 3 if trial else 10,
        "admissionReviewVersions": ["v1"],
        "matchConditions": list(conditions),
    }


def _listed(environments: Sequence[ProtectedEnvironment]) -> list[GroupResource]:
    return [kind for environment in environments for kind in environment.resources]


def _not_builtin() -> Json:
    return condition("not-a-built-in-controller", negated(is_builtin()))


# ── agents: by name, whatever the environments' labels say ──────────────────────────────────────────────────────────────────────────


def _agents(site: Site, index: int, shard: Shard, environments: Sequence[ProtectedEnvironment]) -> Json:
    own = [GroupResource(GROUP, kind) for kind in OWN_KINDS]
    beyond = HARDENED if site.profile is Profile.HARDENED else ()
    kinds = [_NAMESPACE, _CLAIM, *_CLUSTER_KINDS, *beyond, *_listed(environments), *own]
    rules = [*rules_for(kinds, ["DELETE"]), Rule("", NAMESPACES, ["UPDATE"])]
    conditions = [
        _not_builtin(),
        condition("an-agent", shard.matches),
        condition("a-deletion-or-an-unprotecting", some(operation("DELETE"), _leaves(environments))),
    ]
    return _entry(site, f"agents-{index}", rules, conditions)


def _leaves(environments: Sequence[ProtectedEnvironment]) -> str:
    """An update that takes a namespace out of an environment; of very many environments, any that changes its labels."""
    exact = some(*(every(covers(env, "oldObject"), negated(covers(env, "object"))) for env in environments))
    return every(operation("UPDATE"), exact if len(exact) <= _ROOM else _other_labels())


def _other_labels() -> str:
    """Any label but our own is set, changed or taken away: an agent's write gets one of ours."""
    old, new = (f"{tree}.metadata.?labels.orValue({{}})" for tree in ("oldObject", "object"))
    foreign = f"!key.startsWith({literal(GROUP + '/')})"
    return some(
        f"{new}.exists(key, {every(foreign, f'!(key in {old}) || {old}[key] != {new}[key]')})",
        f"{old}.exists(key, {every(foreign, f'!(key in {new})')})",
    )


# ── people and everyone: by what they touch ─────────────────────────────────────────────────────────────────────────────────────────


def _people(site: Site, shards: Sequence[Shard], environments: Sequence[ProtectedEnvironment]) -> list[Json]:
    entries: list[Json] = []
    for name, who, held_by in (("people", is_human(), _BEYOND_AGENTS), ("everyone", is_machine(), (ProtectFrom.EVERYONE,))):
        # Where one widens, anybody may be whom an agent could become: only the webhook knows.
        holding = [environment for environment in environments if environment.protect_from in held_by or environment.widens]
        if holding:
            whose = [condition("a-requester-held-back", who), *_not_agents(shards)]
            narrowed = [*whose, condition("a-namespace-held-back", _held_namespace(holding))]
            levels = [level.value for level in held_by]
            trial = all(environment.mode is Mode.AUDIT for environment in holding)
            entries += [
                _entry(site, name, _cluster_rules(holding), narrowed, trial=trial),
                _entry(site, f"{name}-inside", _inner_rules(holding), whose, protected=levels, trial=trial),
            ]
    return entries


def _not_agents(shards: Sequence[Shard]) -> list[Json]:
    """Agents have their own entries. Where their names fill more than one shard they come here too: asked twice, refused as surely."""
    return [condition("not-an-agent", negated(shards[0].matches))] if len(shards) == 1 else []


def _cluster_rules(environments: Sequence[ProtectedEnvironment]) -> list[Rule]:
    kinds = [_NAMESPACE, *_CLUSTER_KINDS, *_listed(environments)]
    return [*rules_for(kinds, ["DELETE"], "Cluster"), Rule("", NAMESPACES, ["UPDATE"], "Cluster")]


def _inner_rules(environments: Sequence[ProtectedEnvironment]) -> list[Rule]:
    return rules_for([_CLAIM, *_listed(environments)], ["DELETE"], "Namespaced")


def _held_namespace(environments: Sequence[ProtectedEnvironment]) -> str:
    """For Namespaces, whether an environment holds this one (of very many, each is asked about); other kinds of the cluster always."""
    exact = some(*(covers(environment, "oldObject") for environment in environments))
    covered = exact if len(exact) <= _ROOM else TRUE
    return some(
        negated(every('request.resource.group == ""', resource_in(["namespaces"]))),
        every(operation("DELETE"), covered),
        _leaves(environments),
    )


# ── our own kinds ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _own(site: Site, environments: Sequence[ProtectedEnvironment]) -> Json:
    rules = [
        Rule(GROUP, sorted(OWN_KINDS), ["CREATE", "UPDATE"], "Cluster"),
        Rule(GROUP, ["agentidentities", "protectedenvironments"], ["DELETE"], "Cluster"),
    ]
    matters = some(
        operation("CREATE"), every(operation("UPDATE"), _spec_changed()), every(operation("DELETE"), _held_deletion(environments))
    )
    return _entry(site, "own", rules, [_not_builtin(), condition("a-change-that-matters", matters)])


def _spec_changed() -> str:
    """Without this an apply that changes nothing could not pass while the webhook is down, and repair would be impossible."""
    return some(negated("has(object.spec) && has(oldObject.spec)"), "object.spec != oldObject.spec")


def _held_deletion(environments: Sequence[ProtectedEnvironment]) -> str:
    """Under `Agents` people may delete what protects; agents' deletions have entries of their own."""
    whose = 'oldObject.?spec.protectFrom.orValue("")'
    widens = 'oldObject.?spec.whenAgentsCanImpersonate.orValue("") == "Widen"'
    environment = some(f'{whose} == "Everyone"', widens, every(f'{whose} == "People"', is_human()))
    levels = {ProtectFrom.EVERYONE if environment.widens else environment.protect_from for environment in environments}
    identity = FALSE
    if ProtectFrom.EVERYONE in levels:
        identity = "true"
    elif ProtectFrom.PEOPLE in levels:
        identity = is_human()
    return some(every(resource_in(["protectedenvironments"]), environment), every(resource_in(["agentidentities"]), identity))


def _approvals(site: Site) -> Json:
    """No requester is left out: whoever signs is checked."""
    return _entry(site, "approvals", [Rule(GROUP, ["approvals"], ["CREATE"], "Cluster")], [])
