"""All that one decision is made from: an immutable view of the cluster at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from countersign.domain.identify import Directory
from countersign.domain.names import DEFAULT_ENVIRONMENT
from countersign.domain.request import GroupResource
from countersign.domain.resources import (
    AgentIdentity,
    Approval,
    ChangeRequest,
    Cluster,
    Namespace,
    ProtectedEnvironment,
    ProtectFrom,
    Reviewer,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Objects by name; `rounds` by act digest, `approvals` by change request.

    Missing means absent: a snapshot is only made from caches that are synced. A snapshot is read before the next await.
    """

    cluster: Cluster
    identities: Mapping[str, AgentIdentity] = field(default_factory=dict)
    reviewers: Mapping[str, Reviewer] = field(default_factory=dict)
    environments: Mapping[str, ProtectedEnvironment] = field(default_factory=dict)
    requests: Mapping[str, ChangeRequest] = field(default_factory=dict)
    rounds: Mapping[str, Sequence[ChangeRequest]] = field(default_factory=dict)
    approvals: Mapping[str, Sequence[Approval]] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    directory: Directory = field(init=False, repr=False, compare=False)
    listed: frozenset[GroupResource] = field(init=False, repr=False)
    strictest: ProtectFrom = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "directory", Directory(self.identities.values(), self.reviewers.values()))
        environments = self.environments.values()
        object.__setattr__(self, "listed", frozenset(kind for environment in environments for kind in environment.resources))
        # The strictest `protectFrom` of all environments: it governs what belongs to no single one.
        object.__setattr__(
            self, "strictest", max((e.protect_from for e in environments), key=lambda p: p.strictness, default=ProtectFrom.AGENTS)
        )

    @property
    def default(self) -> ProtectedEnvironment | None:
        return self.environments.get(DEFAULT_ENVIRONMENT)
