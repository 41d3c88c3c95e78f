"""What the tests of unprotecting have in common."""

from __future__ import annotations

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import service_account
from tests.e2e._faults import (
    Json,
    message,
)

ENVIRONMENTS = path("protectedenvironments")
IDENTITIES = path("agentidentities")
REVIEWERS = path("reviewers")
NEVER = "never create, change or delete"


def spec_of(cluster: Cluster, request: str) -> Json:
    spec: Json = cluster.api.get(path("changerequests", request))["spec"]
    return spec


def refused_at_creation(cluster: Cluster, collection: str, body: Json) -> str:
    answer = cluster.api.request("POST", collection, body, {"dryRun": "All"})
    assert not answer.ok, f"accepted: {body}"
    assert answer.status in (403, 422), f"{answer.status} {message(answer)}"
    return message(answer)


def identity_of(cluster: Cluster, name: str, *, sponsors: tuple[str, ...] = ("alice",)) -> Json:
    return cluster.identity(name, [service_account("agents", name)], sponsors=sponsors)
