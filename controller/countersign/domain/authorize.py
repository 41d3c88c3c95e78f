"""What agents are denied before RBAC is asked: what admission never sees, and nothing that ordinary work needs.

Admission sees neither reads, nor impersonation, nor writes to policies and webhook configurations, nor calls straight to a kubelet; an
authorizer is asked about each. The answer is a denial or no opinion, never an allow: RBAC goes on deciding. What the same words say in
CEL, so that nothing else reaches us, is in wire/access.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from countersign.domain.identify import Agent, Requester

READS: Final = frozenset({"get", "list", "watch"})
CONFIGURATION_GROUPS: Final = ("admissionregistration.k8s.io", "apiregistration.k8s.io", "flowcontrol.apiserver.k8s.io")
"""Who writes these decides what admission does, who serves an API, and whose requests are heard at all."""

IMPERSONATE: Final = "impersonate"
UNSAFE_DELETE: Final = "unsafe-delete-ignore-read-errors"
RBAC_GROUP: Final = "rbac.authorization.k8s.io"
RBAC_VERBS: Final = ("bind", "escalate")
CERTIFICATES_GROUP: Final = "certificates.k8s.io"
SIGNER_VERBS: Final = ("approve", "attest", "sign")
KUBELET: Final = ("checkpoint", "proxy")
SYSTEM_NAMESPACE: Final = "kube-system"
HELM_RELEASE: Final = "sh.helm.release.v1."
_HELM_LABEL: Final = ("owner", "helm")


class Ground(StrEnum):
    """Why, as a word for machines: a metric label and a field in the log."""

    IMPERSONATION = "Impersonation"
    CONFIGURATION = "Configuration"
    UNSAFE_DELETE = "UnsafeDelete"
    RIGHTS = "Rights"
    CERTIFICATES = "Certificates"
    KUBELET = "Kubelet"
    SECRETS = "Secrets"
    TOKENS = "Tokens"
    ORDINARY = "Ordinary"  # no opinion: an agent's request that is none of these
    NO_AGENT = "NoAgent"  # no opinion: nobody whom an AgentIdentity names


@dataclass(frozen=True, slots=True)
class ResourceAccess:
    """What is asked about a resource. `labels` are the values that a label selector of a list lets through, by key."""

    verb: str
    group: str
    resource: str
    version: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PathAccess:
    """What is asked about a path that is no resource."""

    verb: str
    path: str


Access: TypeAlias = ResourceAccess | PathAccess


@dataclass(frozen=True, slots=True)
class Deny:
    """`sentence` is shown to who asked."""

    ground: Ground
    sentence: str


@dataclass(frozen=True, slots=True)
class NoOpinion:
    """The API server asks the next authorizer."""

    ground: Ground


Opinion: TypeAlias = Deny | NoOpinion


def authorize(access: Access, who: Requester, our_namespace: str) -> Opinion:
    """The opinion on one access of one requester."""
    if not isinstance(who, Agent):
        return NoOpinion(Ground.NO_AGENT)
    ground = _ground(access, our_namespace)
    if ground is Ground.ORDINARY:
        return NoOpinion(ground)
    return Deny(ground, f"countersign authorizer: {_SENTENCES[ground]} Changing RBAC does not help. Ask the person you work for to do it.")


_SENTENCES: Final[Mapping[Ground, str]] = {
    Ground.IMPERSONATION: "agents act under their own name only.",
    Ground.CONFIGURATION: "agents write no admission policies, webhook configurations, APIServices or flow control.",
    Ground.UNSAFE_DELETE: "agents delete nothing that the API server cannot read: no admission check would see it.",
    Ground.RIGHTS: "agents give out no rights that they do not hold themselves.",
    Ground.CERTIFICATES: "agents approve and sign no certificates: each could be somebody else's login.",
    Ground.KUBELET: "agents do not call kubelets: it would run commands in any pod of the node.",
    Ground.SECRETS: (
        "agents neither read nor change Secrets of kube-system and of Countersign, so name another namespace"
        " (Helm's own releases, label owner=helm, are free)."
    ),
    Ground.TOKENS: "agents ask for no tokens of accounts in kube-system and in Countersign's namespace.",
}


def _ground(access: Access, our_namespace: str) -> Ground:
    if isinstance(access, PathAccess):
        return Ground.ORDINARY
    group, resource, verb, subresource = access.group, access.resource, access.verb, access.subresource
    if verb.startswith(IMPERSONATE):
        return Ground.IMPERSONATION
    if group in CONFIGURATION_GROUPS and verb not in READS:
        return Ground.CONFIGURATION
    if verb == UNSAFE_DELETE:
        return Ground.UNSAFE_DELETE
    if group == RBAC_GROUP and verb in RBAC_VERBS:
        return Ground.RIGHTS
    if group == CERTIFICATES_GROUP and verb in SIGNER_VERBS:
        return Ground.CERTIFICATES
    if group:
        return Ground.ORDINARY
    if resource == "nodes" and subresource in KUBELET:
        return Ground.KUBELET
    if resource == "serviceaccounts" and subresource == "token" and access.namespace in {our_namespace, SYSTEM_NAMESPACE}:
        return Ground.TOKENS
    if resource == "secrets" and _shows_secrets(access, our_namespace):
        return Ground.SECRETS
    return Ground.ORDINARY


def _shows_secrets(access: ResourceAccess, our_namespace: str) -> bool:
    """Whether the answer could hold a Secret of ours or of the cluster's own: a patch and a deletion of many answer with what they find.

    A creation shows only what its sender has written.
    """
    if access.verb == "create" or access.namespace not in {"", our_namespace, SYSTEM_NAMESPACE}:
        return False
    key, value = _HELM_LABEL
    return not (access.name.startswith(HELM_RELEASE) or access.labels.get(key) == (value,))
