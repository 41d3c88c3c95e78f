"""The API server's own judgement of our pods: they are admitted where the restricted Pod Security Standard is enforced."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.rendering import NAMED, Chart
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster

CREATED, FORBIDDEN = 201, 403


@pytest.fixture(scope="module")
def restricted(cluster: Cluster) -> Iterator[str]:
    name = f"restricted-{secrets.token_hex(2)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.api.create(path("namespaces"), {"metadata": {"name": name, "labels": labels}})
    for process in ("webhook", "operator"):
        cluster.api.create(path("serviceaccounts", namespace=name), {"metadata": {"name": f"countersign-{process}"}})
    yield name
    cluster.api.delete(path("namespaces", name))


def pod(cluster: Cluster, process: str) -> dict[str, Any]:
    chart = Chart(cluster.paths.bin / "helm")
    template: dict[str, Any] = chart.find("Deployment", f"countersign-{process}", NAMED)["spec"]["template"]
    return {"metadata": {"name": process, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}


@pytest.mark.parametrize("process", ["webhook", "operator"])
def test_admitted(cluster: Cluster, restricted: str, process: str) -> None:
    answer = cluster.api.request("POST", path("pods", namespace=restricted), pod(cluster, process), {"dryRun": "All"})
    assert answer.status == CREATED, answer.body
    assert answer.warnings == []


def test_a_pod_that_may_be_root_is_not(cluster: Cluster, restricted: str) -> None:
    """So that the test above is known to ask somebody who would say no."""
    root = pod(cluster, "webhook")
    del root["spec"]["securityContext"]
    answer = cluster.api.request("POST", path("pods", namespace=restricted), root, {"dryRun": "All"})
    assert answer.status == FORBIDDEN
    assert "violates PodSecurity" in answer.body["message"]
