"""A small cluster in memory, and the services' ports over it.

`World` is what the API server would hold: JSON documents with UIDs, versions, generations and its own clock. The ports differ from the
real ones in that nothing waits, the clock goes on only when told to, and they can be told to fail, to freeze, or to let something happen
in between. They share no code with the adapters: tests/contract holds both against one suite.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from countersign.domain.document import JsonObject, parse
from countersign.domain.errors import UnableError
from countersign.domain.request import Operation, Request, UserInfo
from countersign.domain.resources import ChangeRequest, Cluster, Losses, Namespace, Target
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import act_of
from countersign.service.ports import Look, Question
from countersign.wire import resources as wire
from tests.support.objects import NOW

GROUP = "kube-countersign.dev"
OURS = ("agentidentities", "reviewers", "protectedenvironments", "changerequests", "approvals")
NAMES = {
    "namespaces": "Namespace",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "persistentvolumes": "PersistentVolume",
    "services": "Service",
    "agentidentities": "AgentIdentity",
    "reviewers": "Reviewer",
    "protectedenvironments": "ProtectedEnvironment",
    "changerequests": "ChangeRequest",
    "approvals": "Approval",
    "customresourcedefinitions": "CustomResourceDefinition",
}
_PARSERS: Mapping[str, Callable[[JsonObject], Any]] = {
    "namespaces": wire.parse_namespace,
    "agentidentities": wire.parse_agent_identity,
    "reviewers": wire.parse_reviewer,
    "protectedenvironments": wire.parse_environment,
    "changerequests": wire.parse_change_request,
    "approvals": wire.parse_approval,
}

Key: TypeAlias = tuple[str, str, str]  # plural, namespace, name
Json: TypeAlias = dict[str, Any]


class Taken(Exception):
    """409: there is one of that name."""


class World:
    """`now` is the API server's clock. Documents go in and come out as copies."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.documents: dict[Key, Json] = {}
        self.events: list[tuple[str, str, Json]] = []
        self.latest = 0
        self._parsed: dict[tuple[Key, str], Any] = {}
        self.create("namespaces", "kube-system")

    # ── as the API server does it ──

    def create(self, plural: str, name: str, *, namespace: str = "", **parts: Any) -> Json:
        """`parts` are the top-level members; labels and annotations go into the metadata."""
        key = (plural, namespace, name)
        if key in self.documents:
            raise Taken(name)
        number = self._next()
        metadata: Json = {
            "name": name,
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "resourceVersion": str(number),
            "creationTimestamp": self.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "generation": 1,
            **({"namespace": namespace} if namespace else {}),
            **{mark: dict(parts.pop(mark)) for mark in ("labels", "annotations") if mark in parts},
        }
        if plural == "namespaces":
            parts = {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}, **parts}
        version = f"{GROUP}/v1alpha1" if plural in OURS else "v1"
        document = {"apiVersion": version, "kind": NAMES.get(plural, "Thing"), "metadata": metadata, **_copy(parts)}
        self.documents[key] = document
        self.events.append(("ADDED", plural, _copy(document)))
        return _copy(document)

    def update(self, plural: str, name: str, change: Callable[[Json], None], *, namespace: str = "") -> Json:
        document = self.documents[plural, namespace, name]
        spec = json.dumps(document.get("spec"))
        change(document)
        document["metadata"]["resourceVersion"] = str(self._next())
        if json.dumps(document.get("spec")) != spec:
            document["metadata"]["generation"] += 1
        self.events.append(("MODIFIED", plural, _copy(document)))
        return _copy(document)

    def delete(self, plural: str, name: str, *, namespace: str = "") -> None:
        document = self.documents.pop((plural, namespace, name))
        document["metadata"]["resourceVersion"] = str(self._next())
        self.events.append(("DELETED", plural, document))
        if plural == "namespaces":
            for inner in [key for key in self.documents if key[1] == name]:
                self.delete(inner[0], inner[2], namespace=name)

    def get(self, plural: str, name: str, *, namespace: str = "") -> Json | None:
        document = self.documents.get((plural, namespace, name))
        return None if document is None else _copy(document)

    def listed(self, plural: str, *, namespace: str | None = None) -> list[Json]:
        return [_copy(doc) for (kind, home, _), doc in self.documents.items() if kind == plural and namespace in (None, home)]

    def _next(self) -> int:
        self.latest += 1
        return self.latest

    @property
    def version(self) -> str:
        return str(self._next())

    # ── as the core sees it ──

    def parsed(self, plural: str) -> dict[str, Any]:
        """By name; each version is parsed once."""
        found = {}
        for key, document in self.documents.items():
            if key[0] == plural:
                at = (key, document["metadata"]["resourceVersion"])
                if at not in self._parsed:
                    self._parsed[at] = _PARSERS[plural](parse(json.dumps(document)))
                found[key[2]] = self._parsed[at]
        return found

    def snapshot(self) -> Snapshot:
        requests, approvals = self.parsed("changerequests"), self.parsed("approvals")
        namespaces: dict[str, Namespace] = self.parsed("namespaces")
        return Snapshot(
            cluster=Cluster("prod-eu-1", namespaces["kube-system"].meta.uid),
            identities=self.parsed("agentidentities"),
            reviewers=self.parsed("reviewers"),
            environments=self.parsed("protectedenvironments"),
            requests=requests,
            rounds=_grouped(requests.values(), act_of),
            approvals=_grouped(approvals.values(), lambda approval: approval.change_request),
            namespaces=namespaces,
        )

    def requests(self) -> list[ChangeRequest]:
        return list(self.parsed("changerequests").values())

    # ── what the API server would send to the webhook ──

    def deletion(self, user: UserInfo, plural: str, name: str, *, namespace: str = "", group: str = "", dry_run: bool = False) -> Request:
        old = self.documents[plural, namespace, name]
        home = name if plural == "namespaces" else namespace
        return self.review(user, Operation.DELETE, plural, name, namespace=home, group=group, old=old, dry_run=dry_run)

    def review(
        self,
        user: UserInfo,
        operation: Operation,
        plural: str,
        name: str,
        *,
        namespace: str = "",
        group: str = "",
        old: Json | None = None,
        new: Json | None = None,
        dry_run: bool = False,
    ) -> Request:
        ours = plural in OURS
        return Request(
            uid=f"review-{self._next()}",
            operation=operation,
            group=GROUP if ours else group,
            version="v1alpha1" if ours else "v1",
            resource=plural,
            subresource="",
            namespace=namespace,
            name=name,
            user=user,
            object=parse(json.dumps(new)) if new is not None else None,
            old_object=parse(json.dumps(old)) if old is not None else None,
            dry_run=dry_run,
        )


def _copy(document: Json) -> Json:
    copied: Json = json.loads(json.dumps(document))
    return copied


def _grouped(values: Iterable[Any], by: Callable[[Any], str]) -> dict[str, tuple[Any, ...]]:
    groups: dict[str, tuple[Any, ...]] = {}
    for value in values:
        groups[by(value)] = (*groups.get(by(value), ()), value)
    return groups


# ── the ports ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class WorldClock:
    """The world's time, and seconds that a slow API adds to the monotonic clock. `skew`: how far this machine's clock is off."""

    world: World
    skew: timedelta = timedelta()
    waited: float = 0.0

    def now(self) -> datetime:
        return self.world.now + self.skew

    def monotonic(self) -> float:
        return self.world.now.timestamp() + self.waited


class WorldState:
    """The `State` port: the world as it is, or as it was when it froze."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._frozen: Snapshot | None = None
        self.unable = ""

    def freeze(self) -> None:
        self._frozen = self._world.snapshot()

    def thaw(self) -> None:
        self._frozen = None

    @property
    def is_frozen(self) -> bool:
        return self._frozen is not None

    def snapshot(self) -> Snapshot:
        if self.unable:
            raise UnableError(self.unable)
        return self._frozen or self._world.snapshot()


@dataclass
class WorldLook:
    """The `LiveLook` port. What was not asked for comes from `memory`, as in the real one. `meanwhile` is called before each read."""

    world: World
    memory: WorldState
    clock: WorldClock
    broken: str = ""
    seconds: float = 0.0
    meanwhile: Callable[[str], None] = lambda _: None
    asked: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    async def look(self, question: Question, *, timeout: float) -> Look:
        self._read("look", timeout)
        self.questions.append(question)
        known, live = self.memory.snapshot(), self.world.snapshot()
        if question.all_requests:
            requests: Mapping[str, ChangeRequest] = live.requests
            approvals = live.approvals
        else:
            remembered = {name: request for name, request in known.requests.items() if name not in question.requests}
            requests = remembered | {name: live.requests[name] for name in question.requests if name in live.requests}
            approvals = {**known.approvals, **{name: live.approvals.get(name, ()) for name in question.requests}}
        namespaces = dict(known.namespaces)
        namespace = live.namespaces.get(question.namespace)
        if question.namespace:
            namespaces.pop(question.namespace, None)
            namespaces |= {question.namespace: namespace} if namespace else {}
        snapshot = replace(
            live,
            cluster=known.cluster,
            requests=requests,
            rounds=_grouped(requests.values(), act_of),
            approvals=approvals,
            namespaces=namespaces,
        )
        return Look(snapshot, namespace, self._losses(question.losses) if question.losses else Losses())

    async def losses(self, target: Target, *, timeout: float) -> Losses:
        self._read("losses", timeout)
        return self._losses(target)

    async def target(self, target: Target, *, timeout: float) -> JsonObject | None:
        self._read("target", timeout)
        return self.world.get(target.resource, target.name, namespace=target.namespace)

    async def count_approvals(self, request: str, *, timeout: float) -> int:
        self._read("count_approvals", timeout)
        return len(self.world.snapshot().approvals.get(request, ()))

    def _losses(self, target: Target) -> Losses:
        match target.group, target.resource:
            case "", "namespaces":
                services = self.world.listed("services", namespace=target.name)
                balancers = [service for service in services if service["spec"].get("type") == "LoadBalancer"]
                return Losses(len(self.world.listed("persistentvolumeclaims", namespace=target.name)), len(balancers))
            case "", "persistentvolumeclaims" | "persistentvolumes":
                return Losses(volumes=1)
            case _:
                return Losses()

    def _read(self, what: str, timeout: float) -> None:
        self.asked.append(what)
        self.meanwhile(what)
        self.clock.waited += min(self.seconds, timeout)
        if what in self.broken.split() or self.seconds > timeout:
            raise UnableError(f"told to fail at {what}")


@dataclass
class WorldRequests:
    """The `Requests` port."""

    world: World
    broken: str = ""
    meanwhile: Callable[[str], None] = lambda _: None
    written: list[str] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)

    async def create(self, request: ChangeRequest, *, timeout: float) -> bool:
        assert timeout > 0
        self.meanwhile("create")
        if "create" in self.broken.split():
            raise UnableError("told to fail at create")
        body = wire.render_change_request(request)
        try:
            self.world.create("changerequests", request.meta.name, spec=body["spec"])
        except Taken:
            return False
        self.written.append(request.meta.name)
        self.times.append(request.expires_at)
        return True

    async def get(self, name: str, *, timeout: float) -> ChangeRequest | None:
        assert timeout > 0
        if "get" in self.broken.split():
            raise UnableError("told to fail at get")
        return self.world.snapshot().requests.get(name)


@dataclass
class CountingMetrics:
    decisions: list[tuple[bool, str]] = field(default_factory=list)
    not_recorded: int = 0

    def unrecorded(self) -> None:
        self.not_recorded += 1

    def decided(self, *, allowed: bool, reason: str, seconds: float) -> None:
        assert seconds >= 0
        self.decisions.append((allowed, reason))
