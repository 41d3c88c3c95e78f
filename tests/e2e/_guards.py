"""What the tests of the guards on a real API server have in common."""

from __future__ import annotations

import httpx

from tests.controlplane import waiting
from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import (
    AGENT,
    Json,
    make_namespace,
    manifest,
    message,
    unique,
    until,
)

ROLE = path("clusterroles", "countersign-operator")


def refused(answer: Answer, *words: str) -> None:
    """By a policy of ours, with a sentence in which these words are."""
    assert answer.status == httpx.codes.FORBIDDEN, f"not refused: {answer.status} {message(answer)}"
    assert "ValidatingAdmissionPolicy 'countersign-" in message(answer), message(answer)
    for word in words:
        assert word in message(answer), message(answer)


def at_rest(cluster: Cluster, url: str) -> Json:
    """A guard, once the operator has written nothing to it for a second: an environment of the test before may just have gone."""
    seen: Json = {}

    def still() -> bool:
        nonlocal seen
        before, seen = seen, cluster.api.get(url)
        return before == seen

    waiting.until(still, f"nobody was to write {url}", timeout=30, pause=1.0)
    return seen


def label_of(obj: Json) -> str | None:
    found: str | None = obj["metadata"].get("labels", {}).get(AGENT)
    return found


def make_workshop(cluster: Cluster) -> str:
    """A namespace that is nobody's own work, in a cluster whose API server has taken up the label's policy: it does so in ticks."""
    name = make_namespace(cluster, "workshop")

    def labelled() -> bool:
        probe = cluster.api_as("kiro").create(path("configmaps", namespace=name), manifest("ConfigMap", unique("probe")), dryRun="All")
        return label_of(probe) == "kiro"

    until(labelled, "the API server was to take up the label's policy")
    return name


def make_owner(cluster: Cluster) -> Json:
    """A reference to an object that anybody could delete."""
    role = manifest("ClusterRole", unique("owner"), api="rbac.authorization.k8s.io/v1", rules=[])
    made = cluster.api.create(path("clusterroles"), role)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "name": role["metadata"]["name"],
        "uid": made["metadata"]["uid"],
    }
