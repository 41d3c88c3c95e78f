"""The operator's ports in memory, each saying what was asked of it."""

# ruff: noqa: ARG002  # a port's methods take what the port says

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from countersign.domain.document import JsonObject
from countersign.domain.errors import UnableError
from countersign.domain.resources import AgentIdentity, Losses, ProtectedEnvironment, Target
from countersign.service.keeping import Account, Notice, Report
from countersign.service.ports import ApiError, Look, Question
from tests.support.objects import NOW


@dataclass
class HandClock:
    """Stands still until it is moved."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def forward(self, step: timedelta) -> None:
        self.moment += step


@dataclass
class MemoryOwner:
    """`uid` "" once Countersign is being uninstalled."""

    uid: str = "role"

    async def references(self) -> list[JsonObject]:
        return [{"kind": "ClusterRole", "name": "countersign-operator", "uid": self.uid}] if self.uid else []


@dataclass
class MemoryStatuses:
    """As the board over the API: a report is news once. It keeps fields and conditions, no transition times."""

    kept: dict[tuple[str, str, str], dict[str, object]] = field(default_factory=dict)
    written: list[Report] = field(default_factory=list)

    def current(self, plural: str, name: str, uid: str) -> JsonObject:
        return self.kept.get((plural, name, uid), {})

    async def report(self, report: Report) -> bool:
        key = (report.plural, report.meta.name, report.meta.uid)
        status = {**report.fields, "conditions": report.conditions}
        if self.kept.get(key) == status:
            return False
        self.kept[key] = status
        self.written.append(report)
        return True


@dataclass
class MemoryNotices:
    told: list[Notice] = field(default_factory=list)

    async def tell(self, notice: Notice) -> None:
        self.told.append(notice)


@dataclass
class CountedImpact:
    counts: Mapping[str, int] = field(default_factory=dict)
    asked: int = 0

    async def count(self, target: Target) -> Mapping[str, int]:
        self.asked += 1
        return self.counts


@dataclass
class Targets:
    """What is there, by name; `unable` makes every look fail."""

    there: dict[str, JsonObject] = field(default_factory=dict)
    unable: bool = False
    looked: int = 0

    async def target(self, target: Target, *, timeout: float) -> JsonObject | None:
        self.looked += 1
        if self.unable:
            raise UnableError("no answer")
        return self.there.get(target.name)

    async def look(self, question: Question, *, timeout: float) -> Look:
        raise NotImplementedError("the operator decides nothing")

    async def losses(self, target: Target, *, timeout: float) -> Losses:
        raise NotImplementedError("the operator counts no losses")

    async def count_approvals(self, request: str, *, timeout: float) -> int:
        raise NotImplementedError("the operator has them all")


@dataclass
class MemoryGuards:
    left_out: tuple[str, ...] = ()
    kept: list[tuple[Sequence[AgentIdentity], Sequence[ProtectedEnvironment], bytes]] = field(default_factory=list)

    async def keep(
        self, identities: Sequence[AgentIdentity], environments: Sequence[ProtectedEnvironment], ca_bundle: bytes
    ) -> tuple[str, ...]:
        self.kept.append((identities, environments, ca_bundle))
        return self.left_out


@dataclass
class MemoryCertificates:
    bundle: bytes | None = b"BUNDLE"
    broken: bool = False

    async def ensure(self) -> bytes | None:
        if self.broken:
            raise ApiError(500, "no certificate")
        return self.bundle


@dataclass
class MemoryDefinitions:
    asked: int = 0

    async def ensure(self) -> None:
        self.asked += 1


@dataclass
class MemoryAccounts:
    accounts: tuple[Account, ...] = ()

    def all(self) -> Sequence[Account]:
        return self.accounts


@dataclass
class MemoryAuthorizerFiles:
    kept: list[tuple[Sequence[AgentIdentity], bytes]] = field(default_factory=list)
    broken: bool = False

    async def keep(self, identities: Sequence[AgentIdentity], ca_bundle: bytes) -> None:
        if self.broken:
            raise ApiError(500, "no files")
        self.kept.append((identities, ca_bundle))
