"""What agents could put before us, signed for or not: webhooks that are asked about our kinds, and queues in which our requests wait.

A mutating webhook rewrites what others write, a validating one can refuse what reviewers sign. A FlowSchema decides before authorization
whose requests wait, or never come through: the operator's repairs, a reviewer's Approval. In process, as everything that must hold while the
webhook is down.
"""

from collections.abc import Sequence
from typing import Final

from countersign.domain.names import GROUP
from countersign.wire.cel import every, literals, negated
from countersign.wire.guards.objects import (
    Guard,
    Rule,
    Site,
    agents_spec,
    constraints,
    operation,
    policy,
    refusal,
    resource_in,
)
from countersign.wire.shards import Shard

NAME: Final = "countersign-shadows"
_ASK: Final = "ask the person you work for to do it."
_FLOWS: Final = ("flowschemas", "flowschemas/status", "prioritylevelconfigurations", "prioritylevelconfigurations/status")
_CONFIGURATIONS: Final = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


def shadow_policies(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    if not shards:
        return []
    flows = 'request.resource.group == "flowcontrol.apiserver.k8s.io"'
    asked = f"object.?webhooks.orValue([]).exists(hook, hook.?rules.orValue([]).exists(rule, rule.?apiGroups.orValue([]).exists(group, group in {literals((GROUP, '*'))})))"
    spec = agents_spec(
        shards,
        constraints(
            Rule("flowcontrol.apiserver.k8s.io", _FLOWS, ["CREATE", "UPDATE", "DELETE"]),
            Rule("admissionregistration.k8s.io", _CONFIGURATIONS, ["CREATE", "UPDATE"]),
        ),
        [
            refusal(
                negated(every(flows, "variables.agent")),
                f"Agents write no FlowSchemas and PriorityLevelConfigurations, which decide whose requests the API server answers: {_ASK}",
            ),
            refusal(
                negated(every(operation("CREATE", "UPDATE"), resource_in(_CONFIGURATIONS), "variables.agent", asked)),
                f"Agents make no webhook that is asked about {GROUP}, or about every API group: name the groups that it is for, or {_ASK}",
            ),
        ],
    )
    return policy(site, NAME, spec)
