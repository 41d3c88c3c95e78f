"""Whole reviews against the world: a replica of the webhook's service, and the people of the story."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from countersign.adapters.parsers import WireParsers
from countersign.domain.answer import Answer
from countersign.domain.limits import Bounds
from countersign.domain.request import Operation, Request, UserInfo
from countersign.domain.sshsig import APPROVE, REJECT
from countersign.domain.trial import Sighting, sighting_of
from countersign.service.judging import Judge, Terms
from countersign.service.opening import Opening
from countersign.service.review import Outside, Review
from tests.support.memory_log import MemoryDecisionLog
from tests.support.objects import HOUR, KIRO, MINUTE, key_of, user
from tests.support.signing import Key
from tests.support.world import CountingMetrics, Json, World, WorldClock, WorldLook, WorldRequests, WorldState

T = TypeVar("T")


def at_once(steps: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits: the ports here do not."""
    try:
        steps.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    steps.close()
    raise AssertionError("it waits for something")


@dataclass
class RememberingWitness:
    """`trial`: what it would tell of a trial."""

    clock: WorldClock
    trial: list[Sighting] = field(default_factory=list)

    def decided(self, request: Request, answer: Answer) -> None:
        if sighting := sighting_of(request, answer, self.clock.now()):
            self.trial.append(sighting)


@dataclass
class Replica:
    world: World
    cool_off: timedelta = HOUR
    ttl: timedelta = 24 * HOUR
    most: int = 20
    memory: Callable[[World], WorldState] = WorldState
    state: WorldState = field(init=False)
    clock: WorldClock = field(init=False)
    live: WorldLook = field(init=False)
    requests: WorldRequests = field(init=False)
    log: MemoryDecisionLog = field(init=False)
    metrics: CountingMetrics = field(init=False)
    witness: RememberingWitness = field(init=False)
    review: Review = field(init=False)

    def __post_init__(self) -> None:
        self.state, self.clock, self.metrics = self.memory(self.world), WorldClock(self.world), CountingMetrics()
        self.live = WorldLook(self.world, self.state, self.clock)
        self.requests = WorldRequests(self.world)
        self.log = MemoryDecisionLog(replica="a", clock=self.clock)
        parsers = WireParsers()
        self.witness = RememberingWitness(self.clock)
        outside = Outside(self.state, self.live, self.clock, self.log, self.metrics, parsers, self.witness)
        judge = Judge(parsers, Terms(cool_off=self.cool_off, our_namespace="countersign"))
        self.review = Review(outside, judge, Opening(self.requests, ttl=self.ttl, bounds=Bounds(self.most), remember=MINUTE))

    def ask(self, request: Request, *, seconds: float = 8.0) -> Answer:
        return at_once(self.review.review(request, deadline=self.clock.monotonic() + seconds))


class Story:
    """kiro, run by alice, wants to delete; bob and carol can sign. One replica, and more by `replica()`."""

    def __init__(self) -> None:
        self.world = World()
        self.main = self.replica()
        self.world.create("protectedenvironments", "default", spec={"protectFrom": "Agents", "namespaces": {"exclude": ["kube-system"]}})
        self.agent("kiro")
        for name in ("alice", "bob", "carol"):
            self.reviewer(name)
        self.namespace("payments")

    def replica(self, **settings: Any) -> Replica:
        return Replica(self.world, **settings)

    # ── what there is ──

    def agent(self, name: str, *, sponsors: tuple[str, ...] = ("alice",), subjects: list[Json] | None = None) -> UserInfo:
        named = [{"kind": "ServiceAccount", "namespace": "agents", "name": name}]
        self.world.create("agentidentities", name, spec={"sponsors": list(sponsors), "subjects": subjects or named})
        return user(f"system:serviceaccount:agents:{name}", "system:serviceaccounts", "system:authenticated")

    def reviewer(self, name: str, **spec: Any) -> None:
        self.world.create("reviewers", name, spec=reviewer_spec(name, **spec))

    def environment(self, name: str, **spec: Any) -> None:
        self.world.create("protectedenvironments", name, spec={"protectFrom": "Agents", **spec})

    def namespace(self, name: str, *, claims: int = 0, balancers: int = 0, **marks: Any) -> None:
        self.world.create("namespaces", name, **marks)
        for index in range(claims):
            self.world.create("persistentvolumeclaims", f"data-{index}", namespace=name, spec={})
        for index in range(balancers):
            self.world.create("services", f"lb-{index}", namespace=name, spec={"type": "LoadBalancer"})

    def change(self, plural: str, name: str, **spec: Any) -> None:
        """Write members of a setting's spec behind the webhook's back."""
        self.world.update(plural, name, lambda document: document["spec"].update(spec))

    # ── what people and agents do ──

    def delete(self, name: str = "payments", *, by: UserInfo | None = None, at: Replica | None = None, dry_run: bool = False) -> Answer:
        return (at or self.main).ask(self.world.deletion(by or KIRO_USER, "namespaces", name, dry_run=dry_run))

    def sign(
        self,
        request: str,
        by: str = "bob",
        *,
        verdict: str = "Approve",
        creator: UserInfo | None = None,
        key: Key | None = None,
        text: str | None = None,
        at: Replica | None = None,
        comment: str = "",
        dry_run: bool = False,
    ) -> Answer:
        """Bring an Approval; it is stored if the webhook lets it."""
        stored = self.world.get("changerequests", request)
        statement = text if text is not None else (stored["spec"]["statement"] if stored else "")
        signature = (key or key_of(by)).sign(statement.encode(), APPROVE if verdict == "Approve" else REJECT)
        name = f"{request}-{by}-{len(self.world.listed('approvals'))}"[-253:]
        spec = {"changeRequest": request, "reviewer": by, "decision": verdict, "comment": comment, "signature": signature}
        new = {"apiVersion": "kube-countersign.dev/v1alpha1", "kind": "Approval", "metadata": {"name": name}, "spec": spec}
        creator = creator or user(f"{by}@example.com")
        asked = self.world.review(creator, Operation.CREATE, "approvals", name, new=new, dry_run=dry_run)
        answer = (at or self.main).ask(asked)
        if answer.allowed and not dry_run:
            self.world.create("approvals", name, spec=spec)
        return answer

    def write(
        self,
        plural: str,
        name: str,
        change: Callable[[Json], None] | Json | None,
        *,
        by: UserInfo,
        at: Replica | None = None,
        generate: bool = False,
    ) -> Answer:
        """Create (a spec), update (a function on the document) or delete (None) a setting; it is done if the webhook lets it."""
        replica = at or self.main
        if change is None:
            answer = replica.ask(self.world.deletion(by, plural, name))
            if answer.allowed:
                self.world.delete(plural, name)
        elif isinstance(change, dict):
            metadata = {"name": name, **({"generateName": name[:-2]} if generate else {})}
            new = {"metadata": metadata, "spec": change}
            answer = replica.ask(self.world.review(by, Operation.CREATE, plural, "" if generate else name, new=new))
            if answer.allowed:
                self.world.create(plural, name, spec=change)
        else:
            old = self.world.get(plural, name)
            new_document = self.world.get(plural, name)
            assert old is not None
            assert new_document is not None
            change(new_document)
            answer = replica.ask(self.world.review(by, Operation.UPDATE, plural, name, old=old, new=new_document))
            if answer.allowed:
                self.world.update(plural, name, change)
        return answer

    def wait(self, span: timedelta) -> None:
        self.world.now += span


KIRO_USER = user(KIRO, "system:serviceaccounts", "system:authenticated")


def reviewer_spec(name: str, *, keys: list[Json] | None = None, **spec: Any) -> Json:
    own = [{"name": "main", "publicKey": key_of(name).public_key}]
    return {"usernames": [f"{name}@example.com"], "keys": own if keys is None else keys, **spec}


def cause(answer: Answer, name: str) -> str:
    return dict(answer.causes).get(name, "")


def request_in(answer: Answer) -> str:
    """The name of the change request that a refusal tells."""
    kind, _, name = cause(answer, "changeRequest").partition("/")
    assert kind == "changerequests.kube-countersign.dev", f"{answer.reason}: {answer.message}"
    return name
