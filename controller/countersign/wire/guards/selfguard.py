"""Our guards guard each other: webhooks are never asked about webhook configurations, policies are (Kubernetes: rules.go, plugin.go).

By the objects' own names in CEL, never by `resourceNames`: a deletecollection arrives without a name. The garbage collector passes,
so that everything goes with the ClusterRole that owns it, with nothing of ours running; nobody gives that ClusterRole an owner.

It stands there twice, under two names: the API server takes policies up about once a second, and who weakens one of them has to have both
weak at the same tick (docs/threat-model.md, the tamper race).
"""

from typing import Final

from countersign.domain.names import ANNOTATION_REVISION, GROUP
from countersign.wire.cel import USERNAME, every, literal, literals, negated, optional_name, some
from countersign.wire.guards.exact import NOT_AS_WRITTEN, as_written
from countersign.wire.guards.laundering import keeps_owners
from countersign.wire.guards.objects import (
    CONFIGURATION,
    GARBAGE_COLLECTORS,
    OWNER,
    Guard,
    Rule,
    Site,
    condition,
    constraints,
    has_subresource,
    operation,
    policy,
    refusal,
    resource_in,
)

NAME: Final = "countersign-guards"
SECOND_NAME: Final = "countersign-guards-2"
_PREFIX: Final = "countersign-"
_CONFIGURATIONS: Final = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
_DEFINITIONS: Final = ("customresourcedefinitions", "customresourcedefinitions/status")
_FLOWS: Final = ("flowschemas", "flowschemas/status", "prioritylevelconfigurations", "prioritylevelconfigurations/status")


def self_policies(site: Site, configuration: Guard) -> list[Guard]:
    """`configuration`: the webhook configuration that is to be in force with them."""
    webhook, definition, role = resource_in(_CONFIGURATIONS), resource_in(["customresourcedefinitions"]), resource_in(["clusterroles"])
    name = optional_name()
    by_operator = f"{USERNAME} == {literal(site.operator)}"
    collected = every(operation("DELETE"), f"{USERNAME} in {literals(GARBAGE_COLLECTORS)}")
    served = resource_in(["apiservices"])
    flows = resource_in(["flowschemas", "prioritylevelconfigurations"])
    written = every(webhook, operation("CREATE", "UPDATE"))
    by_server = f'{USERNAME} == "system:apiserver"'  # registers the API of each CRD
    ours = some(
        every(webhook, f"{name} == {literal(CONFIGURATION)}"),
        every(definition, f"{name}.endsWith({literal('.' + GROUP)})"),
        every(served, f"{name}.endsWith({literal('.' + GROUP)})"),
        every(role, f"{name} == {literal(OWNER)}"),
        every(flows, f"{name}.startsWith({literal(_PREFIX)})"),
    )
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            Rule("admissionregistration.k8s.io", _CONFIGURATIONS, ["CREATE", "UPDATE", "DELETE"]),
            Rule("apiextensions.k8s.io", _DEFINITIONS, ["CREATE", "UPDATE", "DELETE"]),
            Rule("apiregistration.k8s.io", ["apiservices", "apiservices/status"], ["CREATE", "UPDATE", "DELETE"]),
            Rule("rbac.authorization.k8s.io", ["clusterroles"], ["CREATE", "UPDATE"]),
            Rule("flowcontrol.apiserver.k8s.io", _FLOWS, ["CREATE", "UPDATE", "DELETE"]),
        ),
        "matchConditions": [condition("one-of-ours", ours)],
        "validations": [
            refusal(
                some(negated(webhook), by_operator, collected),
                f"The webhook configuration {CONFIGURATION} is kept by Countersign's operator. To remove Countersign, uninstall its Helm release.",
            ),
            refusal(
                some(negated(definition), by_operator, every(has_subresource("status"), by_server), _same_definition()),
                "Countersign's CustomResourceDefinitions are kept by its operator, which brings newer ones by itself: leave them out of what you apply. "
                "Deleting one would delete every signature: uninstall the Helm release first.",
            ),
            refusal(
                some(
                    negated(every(definition, operation("CREATE", "UPDATE"))), 'object.?spec.conversion.strategy.orValue("None") == "None"'
                ),
                "Countersign's CustomResourceDefinitions have no conversion webhook: whoever answers it would say what every signature says. "
                "Leave spec.conversion out; where it is not yours, a mutating policy or webhook puts it there: remove that.",
            ),
            refusal(
                some(negated(served), by_server, by_operator),
                f"The API {GROUP} is served by its CustomResourceDefinitions: another server in its place could forge every signature.",
            ),
            refusal(
                some(negated(every(served, operation("CREATE", "UPDATE"))), "!has(object.spec) || !has(object.spec.service)"),
                f"The API {GROUP} has no server of its own, whoever writes so: leave spec.service out; where it is not yours, a mutating policy or webhook "
                "puts it there: remove that.",
            ),
            refusal(
                some(negated(role), keeps_owners()),
                f"The ClusterRole {OWNER} gets no ownerReferences: every guard goes with it. Leave metadata.ownerReferences out.",
            ),
            refusal(
                some(negated(flows), by_operator, by_server, collected),
                f"FlowSchemas and PriorityLevelConfigurations named {_PREFIX}… are kept by Countersign's operator. Choose another name.",
            ),
            *(refusal(some(negated(written), demand), NOT_AS_WRITTEN) for demand in as_written(configuration)),
        ],
    }
    return [*policy(site, NAME, spec), *policy(site, SECOND_NAME, spec)]


def _same_definition() -> str:
    """An apply that changes nothing: `kubectl apply`, Argo CD and Flux write their own annotations and labels, and come again and again."""
    revision = f"metadata.?annotations[?{literal(ANNOTATION_REVISION)}]"
    return every(
        operation("UPDATE"),
        has_subresource(),
        "object.spec == oldObject.spec",
        f"object.{revision} == oldObject.{revision}",
        "object.metadata.?finalizers == oldObject.metadata.?finalizers",
        "object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences",
    )
