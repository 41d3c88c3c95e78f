"""The oldest Kubernetes that we support, and its upgrade to the newest: one API server emulates both.

What the older version does not serve, it refuses, newer CEL too (KEP-4330). The workflow `kubernetes` runs each version in earnest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.controlplane import waiting
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import Layout
from tests.controlplane.progress import Progress
from tests.e2e._faults import local

pytestmark = pytest.mark.local_only(reason="flags of the API server, on a control plane of its own")
OLDEST, NEWEST = "1.33", "1.36"
MUTATING = path("mutatingadmissionpolicies")


def emulate(cluster: Cluster, version: str) -> None:
    local(cluster).plane.flags_file.write_text(json.dumps({"emulated-version": version}))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    layout = Layout(tmp_path_factory.mktemp("versions") / "cluster")
    layout.state.mkdir(parents=True)
    (layout.state / "api-server-flags.json").write_text(json.dumps({"emulated-version": OLDEST}))
    quiet = Progress(quiet=True)
    cluster = Cluster.up("local", progress=quiet, layout=layout)
    yield cluster
    cluster.down(quiet)


def version(cluster: Cluster) -> str:
    said = cluster.api.get("/version")
    return f"{said.get('emulationMajor', said['major'])}.{said.get('emulationMinor', said['minor'])}"


def serves_mutation(cluster: Cluster) -> bool:
    return cluster.api.request("GET", MUTATING).ok


def marks(cluster: Cluster, name: str) -> dict[str, str]:
    """Labels and annotations of ours on a ConfigMap that an agent makes and takes away again."""
    agent = cluster.api_as("rogue")
    made = agent.create(
        path("configmaps", namespace="agents"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "agents"}}
    )
    agent.delete(path("configmaps", name, namespace="agents"))
    return {**made["metadata"].get("labels", {}), **made["metadata"].get("annotations", {})}


def holds(cluster: Cluster) -> None:
    """Every guard that can be there is there, without a word of the API server about its expressions; agents are held, others are not."""
    policies = cluster.api.list(path("validatingadmissionpolicies"))
    assert {"countersign-guards", "countersign-agents", "countersign-laundering"} <= {policy["metadata"]["name"] for policy in policies}
    warned = [
        policy["metadata"]["name"] for policy in policies if policy.get("status", {}).get("typeChecking", {}).get("expressionWarnings")
    ]
    assert not warned
    refused = cluster.kubectl("kiro", "delete", "namespace", "agents", "--dry-run=server")
    assert refused.returncode != 0
    assert "would be held until" in refused.stderr
    assert cluster.kubectl("admin", "delete", "namespace", "agents", "--dry-run=server").returncode == 0
    dry = ("delete", "clusterrole", "countersign-operator", "--dry-run=server")
    waiting.until(lambda: "denied request" in cluster.kubectl("rogue", *dry).stderr, "the guards were to be in force", timeout=20)


def test_1_the_oldest_one_which_has_no_mutating_policies(own: Cluster) -> None:
    assert version(own) == OLDEST
    assert not serves_mutation(own)
    holds(own)
    assert marks(own, "unmarked") == {}
    assert 'countersign_operator_reconciles_total{result="failed"} 0.0' in own.operator_metrics(), own.log("operator")


def test_2_the_hardened_profile_with_its_jail_on_the_oldest(own: Cluster) -> None:
    own.reconfigure(profile="hardened")
    holds(own)
    hardened = [policy for policy in own.api.list(path("validatingadmissionpolicies")) if "hardened" in policy["metadata"]["name"]]
    assert hardened


def test_3_the_newest_brings_what_was_missing(own: Cluster) -> None:
    emulate(own, NEWEST)
    own.restart_api_server()
    own.restart_operator()
    own.wait_in_force()
    assert version(own) == NEWEST
    waiting.until(
        lambda: own.api.request("GET", f"{MUTATING}/countersign-label").ok, "the label's policy was to come with the upgrade", timeout=60
    )
    holds(own)
    waiting.until(
        lambda: marks(own, "marked") == {"kube-countersign.dev/agent": "rogue"}, "what agents write was to be labelled", timeout=20
    )
