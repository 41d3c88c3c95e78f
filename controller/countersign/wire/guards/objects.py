"""What all guards have in common: their names, their owner, and the frames of the objects of admissionregistration.k8s.io/v1."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from countersign.domain.document import JsonObject
from countersign.domain.names import GROUP
from countersign.domain.profile import Profile
from countersign.domain.request import GroupResource
from countersign.wire.cel import literal, mapped, some
from countersign.wire.shards import Shard

Json: TypeAlias = dict[str, Any]

API: Final = "admissionregistration.k8s.io/v1"
COLLECTIONS: Final[Mapping[str, str]] = {
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
    "PriorityLevelConfiguration": "prioritylevelconfigurations",
    "FlowSchema": "flowschemas",
}
FLOW_CONTROL: Final = "flowcontrol.apiserver.k8s.io/v1"
OWNER: Final = "countersign-operator"  # the chart's ClusterRole whose deletion takes every guard with it
WEBHOOK_SERVICE: Final = "countersign-webhook"
CONFIGURATION: Final = "countersign"
TRIAL: Final = "trial-"  # webhook entries by which nothing is held back: they may fail open
OWN_KINDS: Final = ("agentidentities", "reviewers", "protectedenvironments")
RECORDS: Final = ("changerequests", "approvals")
NAMESPACES: Final = ("namespaces", "namespaces/status", "namespaces/finalize")  # each of the three can change a namespace's metadata
GARBAGE_COLLECTORS: Final = ("system:serviceaccount:kube-system:generic-garbage-collector", "system:kube-controller-manager")


@dataclass(frozen=True, slots=True)
class Site:
    """Where Countersign stands in this cluster.

    `owner_uid` is that of the ClusterRole OWNER. `webhook_url` is "" where the Service is to be called. `ca_bundle` is PEM.
    `mutating`: whether MutatingAdmissionPolicy v1 is served (Kubernetes 1.36). `owners` are the kinds, as `group/Kind`, that may
    own namespaces (Capsule's tenants: `capsule.clastix.io/Tenant`). `now` is a time lately, for what holds only so long; None is never.
    `jail`: whether agents' writes to admission policies are held in wire/guards/jail.py.
    """

    owner_uid: str
    namespace: str
    webhook_url: str
    ca_bundle: bytes
    mutating: bool
    owners: tuple[str, ...] = ()
    profile: Profile = Profile.STANDARD
    now: datetime | None = None
    jail: bool = False

    @property
    def operator(self) -> str:
        return f"system:serviceaccount:{self.namespace}:countersign-operator"

    @property
    def webhook(self) -> str:
        return f"system:serviceaccount:{self.namespace}:countersign-webhook"


def quarter(now: datetime) -> datetime:
    """The last full quarter of an hour: a policy that holds a time is not to change with every second."""
    return now.replace(minute=now.minute - now.minute % 15, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Guard:
    """One object that the operator keeps as it is here."""

    body: JsonObject

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def collection(self) -> str:
        return COLLECTIONS[self.kind]

    @property
    def path(self) -> str:
        return f"{root_of(self.kind)}/{self.name}"


def root_of(kind: str) -> str:
    """The API path of the collection in which guards of a kind lie."""
    return f"/apis/{FLOW_CONTROL if kind in ('PriorityLevelConfiguration', 'FlowSchema') else API}/{COLLECTIONS[kind]}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy or webhook; `scope` is Cluster, Namespaced or *."""

    group: str
    resources: Sequence[str]
    operations: Sequence[str]
    scope: str = "*"

    def body(self) -> Json:
        return {
            "apiGroups": [self.group],
            "apiVersions": ["*"],
            "operations": list(self.operations),
            "resources": list(self.resources),
            "scope": self.scope,
        }


def rules_for(kinds: Sequence[GroupResource], operations: Sequence[str], scope: str = "*") -> list[Rule]:
    """One rule for each API group, in a stable order and without repeats."""
    groups = sorted({kind.group for kind in kinds})
    return [Rule(group, sorted({kind.resource for kind in kinds if kind.group == group}), operations, scope) for group in groups]


def condition(name: str, expression: str) -> Json:
    return {"name": name, "expression": expression}


def variable(name: str, expression: str) -> Json:
    return {"name": name, "expression": expression}


def refusal(expression: str, message: str) -> Json:
    """A validation: the request is refused with `message` where `expression` is false."""
    return {"expression": expression, "message": message, "reason": "Forbidden"}


def agent_variables(shards: Sequence[Shard]) -> list[Json]:
    """Variables `agent0` … and `agent`: whether the requester is an agent. Each shard is an expression of its own for its length."""
    parts = [variable(f"agent{index}", shard.matches) for index, shard in enumerate(shards)]
    return [*parts, variable("agent", some(*(f"variables.{part['name']}" for part in parts)))]


def only_agents(shards: Sequence[Shard]) -> list[Json]:
    """A matchCondition that keeps everybody else's requests away, where the agents fill but one expression: conditions know no variables."""
    return [condition("an-agent", shards[0].matches)] if len(shards) == 1 else []


def agents_spec(
    shards: Sequence[Shard],
    frame: Json,
    validations: Sequence[Json],
    *,
    conditions: Sequence[Json] = (),
    variables: Sequence[Json] = (),
    failing: str = "Fail",
) -> Json:
    """The spec of a policy that is about agents' requests alone. `frame` are its matchConstraints; `variables.agent` says whether one asks."""
    return {
        "failurePolicy": failing,
        "matchConstraints": frame,
        "matchConditions": [*conditions, *only_agents(shards)],
        "variables": [*agent_variables(shards), *variables],
        "validations": list(validations),
    }


def policy(site: Site, name: str, spec: Json, *, actions: Sequence[str] = ("Deny",), params: tuple[str, str] | None = None) -> list[Guard]:
    """A ValidatingAdmissionPolicy and its binding. `params`: the apiVersion and kind whose objects, in the request's namespace, it looks at."""
    kind = "ValidatingAdmissionPolicy"
    bound: Json = {"policyName": name, "validationActions": list(actions)}
    if params is not None:
        spec = {**spec, "paramKind": {"apiVersion": params[0], "kind": params[1]}}
        bound["paramRef"] = {"selector": {}, "parameterNotFoundAction": "Allow"}
    return [Guard(_frame(site, kind, name, spec=spec)), Guard(_frame(site, f"{kind}Binding", name, spec=bound))]


def mutation(site: Site, name: str, spec: Json) -> list[Guard]:
    """A MutatingAdmissionPolicy and its binding."""
    kind = "MutatingAdmissionPolicy"
    return [Guard(_frame(site, kind, name, spec=spec)), Guard(_frame(site, f"{kind}Binding", name, spec={"policyName": name}))]


def configuration(site: Site, webhooks: Sequence[Json]) -> Guard:
    """The ValidatingWebhookConfiguration."""
    return Guard(_frame(site, "ValidatingWebhookConfiguration", CONFIGURATION, webhooks=list(webhooks)))


def flow_control(site: Site, kind: str, name: str, spec: Json) -> Guard:
    """A PriorityLevelConfiguration or a FlowSchema."""
    return Guard({**_frame(site, kind, name, spec=spec), "apiVersion": FLOW_CONTROL})


def client(site: Site) -> Json:
    """How the API server reaches the webhook."""
    bundle = base64.b64encode(site.ca_bundle).decode("ascii")
    if site.webhook_url:
        return {"url": site.webhook_url, "caBundle": bundle}
    service = {"namespace": site.namespace, "name": WEBHOOK_SERVICE, "path": "/validate", "port": 443}
    return {"service": service, "caBundle": bundle}


def constraints(*rules: Rule, namespace: str = "") -> Json:
    """matchConstraints, for one namespace only where it is given. Its name is a label that the API server keeps true."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}} if namespace else {}
    return {
        "matchPolicy": "Equivalent",
        "namespaceSelector": selector,
        "objectSelector": {},
        "resourceRules": [rule.body() for rule in rules],
    }


def resource_in(resources: Sequence[str]) -> str:
    return f"request.resource.resource in [{', '.join(literal(resource) for resource in resources)}]"


def operation(*names: str) -> str:
    return f"request.operation in [{', '.join(literal(name) for name in names)}]"


def has_subresource(name: str = "") -> str:
    """CEL: whether the request is for that subresource; for none, where no name is given."""
    return f'request.?subResource.orValue("") == {literal(name)}'


def text_map(values: Mapping[str, str]) -> str:
    return mapped({key: literal(value) for key, value in values.items()})


def owner_reference(uid: str) -> Json:
    """To the chart's ClusterRole, so that the garbage collector removes what bears it when the chart is uninstalled."""
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": OWNER, "uid": uid}


def _frame(site: Site, kind: str, name: str, **parts: Any) -> Json:
    metadata = {
        "name": name,
        "labels": {"app.kubernetes.io/name": "countersign", "app.kubernetes.io/managed-by": OWNER, "app.kubernetes.io/part-of": GROUP},
        "ownerReferences": [owner_reference(site.owner_uid)],
    }
    return {"apiVersion": API, "kind": kind, "metadata": metadata, **parts}
