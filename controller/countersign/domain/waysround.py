"""The ways round Countersign that a set of permissions leaves open, the worst first (docs/posture.md).

A way is *direct* where nothing is needed but the API server: then an agent is not held. The others need a workload, a Secret or
somebody else's help, or destroy without deleting; they are told of, and the hardened profile closes most of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from countersign.domain.becoming import RBAC_GROUP
from countersign.domain.classify import BUILT_IN
from countersign.domain.rbac import Grant, Reach, Request, reaches
from countersign.domain.request import GroupResource

_ADMISSION: Final = "admissionregistration.k8s.io"
_FLOWS: Final = "flowcontrol.apiserver.k8s.io"
_UNSAFE: Final = "unsafe-delete-ignore-read-errors"  # KEP-3926
_WRITES: Final = ("create", "update", "patch", "delete", "deletecollection")
_OURS: Final = "countersign"
_POLICIES: Final = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
_MUTATIONS: Final = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
_CONFIGURATIONS: Final = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
_TEMPLATES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("apps", ("daemonsets", "deployments", "replicasets", "statefulsets")),
    ("batch", ("cronjobs", "jobs")),
    ("", ("replicationcontrollers",)),
)
_SCALES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("apps", ("deployments/scale", "replicasets/scale", "statefulsets/scale")),
    ("", ("replicationcontrollers/scale",)),
)


class Way(StrEnum):
    """Ways round, the worst first: the reason of `Held`, and a label of the metric."""

    IMPERSONATE = "CanImpersonate"
    POLICIES = "CanWritePolicies"
    RIGHTS = "CanGrantAnyRight"
    CERTIFICATES = "CanIssueCertificates"
    TOKENS = "CanMintTokens"
    NODES = "CanBecomeNode"
    KUBELETS = "CanEnterNodes"
    WEBHOOKS = "CanWriteWebhooks"
    UNREAD = "CanDeleteUnread"
    ANONYMOUS = "AnybodyCan"
    OUR_SECRETS = "CanReadOurSecrets"
    SECRETS = "CanReadSecrets"
    WORKLOADS = "CanRunAsOthers"
    PODS = "CanEnterPods"
    GRANTS = "CanShareItsRights"
    EMPTYING = "CanEmpty"
    RECLAIM = "CanChangeReclaim"
    DEFINITIONS = "CanChangeDefinitions"
    FLOWS = "CanStarve"

    @property
    def direct(self) -> bool:
        return self in _DIRECT


_DIRECT: Final = frozenset(
    {
        Way.IMPERSONATE,
        Way.POLICIES,
        Way.RIGHTS,
        Way.CERTIFICATES,
        Way.TOKENS,
        Way.NODES,
        Way.KUBELETS,
        Way.WEBHOOKS,
        Way.UNREAD,
        Way.ANONYMOUS,
    }
)
WHAT: Final = {
    Way.IMPERSONATE: "may act as others (impersonate)",
    Way.POLICIES: "may write admission policies, of which no admission is asked",
    Way.RIGHTS: "may grant itself any right (escalate or bind)",
    Way.CERTIFICATES: "may approve client certificates in others' names",
    Way.TOKENS: "may issue tokens of other ServiceAccounts",
    Way.NODES: "may get the certificate of a node",
    Way.KUBELETS: "may use the kubelets' own API (nodes/proxy): a shell in every pod, past admission",
    Way.WEBHOOKS: "may write admission webhooks, which see and change others' requests",
    Way.UNREAD: "may delete objects that cannot be read, of which no admission is asked",
    Way.ANONYMOUS: "could ask without credentials, as anybody: what is given to those goes round Countersign",
    Way.OUR_SECRETS: "may read the Secrets of Countersign's own namespace",
    Way.SECRETS: "may read Secrets, among them tokens of ServiceAccounts where there are such",
    Way.WORKLOADS: "may run workloads under any ServiceAccount of the namespace, and privileged ones where Pod Security lets them",
    Way.PODS: "may enter running pods, and so act under their ServiceAccounts",
    Way.GRANTS: "may give the rights that it has to others, who are no agents",
    Way.EMPTYING: "may empty what it may not delete: delete StatefulSets or whole collections, or scale to nothing",
    Way.RECLAIM: "may change what becomes of a volume once its claim is gone",
    Way.DEFINITIONS: "may change CustomResourceDefinitions, and so what becomes of their objects",
    Way.FLOWS: "may change the API server's queues, and so slow others down",
}
REMEDY: Final = {
    Way.IMPERSONATE: "take every verb that begins with impersonate away",
    Way.POLICIES: "take the writes to policies and their bindings away",
    Way.RIGHTS: "take the verbs escalate and bind away",
    Way.CERTIFICATES: "take the verb approve on signers away",
    Way.TOKENS: "take create on serviceaccounts/token away, or name those accounts in the AgentIdentity",
    Way.NODES: "take certificatesigningrequests/nodeclient and approve away",
    Way.KUBELETS: "take nodes/proxy away",
    Way.WEBHOOKS: "take the writes to webhook configurations away",
    Way.UNREAD: "take the verb unsafe-delete-ignore-read-errors away",
    Way.ANONYMOUS: "take the binding to system:unauthenticated or system:anonymous away",
    Way.OUR_SECRETS: "give Secrets by Roles in the agent's own namespaces",
    Way.SECRETS: "give Secrets by Roles in the agent's own namespaces",
    Way.WORKLOADS: "choose the profile hardened, or give workloads by Roles in the agent's own namespaces",
    Way.PODS: "give pods/exec, attach and ephemeralcontainers by Roles in the agent's own namespaces",
    Way.GRANTS: "take the writes to bindings away",
    Way.EMPTYING: "choose the profile hardened",
    Way.RECLAIM: "choose the profile hardened, or take the writes to persistentvolumes away",
    Way.DEFINITIONS: "take update and patch on customresourcedefinitions away",
    Way.FLOWS: "take the writes to flowcontrol.apiserver.k8s.io away",
}


@dataclass(frozen=True, slots=True)
class Opening:
    """One way round, as the agent has it. `asks`: what an authorizer decides it by; `closed_by` says who refuses it none the less.

    `where` and `bindings` are for people; `bindings` is empty where another authorizer than RBAC gives it.
    """

    way: Way
    where: str
    bindings: tuple[str, ...]
    asks: tuple[Request, ...] = ()
    closed_by: str = ""

    @property
    def sentence(self) -> str:
        by = listed(self.bindings, 3) if self.bindings else "another authorizer than RBAC"
        return f"{self.way} {self.where}: it {WHAT[self.way]}; given by {by}. Remedy: {REMEDY[self.way]}."


OF_THE_CLUSTER: Final = frozenset(
    {
        GroupResource("", "persistentvolumes"),
        GroupResource("apiextensions.k8s.io", "customresourcedefinitions"),
        *(GroupResource(_ADMISSION, plural) for plural in (*_POLICIES, *_MUTATIONS, *_CONFIGURATIONS)),
        *(GroupResource(_FLOWS, plural) for plural in ("flowschemas", "prioritylevelconfigurations")),
        *(GroupResource(RBAC_GROUP, plural) for plural in ("clusterroles", "clusterrolebindings")),
    }
)
_Held: TypeAlias = tuple[Reach, Request]


def direct(grants: Sequence[Grant], listed: frozenset[GroupResource]) -> Iterable[Opening]:
    """Those by which nobody else is become (who is become stands in `becoming`). `listed`: kinds that environments guard besides."""
    policies = [
        *_held(grants, _WRITES, _ADMISSION, _MUTATIONS),
        # On other people's validating policies nothing of ours depends.
        *(each for each in _held(grants, _WRITES, _ADMISSION, _POLICIES) if not each[0].names or _names_ours(each[0])),
    ]
    yield from _opened(Way.POLICIES, policies)
    yield from _opened(Way.WEBHOOKS, _held(grants, _WRITES, _ADMISSION, _CONFIGURATIONS))
    kinds = sorted(BUILT_IN | listed, key=str)
    yield from _opened(Way.UNREAD, [each for kind in kinds for each in _held(grants, (_UNSAFE,), kind.group, (kind.resource,))])


def indirect(grants: Sequence[Grant], our_namespace: str, is_own: Callable[[str], bool]) -> Iterable[Opening]:
    """`is_own`: whether every ServiceAccount of a namespace is this same agent."""

    def elsewhere(found: Iterable[_Held]) -> list[_Held]:
        """Not where every account is this agent, nor in our namespace, where a policy refuses agents every write."""
        return [each for each in found if each[0].namespace != our_namespace and not (each[0].namespace and is_own(each[0].namespace))]

    secrets = _held(grants, ("get", "list", "watch"), "", ("secrets",))
    yield from _opened(Way.OUR_SECRETS, [each for each in secrets if each[0].namespace in ("", our_namespace)])
    yield from _opened(Way.SECRETS, elsewhere(secrets))
    workloads = _held(grants, ("create",), "", ("pods",))
    for group, resources in _TEMPLATES:
        workloads += _held(grants, ("create", "update", "patch"), group, resources)
    yield from _opened(Way.WORKLOADS, elsewhere(workloads))
    entering = _held(grants, ("create", "get"), "", ("pods/exec", "pods/attach"))
    entering += _held(grants, ("update", "patch"), "", ("pods/ephemeralcontainers",))
    yield from _opened(Way.PODS, elsewhere(entering))
    rights = ("clusterrolebindings", "rolebindings", "clusterroles", "roles")
    yield from _opened(Way.GRANTS, _held(grants, ("create", "update", "patch"), RBAC_GROUP, rights))
    yield from _opened(Way.EMPTYING, _emptying(grants))
    yield from _opened(Way.RECLAIM, _held(grants, ("update", "patch"), "", ("persistentvolumes",)))
    yield from _opened(Way.DEFINITIONS, _held(grants, ("update", "patch"), "apiextensions.k8s.io", ("customresourcedefinitions",)))
    yield from _opened(Way.FLOWS, _held(grants, _WRITES, _FLOWS, ("flowschemas", "prioritylevelconfigurations")))


def anonymous(grants: Sequence[Grant], becoming: Iterable[Reach]) -> Iterable[Opening]:
    """What needs no credentials is every agent's too, and nobody knows it for an agent's. `becoming`: where others can be become."""
    reached = [*becoming, *(reach for found in _reaches_of_anybody(grants) for reach in found)]
    if reached:
        yield opening_of(Way.ANONYMOUS, reached, ())


def _reaches_of_anybody(grants: Sequence[Grant]) -> Iterable[Sequence[Reach]]:
    """Guarded deletions, and writes to what admission is made of."""
    for kind in sorted(BUILT_IN, key=str):
        yield [reach for reach, _ in _held(grants, ("delete", "deletecollection"), kind.group, (kind.resource,))]
    yield [reach for reach, _ in _held(grants, _WRITES, _ADMISSION, (*_POLICIES, *_MUTATIONS, *_CONFIGURATIONS))]


def _emptying(grants: Sequence[Grant]) -> list[_Held]:
    found = _held(grants, ("delete",), "apps", ("statefulsets",)) + _held(grants, ("deletecollection",), "", ("pods",))
    for group, resources in _TEMPLATES:
        found += _held(grants, ("deletecollection",), group, resources)
    for group, resources in _SCALES:
        found += _held(grants, ("update", "patch"), group, resources)
    return found


def _names_ours(reach: Reach) -> bool:
    return any(name.startswith(_OURS) for name in reach.names)


def _held(grants: Sequence[Grant], verbs: Sequence[str], group: str, resources: Sequence[str]) -> list[_Held]:
    """Each permission that is there, with the question that an authorizer would decide it by.

    What a RoleBinding gives holds for nothing that lies in no namespace.
    """
    found: list[_Held] = []
    for resource in resources:
        plural, _, subresource = resource.partition("/")
        for verb in verbs:
            found += (
                (reach, Request(verb, group, plural, subresource, reach.namespace, min(reach.names, default="")))
                for reach in reaches(grants, verb, group, plural, subresource)
                if not reach.namespace or GroupResource(group, plural) not in OF_THE_CLUSTER
            )
    return found


def _opened(way: Way, found: Sequence[_Held]) -> Iterable[Opening]:
    if found:
        yield opening_of(way, [reach for reach, _ in found], tuple(dict.fromkeys(ask for _, ask in found)))


def opening_of(way: Way, found: Sequence[Reach], asks: tuple[Request, ...]) -> Opening:
    return Opening(way, where(found), tuple(dict.fromkeys(str(reach.binding) for reach in found)), asks)


def where(found: Iterable[Reach]) -> str:
    held = list(found)
    if any(not reach.namespace and not reach.names for reach in held):
        return "everywhere"
    parts = []
    if namespaces := sorted({reach.namespace for reach in held if reach.namespace}):
        parts.append(f"in {listed(namespaces, 3)}")
    if names := sorted({name for reach in held if not reach.namespace for name in reach.names}):
        parts.append(f"for {listed(names, 3)}")
    return " and ".join(parts)


def listed(names: Sequence[str], most: int) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
