"""A cluster of three environments and three agents, and its guards: what the tests of the guards ask about."""

from collections.abc import Mapping
from typing import Any

from countersign.domain.request import GroupResource
from countersign.domain.resources import AgentIdentity, Meta, ProtectedEnvironment, ProtectFrom, Requirement, Selector, Subject, SubjectKind
from countersign.wire.guards import Guard, Site, guards
from tests.support.admission import Ask

SITE = Site(
    "uid-of-the-role", "countersign", "https://127.0.0.1:9443/validate", b"PEM", mutating=True, owners=("capsule.clastix.io/Tenant",)
)


KIRO, ROGUE = "system:serviceaccount:agents:kiro", "system:serviceaccount:agents:rogue"
OPERATOR, WEBHOOK = "system:serviceaccount:countersign:countersign-operator", "system:serviceaccount:countersign:countersign-webhook"
COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"
ALICE, ADMIN, DEPLOYER = "alice@example.com", "kubernetes-admin", "system:serviceaccount:ci:deployer"
RBAC, CRDS, POLICIES = "rbac.authorization.k8s.io", "apiextensions.k8s.io", "admissionregistration.k8s.io"


IDENTITIES = (
    AgentIdentity(Meta("kiro"), (Subject(SubjectKind.SERVICE_ACCOUNT, "kiro", "agents"),), ("alice",)),
    AgentIdentity(
        Meta("rogue"), (Subject(SubjectKind.SERVICE_ACCOUNT, "rogue", "agents"), Subject(SubjectKind.GROUP, "ai-agents")), ("alice", "bob")
    ),
    AgentIdentity(Meta("laptop"), (Subject(SubjectKind.USER, "alice@*", groups=("assisted",)),), (), sponsor_from_username=True),
)


DEFAULT = ProtectedEnvironment(Meta("default"), ProtectFrom.AGENTS, exclude=("kube-system",))


PAYMENTS = ProtectedEnvironment(
    Meta("payments"),
    ProtectFrom.PEOPLE,
    Selector({"team": "payments"}, (Requirement("tier", "In", ("prod",)),)),
    exclude=("payments-scratch",),
    resources=(GroupResource("argoproj.io", "applications"),),
)


GOLD = ProtectedEnvironment(Meta("gold"), ProtectFrom.EVERYONE, Selector({"tier": "gold"}))
ALL = guards(SITE, IDENTITIES, (DEFAULT, PAYMENTS, GOLD))
AGENTS_ONLY = guards(SITE, IDENTITIES, (DEFAULT,))
PROD = {"team": "payments", "tier": "prod"}


def configuration(built: tuple[Guard, ...] = ALL) -> Guard:
    return next(guard for guard in built if guard.kind == "ValidatingWebhookConfiguration")


def thing(name: str = "x", spec: Mapping[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, **({"spec": dict(spec)} if spec is not None else {})}


def namespace(name: str = "payments", labels: Mapping[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return thing(name, **({"labels": dict(labels)} if labels is not None else {}), **metadata)


def deleting(user: str, resource: str, old: Mapping[str, Any], **more: Any) -> Ask:
    return Ask(user, "DELETE", resource, old=old, **more)


MANY = tuple(
    ProtectedEnvironment(
        Meta(f"e{index}"),
        ProtectFrom.PEOPLE if index == 1 else ProtectFrom.AGENTS if index % 2 else ProtectFrom.EVERYONE,
        Selector({"team": f"t{index}"}),
        exclude=tuple(f"excluded-{number:03}" for number in range(20)),
    )
    for index in range(200)
)
