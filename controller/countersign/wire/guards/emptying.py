"""Emptying instead of deleting (design, hardened profile): refused to agents in protected namespaces, in the API server's own process.

What a team's agent does every day passes: scaling to one, deleting by name, replacing. What the agent itself has made and may delete
without a signature (`ownWork`) it may also empty. What cannot be told from ordinary work (evictions, rates, suspended Jobs) is for detection.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from countersign.domain.classify import CLAIMS, STATEFULSETS
from countersign.domain.names import ANNOTATION_CREATED_BY
from countersign.domain.request import GroupResource
from countersign.domain.resources import Mode, ProtectedEnvironment
from countersign.wire.cel import FALSE, TRUE, USERNAME, covers, every, literal, negated, some
from countersign.wire.guards.objects import (
    Guard,
    Rule,
    Site,
    agent_variables,
    condition,
    constraints,
    has_subresource,
    only_agents,
    operation,
    policy,
    refusal,
    resource_in,
    rules_for,
    variable,
)
from countersign.wire.shards import Shard

NAME: Final = "countersign-hardened-emptying"
NAME_STORAGE: Final = "countersign-hardened-storage"
_VOLUMES: Final = "persistentvolumes"
_DEFINITIONS: Final = "customresourcedefinitions"
_HOME: Final = "namespaceObject"
_ASK: Final = "ask the person you work for to do it."


def emptying_policies(site: Site, shards: Sequence[Shard], environments: Sequence[ProtectedEnvironment]) -> list[Guard]:
    enforced = [environment for environment in environments if environment.mode is Mode.ENFORCE]
    return [*_workloads(site, shards, enforced), *_storage(site, shards)] if shards and enforced else []


def _workloads(site: Site, shards: Sequence[Shard], environments: Sequence[ProtectedEnvironment]) -> list[Guard]:
    kinds = [CLAIMS, STATEFULSETS, *(kind for environment in environments for kind in environment.resources)]
    retention = "StatefulSets that agents write keep their claims: leave persistentVolumeClaimRetentionPolicy at Retain."
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            **constraints(Rule("*", ["*"], ["CREATE", "UPDATE", "DELETE"]), Rule("*", ["*/scale"], ["UPDATE"])),
            "excludeResourceRules": [rule.body() for rule in rules_for([*kinds, *_CLUSTER_GUARDED], ["DELETE"])],
        },
        "matchConditions": [*only_agents(shards), condition("emptying", some(_collection(), _to_zero(), _no_minimum(), _drops_claims()))],
        "variables": [*agent_variables(shards), variable("covered", _covered(environments)), variable("held", _held(site, environments))],
        "validations": [
            refusal(
                negated(every(_collection(), "variables.agent", "variables.held")),
                "Agents delete no whole collections (deletecollection) here: delete each object by its name, or ask for the namespace's deletion.",
            ),
            refusal(
                negated(every(some(_to_zero(), _no_minimum()), "variables.agent", "variables.held")),
                f"Agents scale nothing to zero here: keep at least one replica, or {_ASK}",
            ),
            refusal(negated(every(_drops_claims(), "variables.agent", "variables.covered")), retention),
        ],
    }
    return policy(site, NAME, spec)


_CLUSTER_GUARDED: Final = (GroupResource("", _VOLUMES), GroupResource("apiextensions.k8s.io", _DEFINITIONS))


# Characters of one expression made from environments: the API server takes seconds to compile some 30,000. Past this every namespace
# counts as held, and own work is what is so in the strictest environment.
_ROOM: Final = 16_000


def _covered(environments: Iterable[ProtectedEnvironment]) -> str:
    """Whether an environment holds the namespace; claims are nobody's own work."""
    exact = some(f"{_HOME} == null", *(covers(environment, _HOME) for environment in environments))
    return exact if len(exact) <= _ROOM else TRUE


def _held(site: Site, environments: Sequence[ProtectedEnvironment]) -> str:
    """Whether an environment holds the namespace, and it is not the agent's own work there. What lies in no namespace is held."""
    inside = [every(covers(environment, _HOME), negated(_own_work(site, environment.own_work))) for environment in environments]
    exact = some(f"{_HOME} == null", some(*inside))
    if len(exact) <= _ROOM:
        return exact
    bounds = [environment.own_work for environment in environments]
    strictest = None if None in bounds else min(bound for bound in bounds if bound is not None)
    return some(f"{_HOME} == null", negated(_own_work(site, strictest)))


def _own_work(site: Site, bound: timedelta | None) -> str:
    """CEL has no clock: the operator writes the time anew each quarter of an hour."""
    if bound is None or site.now is None or not site.mutating:
        return FALSE
    since = site.now - bound
    return every(
        f'{_HOME}.metadata.?annotations[?{literal(ANNOTATION_CREATED_BY)}].orValue("") == {USERNAME}',
        # A text at run time, whatever its declared type is (k8s.io/apiserver pkg/admission/plugin/cel/compile.go).
        f"timestamp(dyn({_HOME}.metadata.creationTimestamp)) >= timestamp({literal(since.strftime('%Y-%m-%dT%H:%M:%SZ'))})",
    )


def _collection() -> str:
    """The API server asks about each object of a collection, and names none in the request."""
    return every(operation("DELETE"), 'request.?name.orValue("") == ""')


def _to_zero() -> str:
    """By the subresource `scale` (where 0 is left out), or in the object itself, whatever its kind."""
    scale = every(has_subresource("scale"), f"{_replicas('oldObject', '0')} > 0", f"{_replicas('object', '0')} == 0")
    whole = every(has_subresource(), f"{_replicas('oldObject', '-1')} > 0", f"{_replicas('object', '-1')} == 0")
    return every(operation("UPDATE"), some(scale, whole))


def _replicas(tree: str, absent: str) -> str:
    return (
        f'(has({tree}.spec) && type({tree}.spec) == map && "replicas" in {tree}.spec && type({tree}.spec.replicas) == int '
        f"? {tree}.spec.replicas : {absent})"
    )


def _no_minimum() -> str:
    """An autoscaler that may go down to nothing (the feature HPAScaleToZero)."""
    kind = every(operation("CREATE", "UPDATE"), 'request.resource.group == "autoscaling"', resource_in(["horizontalpodautoscalers"]))
    return every(kind, has_subresource(), "object.spec.?minReplicas.orValue(1) == 0")


def _drops_claims() -> str:
    """A new StatefulSet that deletes claims with itself or its replicas: it would adopt those that are there. (Updates: `volumes`.)"""
    kind = every(operation("CREATE"), 'request.resource.group == "apps"', resource_in(["statefulsets"]), has_subresource())
    policy = "object.spec.?persistentVolumeClaimRetentionPolicy"
    return every(kind, some(*(f'{policy}.{when}.orValue("Retain") == "Delete"' for when in ("whenDeleted", "whenScaled"))))


def _storage(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    """What lies in no namespace: volumes, snapshots' contents, and the definitions of kinds."""
    volume = every('request.resource.group == ""', resource_in([_VOLUMES]))
    contents = every('request.resource.group == "snapshot.storage.k8s.io"', operation("UPDATE"))
    definition = every('request.resource.group == "apiextensions.k8s.io"', operation("UPDATE"))
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            Rule("", [_VOLUMES], ["CREATE", "UPDATE"]),
            Rule("snapshot.storage.k8s.io", ["volumesnapshotcontents"], ["UPDATE"]),
            Rule("apiextensions.k8s.io", [_DEFINITIONS, f"{_DEFINITIONS}/status"], ["UPDATE"]),
        ),
        "matchConditions": only_agents(shards),
        "variables": agent_variables(shards),
        "validations": [
            refusal(
                _spared(volume, _keeps_data()),
                "Agents make no volume's persistentVolumeReclaimPolicy other than Retain: with Delete the disk goes with its claim, or at once.",
            ),
            refusal(
                _spared(volume, some(_CLAIMED_AS_BEFORE, _RETAINED)),
                f"Agents give no claimRef to a volume whose persistentVolumeReclaimPolicy is not Retain: {_ASK}",
            ),
            refusal(
                _spared(contents, some(_SNAPSHOT_KEPT, "object.spec.?deletionPolicy == oldObject.spec.?deletionPolicy")),
                f"Agents turn no snapshot's deletionPolicy to Delete: {_ASK}",
            ),
            refusal(
                _spared(definition, every("object.spec == oldObject.spec", _STORED)),
                f"Agents do not change the spec of a CustomResourceDefinition, which can hide or empty every object of its kind: {_ASK}",
            ),
        ],
    }
    return policy(site, NAME_STORAGE, spec)


def _spared(concerned: str, harmless: str) -> str:
    return some(negated(concerned), harmless, "!variables.agent")


# A claim that is not there would have the volume released, and so its disk deleted. (What is claimed already: `volumes`.)
_CLAIMED_AS_BEFORE: Final = "!has(object.spec.claimRef) || (oldObject != null && has(oldObject.spec.claimRef))"
_POLICY: Final = 'object.spec.?persistentVolumeReclaimPolicy.orValue("Retain")'
_RETAINED: Final = f'{_POLICY} == "Retain"'
_SNAPSHOT_KEPT: Final = 'object.spec.?deletionPolicy.orValue("") == "Retain"'
# A version that is no longer said to be stored can be taken out, and its objects read no more.
_STORED: Final = "object.?status.storedVersions == oldObject.?status.storedVersions"


def _keeps_data() -> str:
    """Retain, or as it was. Also of a new volume: one that names another's disk, Delete and a claim that is gone has the disk deleted."""
    before = '(oldObject == null ? "Retain" : oldObject.spec.?persistentVolumeReclaimPolicy.orValue("Retain"))'
    return some(_RETAINED, f"{_POLICY} == {before}")
