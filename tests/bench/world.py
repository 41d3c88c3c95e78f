"""What the bench decides by: a large installation in memory, behind the ports of the real service."""

# ruff: noqa: ARG002 -- the ports' signatures

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from countersign.adapters.clock import SystemClock
from countersign.adapters.decision_log import StreamDecisionLog
from countersign.adapters.metrics import PrometheusMetrics
from countersign.adapters.parsers import WireParsers
from countersign.adapters.store import ClusterStore
from countersign.domain.document import JsonObject
from countersign.domain.limits import Bounds
from countersign.domain.names import API_VERSION
from countersign.domain.resources import ChangeRequest, Losses, Target
from countersign.service.judging import Judge, Terms
from countersign.service.opening import Opening
from countersign.service.ports import Look, Question
from countersign.service.review import Outside, Review
from countersign.wire.resources import render_change_request

IDENTITIES = 1000
ENVIRONMENTS = 200
NAMESPACES = 500
AGENT = "agent-500"
NAMESPACE = "payments-7"
NAMESPACE_UID = "6b1f0000-0000-4000-8000-000000000007"
TEAM = {"team": "team-7", "tier": "prod"}
APPLICATION_UID = "a9910000-0000-4000-8000-000000000007"


def review(metrics: PrometheusMetrics) -> Review:
    """The real service; what it would ask the API server is answered from memory."""
    clock = SystemClock()
    memory = Memory(clock.now())
    outside = Outside(
        state=memory,
        live=memory,
        clock=clock,
        log=StreamDecisionLog(replica="bench", version="bench", clock=clock),
        metrics=metrics,
        parsers=WireParsers(),
    )
    judge = Judge(outside.parsers, Terms(cool_off=timedelta(hours=1), our_namespace="countersign"))
    return Review(outside, judge, Opening(memory, ttl=timedelta(hours=24), bounds=Bounds(20), remember=timedelta(minutes=1)))


class Memory(ClusterStore):
    """State, live look and change requests at once. Unlike a cluster it answers at once, and never fails."""

    def __init__(self, now: datetime) -> None:
        super().__init__("bench")
        self._now = now
        for plural, documents in _installation(now).items():
            self.replace(plural, documents)
        for plural in self.plurals():
            if unreadable := self._unreadable[plural]:
                raise ValueError(f"the bench's own {plural} cannot be read: {sorted(unreadable)[:3]}")

    async def look(self, question: Question, *, timeout: float) -> Look:
        snapshot = self.snapshot()
        return Look(snapshot, snapshot.namespaces.get(question.namespace), Losses(volumes=2, load_balancers=1))

    async def losses(self, target: Target, *, timeout: float) -> Losses:
        return Losses(volumes=2, load_balancers=1)

    async def target(self, target: Target, *, timeout: float) -> JsonObject | None:
        return {"metadata": {"name": target.name, "uid": target.uid}}

    async def count_approvals(self, request: str, *, timeout: float) -> int:
        return 0

    async def create(self, request: ChangeRequest, *, timeout: float) -> bool:
        if request.meta.name in self.snapshot().requests:
            return False
        document = render_change_request(request)
        document["metadata"] = _meta(request.meta.name, self._now)
        self.apply("changerequests", "ADDED", document)
        return True

    async def get(self, name: str, *, timeout: float) -> ChangeRequest | None:
        return self.snapshot().requests.get(name)


def _installation(now: datetime) -> dict[str, list[dict[str, Any]]]:
    return {
        "namespaces": list(_namespaces(now)),
        "agentidentities": [
            _ours("AgentIdentity", f"agent-{n}", now, {"sponsors": ["alice"], "subjects": [_subject(n)]}) for n in range(IDENTITIES)
        ],
        "protectedenvironments": list(_environments(now)),
        "reviewers": [
            _ours("Reviewer", name, now, {"usernames": [f"{name}@example.com"], "teams": [], "keys": []})
            for name in ("alice", "bob", "carol")
        ],
    }


def _subject(number: int) -> dict[str, Any]:
    """Most agents are ServiceAccounts; some are known by a glob, some by a group, and those cost more to tell."""
    match number % 20:
        case 1:
            return {"kind": "User", "name": f"arn:aws:sts::123456789012:assumed-role/agent-{number}/*"}
        case 2:
            return {"kind": "Group", "name": f"ai-agents-{number}"}
        case _:
            return {"kind": "ServiceAccount", "namespace": "agents", "name": f"agent-{number}"}


def _environments(now: datetime) -> Iterator[dict[str, Any]]:
    yield _ours("ProtectedEnvironment", "default", now, {"protectFrom": "Agents", "ownWork": "24h", "registration": "Open"})
    for number in range(1, ENVIRONMENTS):
        spec = {
            "namespaces": {"selector": {"matchLabels": {"team": f"team-{number}", "tier": "prod"}}},
            "protectFrom": "Agents",
            "approvals": {"required": 2},
            "resources": [{"group": "argoproj.io", "resource": "applications"}],
        }
        yield _ours("ProtectedEnvironment", f"team-{number}", now, spec)


def _namespaces(now: datetime) -> Iterator[dict[str, Any]]:
    for name, uid, labels in (
        ("kube-system", "0c5b6b5e-0000-4000-8000-00000000000c", {}),
        (NAMESPACE, NAMESPACE_UID, TEAM),
        *((f"ns-{n}", f"{n:08d}-0000-4000-8000-000000000000", {"team": f"team-{n % ENVIRONMENTS}"}) for n in range(NAMESPACES)),
    ):
        yield {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {**_meta(name, now, uid), "labels": {"kubernetes.io/metadata.name": name, **labels}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }


def _ours(kind: str, name: str, now: datetime, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": _meta(name, now), "spec": spec}


def _meta(name: str, now: datetime, uid: str = "") -> dict[str, Any]:
    created = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"name": name, "uid": uid or f"uid-of-{name}", "resourceVersion": "1", "generation": 1, "creationTimestamp": created}
