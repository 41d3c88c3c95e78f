"""Countersign is out altogether, and is repaired by helm alone; agents cannot destroy meanwhile (invariant 8).

What else goes on without the webhook: TestWithTheWebhookDown in test_surface.py; with nodes and an image that is broken: `make chaos`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane import chart
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE, RELEASE
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import Json, allowed, delete_namespace, helm, make_namespace, manifest, message, wait_gone


@pytest.fixture(scope="module")
def precious(cluster: Cluster) -> Iterator[str]:
    """A namespace of somebody's, while nothing of ours runs. Everything is as it was in the end."""
    name = make_namespace(cluster, "precious")
    cluster.stop_operator()
    cluster.stop_webhook()
    try:
        yield name
    finally:
        cluster.start_operator()
        cluster.start_webhook()
        cluster.wait_in_force()  # the release is rolled back to what it was
        cluster.api.delete(path("namespaces", name))


def refused(cluster: Cluster, name: str) -> None:
    uid = cluster.api.get(path("namespaces", name))["metadata"]["uid"]
    for user in ("kiro", "rogue"):
        answer = delete_namespace(cluster, user, name)
        assert not answer.ok
        assert "failed calling webhook" in message(answer), message(answer)
    namespace = cluster.api.get(path("namespaces", name))
    assert (namespace["metadata"]["uid"], namespace["status"]["phase"]) == (uid, "Active")


def upgrade(cluster: Cluster, folder: Path, **values: str) -> None:
    file = folder / "values.json"
    file.write_text(json.dumps(chart.merged(chart.values(cluster.paths), values)))
    answer = helm(cluster, "alice", "upgrade", RELEASE, chart.CHART, "--namespace", NAMESPACE, "--values", file)
    assert answer.returncode == 0, answer.stderr


def rollback(cluster: Cluster, *revision: str) -> None:
    answer = helm(cluster, "alice", "rollback", RELEASE, *revision, "--namespace", NAMESPACE)
    assert answer.returncode == 0, answer.stderr


def test_people_and_agents_deploy_and_people_delete(cluster: Cluster, precious: str) -> None:
    for user in ("alice", "kiro"):
        template: Json = {"metadata": {"labels": {"app": user}}, "spec": {"containers": [{"name": "app", "image": "none"}]}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": user}}, "template": template}
        url = path("deployments", namespace=precious)
        api = cluster.api_as(user)
        api.create(url, manifest("Deployment", user, api="apps/v1", spec=spec))
        api.patch(f"{url}/{user}", {"spec": {"replicas": 0}})
        api.delete(f"{url}/{user}")
    own = make_namespace(cluster, "own", user="alice")
    allowed(delete_namespace(cluster, "alice", own))
    wait_gone(cluster.api, path("namespaces", own), timeout=60)
    refused(cluster, precious)


def test_helm_upgrades_and_rolls_back(cluster: Cluster, precious: str, tmp_path: Path) -> None:
    """An upgrade that changes nothing first: our own kinds are applied with it, which the webhook guards."""
    upgrade(cluster, tmp_path)
    refused_or_repaired(cluster, precious)
    upgrade(cluster, tmp_path, requestTTL="23h")
    rollback(cluster)
    listed = helm(cluster, "alice", "history", RELEASE, "--namespace", NAMESPACE, "--output", "json")
    rollback(cluster, str(json.loads(listed.stdout)[-1]["revision"]))  # to what is there already
    refused_or_repaired(cluster, precious)


def refused_or_repaired(cluster: Cluster, name: str) -> None:
    """Where there are nodes, helm has put the replicas back, and they may decide again."""
    if cluster.is_local:
        refused(cluster, name)
    else:
        assert not delete_namespace(cluster, "rogue", name).ok
