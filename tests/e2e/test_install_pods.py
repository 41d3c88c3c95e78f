"""Installing with no value, as the README says it, with the chart's own pods: in force within a minute, and `helm test` says so."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest
import yaml

from countersign.domain.names import cluster_name
from countersign.domain.selftest import NAME
from tests.chart.reference import CHART
from tests.controlplane import chart, docker
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE, RELEASE
from tests.controlplane.cluster import Cluster
from tests.controlplane.kindbackend import KindBackend
from tests.e2e import _faults
from tests.e2e._faults import until

pytestmark = pytest.mark.kind_only(reason="needs pods; tests/e2e/test_install.py has what a control plane without nodes can show")
IN_FORCE_WITHIN = 60.0


def helm(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _faults.helm(cluster, "alice", *arguments, "--namespace", NAMESPACE, timeout=300)


def name_the_image(cluster: Cluster) -> None:
    """What the chart's defaults name, in every node: as a registry would have it."""
    backend = cluster._backend
    assert isinstance(backend, KindBackend)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    wanted = f"docker.io/{values['image']['repository']}:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}"
    own = f"docker.io/library/{docker.REPOSITORY}:{chart.values(cluster.paths)['image']['tag']}"
    for node in backend.nodes():
        backend._docker("exec", node, "ctr", "--namespace", "k8s.io", "images", "tag", "--force", own, wanted)


@pytest.fixture(scope="module")
def seconds(cluster: Cluster) -> Iterator[float]:
    """From `helm install` to in force, on a cluster where the agents' identities were there before."""
    name_the_image(cluster)
    _faults.uninstall(cluster, "alice")
    try:
        began = time.monotonic()
        answer = _faults.helm(cluster, "alice", "install", RELEASE, CHART, "--namespace", NAMESPACE, "--create-namespace")
        assert answer.returncode == 0, answer.stderr
        cluster.wait_in_force(IN_FORCE_WITHIN * 2)
        yield time.monotonic() - began
    finally:
        cluster.reset_values()


def test_1_no_value_is_needed_and_it_is_in_force_within_a_minute(cluster: Cluster, seconds: float) -> None:
    print(f"\nfrom helm install to in force: {seconds:.1f} s")
    message = str(cluster.api_as("kiro").request("DELETE", path("namespaces", "agents"), params={"dryRun": "All"}).body["message"])
    assert f'namespace "agents" on {cluster_name(cluster.uid)} ' in message
    assert seconds <= IN_FORCE_WITHIN


@pytest.mark.usefixtures("seconds")
def test_2_helm_test_passes_and_leaves_nothing(cluster: Cluster) -> None:
    began = time.monotonic()
    answer = helm(cluster, "test", RELEASE)
    print(f"\nhelm test: {time.monotonic() - began:.1f} s\n{answer.stdout}{answer.stderr}")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "IN FORCE after " in answer.stdout + answer.stderr
    # The flag that everybody knows: it fails where a hook is not named as its pod.
    again = helm(cluster, "test", RELEASE, "--logs")
    assert again.returncode == 0, again.stdout + again.stderr
    until(lambda: not left(cluster), "all of the test was to go", explain=lambda: str(left(cluster)))


def left(cluster: Cluster) -> list[str]:
    kinds = {"pods": NAMESPACE, "serviceaccounts": NAMESPACE, "roles": NAMESPACE, "rolebindings": NAMESPACE}
    collections = [path(kind, namespace=namespace) for kind, namespace in kinds.items()]
    collections += [path(kind) for kind in ("clusterroles", "clusterrolebindings", "agentidentities", "namespaces")]
    return [
        f"{each}/{obj['metadata']['name']}" for each in collections for obj in cluster.api.list(each) if NAME in json.dumps(obj["metadata"])
    ]
