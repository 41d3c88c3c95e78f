"""What the operator's services ask of the outside world, besides `ports`, and the values that they hand to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from countersign.domain.certificates import Authorities, Pair
from countersign.domain.document import JsonObject
from countersign.domain.resources import AgentIdentity, Meta, ProtectedEnvironment, Target


@dataclass(frozen=True, slots=True)
class Condition:
    """One metav1.Condition. `holds` None is Unknown; `reason` is one CamelCase word."""

    type: str
    holds: bool | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """The status that one object of ours should have; `fields` are those besides conditions and observedGeneration."""

    plural: str
    meta: Meta
    conditions: tuple[Condition, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount, as far as labels go."""

    namespace: str
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Notice:
    """One Event. `about` is what it is shown with; `warning` makes it one of the type Warning."""

    kind: str
    about: Target
    reason: str
    message: str
    warning: bool = False


class Statuses(Protocol):
    def current(self, plural: str, name: str, uid: str) -> JsonObject:
        """The status as last seen; empty where there is none."""

    async def report(self, report: Report) -> bool:
        """Write it if it is news. Raises ApiError."""


class Guards(Protocol):
    async def keep(
        self, identities: Sequence[AgentIdentity], environments: Sequence[ProtectedEnvironment], ca_bundle: bytes
    ) -> tuple[str, ...]:
        """Put the guards in force; the names of the identities for which there is no room. Raises ApiError."""


class Owner(Protocol):
    async def references(self) -> list[JsonObject]:
        """The ownerReferences of what the operator makes; none where Countersign is being uninstalled. Raises ApiError."""


class Certificates(Protocol):
    async def ensure(self) -> bytes | None:
        """Make or renew the webhook's certificate; the CA bundle (PEM), None where Countersign is being uninstalled. Raises ApiError."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source wants served. `pair` is None where it has nothing good; `faults` then say why, and what to do.

    `authorities` are to be trusted from now on. `announced`: they have been for long enough that people could copy them to hosts. `note` is
    for those people.
    """

    authorities: Authorities
    pair: Pair | None
    faults: tuple[str, ...] = ()
    announced: bool = False
    note: str = ""


class CertificateSource(Protocol):
    """Where the webhook's certificate comes from. `secret`: in which Secret it lies; `keeper`: a sentence that says who renews it."""

    @property
    def secret(self) -> str: ...

    @property
    def keeper(self) -> str: ...

    async def offer(self, served: JsonObject, now: datetime, references: list[JsonObject]) -> Offer:
        """`served` is the Secret that the replicas read, empty where there is none; `references` own what we make. Raises ApiError."""


class CertificateMeter(Protocol):
    def certificate(self, expiries: Mapping[str, float], *, is_good: bool) -> None:
        """`expiries`: seconds since 1970, of the certificate that is `serving` and of its `authority`."""


class AuthorizerFiles(Protocol):
    async def keep(self, identities: Sequence[AgentIdentity], ca_bundle: bytes) -> None:
        """Bring the files by which the API server asks our authorizer up to date. Raises ApiError."""


class DefaultWatch(Protocol):
    async def settle(self, default: ProtectedEnvironment | None) -> None:
        """Bring what the environment `default` has to say about tampering up to date. Raises ApiError."""

    def conditions(self, default: ProtectedEnvironment) -> tuple[Condition, ...]:
        """What to say of it besides the rest."""


class Definitions(Protocol):
    async def ensure(self) -> None:
        """Bring our CRDs to the version of this package. Raises ApiError."""


class Accounts(Protocol):
    def all(self) -> Sequence[Account]:
        """Every ServiceAccount of the cluster, as last seen."""


class Impact(Protocol):
    async def count(self, target: Target) -> Mapping[str, int]:
        """What would go with a target and can be rebuilt, by kind. Raises ApiError."""


class Notices(Protocol):
    async def tell(self, notice: Notice) -> None:
        """Best effort: an Event that cannot be written is logged, no more."""
