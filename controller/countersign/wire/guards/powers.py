"""What makes an account stronger than an ordinary one: what Countersign holds back from agents, and ways to become somebody else.

The one table is compiled twice: into questions to the API server's authorizer about an account (k8s.io/apiserver pkg/cel/library/authz.go),
and into a look at the rules of a Role. Kubernetes' own list of such rights: RBAC good practices, "privilege escalation risks".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from countersign.domain.names import GROUP
from countersign.domain.request import GroupResource
from countersign.wire.cel import every, literal, literals, some
from countersign.wire.guards.objects import Json, variable

ADMISSION_GROUP: Final = "admissionregistration.k8s.io"
AUTHENTICATION_GROUP: Final = "authentication.k8s.io"
CERTIFICATES_GROUP: Final = "certificates.k8s.io"
RBAC_GROUP: Final = "rbac.authorization.k8s.io"

# The API server counts 350,000 for each question: of 1,000,000 an expression, and of 10,000,000 a policy and request
# (k8s.io/apiserver pkg/apis/cel/config.go, pkg/cel/library/cost.go). What is left is for the rest of the policy.
CHECKS_AN_EXPRESSION: Final = 2
CHECKS_A_POLICY: Final = 26
MAX_POLICIES: Final = 8  # the operator's rights name them
MAX_LISTED: Final = 50  # kinds that environments list, whose deletion there is room to ask about

_REMOVE: Final = ("delete", "deletecollection")
_WRITE: Final = ("create", "update", "patch")


@dataclass(frozen=True, slots=True)
class Power:
    """A right. `resource` may hold a subresource after a slash; `namespaced`: it may be given by a RoleBinding."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    namespaced: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One question to the authorizer."""

    group: str
    resource: str
    verb: str
    namespaced: bool

    @property
    def expression(self) -> str:
        """CEL: the authorizer's decision about the account `variables.accountName` of the request's namespace."""
        name, _, sub = self.resource.partition("/")
        steps = [f"group({literal(self.group)})", f"resource({literal(name)})"]
        steps += [f"subresource({literal(sub)})"] if sub else []
        steps += ["namespace(request.namespace)"] if self.namespaced else []
        return ".".join(["variables.asked", *steps, f"check({literal(self.verb)})"])


_HELD_BACK: Final = (
    Power("", "namespaces", ("delete",), namespaced=True),  # namespaced: a RoleBinding in a namespace can give the right to delete it
    Power("", "persistentvolumes", _REMOVE),
    Power("", "persistentvolumeclaims", _REMOVE, namespaced=True),
    Power("apiextensions.k8s.io", "customresourcedefinitions", (*_REMOVE, "update", "patch")),
    Power("apps", "statefulsets", _REMOVE, namespaced=True),
    Power(GROUP, "protectedenvironments", (*_REMOVE, "update", "patch")),
    Power(GROUP, "agentidentities", (*_REMOVE, "update", "patch")),
    Power(GROUP, "reviewers", _WRITE),
)
_BECOMING: Final = (
    Power("", "users", ("impersonate",)),
    Power("", "groups", ("impersonate",)),
    Power("", "serviceaccounts", ("impersonate",), namespaced=True),
    Power("", "serviceaccounts/token", ("create",), namespaced=True),
    Power("", "secrets", ("create",), namespaced=True),  # of the type that the API server fills with an account's token
    Power("", "pods", _WRITE, namespaced=True),
    Power("apps", "deployments", _WRITE, namespaced=True),
    Power("batch", "jobs", _WRITE, namespaced=True),
    Power("", "pods/exec", ("create", "get"), namespaced=True),
    Power("", "nodes/proxy", ("create", "get")),
    Power(RBAC_GROUP, "clusterroles", ("bind", "escalate"), namespaced=True),
    Power(RBAC_GROUP, "roles", ("bind", "escalate"), namespaced=True),
    Power(CERTIFICATES_GROUP, "certificatesigningrequests/approval", ("update", "patch")),
    Power(ADMISSION_GROUP, "mutatingadmissionpolicies", (*_WRITE, "delete")),
    Power(ADMISSION_GROUP, "mutatingwebhookconfigurations", _WRITE),
    Power(ADMISSION_GROUP, "validatingadmissionpolicies", ("update", "patch", "create", *_REMOVE)),
    Power(ADMISSION_GROUP, "validatingadmissionpolicybindings", ("update", "patch", "create", *_REMOVE)),
    Power("apiregistration.k8s.io", "apiservices", _WRITE),
    Power(ADMISSION_GROUP, "mutatingadmissionpolicybindings", (*_WRITE, "delete")),
    Power(ADMISSION_GROUP, "validatingwebhookconfigurations", _WRITE),
    Power(CERTIFICATES_GROUP, "signers", ("approve", "sign")),
    Power(AUTHENTICATION_GROUP, "users", ("impersonate:user-info",)),
    Power(AUTHENTICATION_GROUP, "serviceaccounts", ("impersonate:serviceaccount",), namespaced=True),
    Power("", "pods/ephemeralcontainers", ("update", "patch"), namespaced=True),
    Power("", "replicationcontrollers", _WRITE, namespaced=True),
    *(Power("apps", kind, _WRITE, namespaced=True) for kind in ("statefulsets", "daemonsets", "replicasets")),
    Power("batch", "cronjobs", _WRITE, namespaced=True),
)


def powers(listed: Iterable[GroupResource]) -> tuple[Power, ...]:
    """All of them; `listed` are the kinds whose deletion environments hold back besides the built-in ones."""
    known = {(power.group, power.resource) for power in _HELD_BACK}
    more = [kind for kind in sorted(set(listed), key=str) if (kind.group, kind.resource) not in known][:MAX_LISTED]
    return (*_HELD_BACK, *_BECOMING, *(Power(kind.group, kind.resource, _REMOVE, namespaced=True) for kind in more))


def checks(held: Iterable[Power]) -> list[Check]:
    """One question for each verb."""
    return [Check(power.group, power.resource, verb, power.namespaced) for power in held for verb in power.verbs]


def gravest(held: Iterable[Power]) -> list[Check]:
    """As many questions as one policy holds: the first verb of each power, the gravest powers first."""
    return [Check(power.group, power.resource, power.verbs[0], power.namespaced) for power in held][:CHECKS_A_POLICY]


def dealt(questions: Sequence[Check]) -> list[Sequence[Check]]:
    """The questions dealt out over as many policies as their cost needs, MAX_POLICIES at the most."""
    return [questions[start : start + CHECKS_A_POLICY] for start in range(0, len(questions), CHECKS_A_POLICY)][:MAX_POLICIES]


def strength(questions: Sequence[Check]) -> list[Json]:
    """Variables that end in `strong`: whether the account may do any of it. What the authorizer cannot say counts as yes."""
    pairs = [questions[start : start + CHECKS_AN_EXPRESSION] for start in range(0, len(questions), CHECKS_AN_EXPRESSION)]
    parts = [
        variable(f"strong{index}", f"[{', '.join(check.expression for check in pair)}].exists(made, made.allowed() || made.errored())")
        for index, pair in enumerate(pairs)
    ]
    return [
        variable("asked", "authorizer.serviceAccount(request.namespace, variables.accountName)"),
        *parts,
        variable("strong", some(*(f"variables.strong{index}" for index in range(len(pairs))))),
    ]


def rules_give(rules: str, held: Iterable[Power]) -> str:
    """CEL: whether the RBAC rules, a list, give any of the powers. One condition for all kinds of one group and the same verbs."""
    gathered: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for power in held:
        gathered.setdefault((power.group, power.verbs), []).append(power.resource)
    given = [
        every(
            f'rule.?apiGroups.orValue([]).exists(group, group in ["*", {literal(group)}])',
            f"rule.?resources.orValue([]).exists(resource, resource in {literals(_named(resources))})",
            f"rule.?verbs.orValue([]).exists(verb, verb in {literals(('*', *verbs))})",
        )
        for (group, verbs), resources in gathered.items()
    ]
    impersonating = 'rule.?verbs.orValue([]).exists(verb, verb.startsWith("impersonate"))'
    return f"{rules}.exists(rule, {some(*given, impersonating)})"


def _named(resources: Sequence[str]) -> tuple[str, ...]:
    """The names by which a rule can mean these resources: RBAC knows `*`, and `*/SUBRESOURCE` (pkg/apis/rbac/v1/evaluation_helpers.go)."""
    subs = [f"*/{resource.partition('/')[2]}" for resource in resources if "/" in resource]
    return tuple(dict.fromkeys(("*", *resources, *subs)))
