"""What controllers would delete in an agent's place: volumes that are set free, and claims that go with their StatefulSet.

The deletion of volumes and claims waits for signatures; these are the ways to it that are no deletion. A volume whose claimRef names no
claim that there is counts as released, and is reclaimed (kubernetes pkg/controller/volume/persistentvolume/pv_controller.go, syncVolume).
A StatefulSet may say that its claims go when it is deleted or scaled (KEP-1847), and they do while they bear its ownerReference, whatever it says later. What an agent creates so is its own affair here: charts
do (Loki's); the hardened profile refuses that too.
"""

from collections.abc import Sequence
from typing import Final

from countersign.wire.cel import every, negated, some
from countersign.wire.guards.objects import (
    Guard,
    Json,
    Rule,
    Site,
    agents_spec,
    condition,
    constraints,
    operation,
    policy,
    refusal,
    resource_in,
)
from countersign.wire.shards import Shard

NAME: Final = "countersign-agents-volumes"
NAME_CLAIMS: Final = "countersign-agents-claims"
NAME_SCALING: Final = "countersign-agents-scaling"
_FEWER: Final = "With fewer replicas claims of this StatefulSet would go, unsigned: set persistentVolumeClaimRetentionPolicy.whenScaled to Retain first; they stay."
_REFERENCE: Final = ("namespace", "name", "uid")
_RETENTION: Final = "persistentVolumeClaimRetentionPolicy"


def volume_policies(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    if not shards:
        return []
    volume, stateful_set = resource_in(["persistentvolumes"]), resource_in(["statefulsets"])
    spec = agents_spec(
        shards,
        constraints(
            Rule("", ["persistentvolumes", "persistentvolumes/status"], ["UPDATE"]), Rule("apps", ["statefulsets"], ["UPDATE", "DELETE"])
        ),
        [
            refusal(
                some(negated(volume), _same_claim(), "!variables.agent"),
                "Agents do not change whose volume it is (spec.claimRef): a volume set free is reclaimed, and its disk goes. Ask the person you work for.",
            ),
            refusal(
                some(negated(every(stateful_set, operation("UPDATE"))), _not_turned("whenDeleted", "whenScaled"), "!variables.agent"),
                f"Agents do not turn a StatefulSet's {_RETENTION} to Delete: its claims would go unsigned. Leave it at Retain.",
            ),
            refusal(
                some(
                    negated(every(stateful_set, operation("UPDATE"), _is_fewer("1"))),
                    f'{_retention("object", "whenScaled")} != "Delete"',
                    "!variables.agent",
                ),
                _FEWER,
            ),
            refusal(
                some(
                    negated(every(stateful_set, operation("DELETE"))),
                    f'{_retention("oldObject", "whenDeleted")} != "Delete"',
                    "!variables.agent",
                ),
                f"The claims of this StatefulSet would go with it, unsigned: set {_RETENTION}.whenDeleted to Retain, and delete it once its claims bear no ownerReference any more; they stay.",
            ),
        ],
    )
    return [
        *policy(site, NAME, spec),
        *policy(site, NAME_CLAIMS, _claims(shards), params=("v1", "PersistentVolumeClaim")),
        *policy(site, NAME_SCALING, _scaling(shards), params=("apps/v1", "StatefulSet")),
    ]


def _claims(shards: Sequence[Shard]) -> Json:
    """A StatefulSet whose claims bear its ownerReference, whatever it says of them by now: all claims of the namespace are parameters."""
    return agents_spec(
        shards,
        constraints(Rule("apps", ["statefulsets"], ["DELETE"])),
        [
            refusal(
                "!variables.agent",
                "A claim of this StatefulSet would go with it, unsigned: it bears its ownerReference still. Delete it once none does "
                "(kubectl get persistentvolumeclaims -o yaml); of replicas that are gone they stay: ask the person you work for.",
            )
        ],
        conditions=[
            condition("takes-this-claim", "params.metadata.?ownerReferences.orValue([]).exists(owner, owner.uid == oldObject.metadata.uid)")
        ],
        # Parameters that the API server has not read yet would refuse everybody under Fail, as in the first second after its start.
        failing="Ignore",
    )


def _scaling(shards: Sequence[Shard]) -> Json:
    """By the subresource, which does not show what the StatefulSet says of its claims: all of the namespace are parameters."""
    return agents_spec(
        shards,
        constraints(Rule("apps", ["statefulsets/scale"], ["UPDATE"])),
        [refusal("!variables.agent", _FEWER)],
        conditions=[
            condition("this-one", 'request.?name.orValue("") == params.metadata.name'),
            condition("takes-claims", every(f'{_retention("params", "whenScaled")} == "Delete"', _is_fewer("0"))),
        ],
        # Parameters that the API server has not read yet would refuse everybody under Fail, as in the first second after its start.
        failing="Ignore",
    )


def _is_fewer(absent: str) -> str:
    return f"object.?spec.replicas.orValue({absent}) < oldObject.?spec.replicas.orValue({absent})"


def _same_claim() -> str:
    """Nobody's volume may be given to a claim; but a claim's stays its own."""
    same = [f"object.?spec.claimRef.{member} == oldObject.?spec.claimRef.{member}" for member in _REFERENCE]
    return some(negated("has(oldObject.spec) && has(oldObject.spec.claimRef)"), every(*same))


def _not_turned(*when: str) -> str:
    return every(*(some(f'{_retention("object", each)} != "Delete"', f'{_retention("oldObject", each)} == "Delete"') for each in when))


def _retention(tree: str, when: str) -> str:
    return f'{tree}.?spec.{_RETENTION}.{when}.orValue("Retain")'
