"""Countersign without Helm, by the commands in the head of deploy/manifests/countersign.yaml."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
import yaml

from tests.controlplane import waiting
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT
from tests.e2e._bare import bare, in_force, run_processes
from tests.e2e._faults import allowed, delete_namespace, guards, held, make_namespace

pytestmark = pytest.mark.local_only(reason="installs Countersign without Helm, on a control plane of its own")
FOLDER = ROOT / "deploy" / "manifests"
MANIFEST = FOLDER / "countersign.yaml"
COMMANDS = re.findall(r"^#     kubectl (.*)$", MANIFEST.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with bare(tmp_path_factory.mktemp("manifests")) as cluster:
        yield cluster


def kubectl(cluster: Cluster, command: str) -> str:
    arguments = [str(ROOT / word) if word.startswith("deploy/") else word for word in shlex.split(command)]
    answer = cluster.kubectl("admin", *arguments)
    assert answer.returncode == 0, f"kubectl {command}: {answer.stdout}{answer.stderr}"
    return answer.stdout


def test_1_the_three_commands(own: Cluster) -> None:
    assert [command.split()[0] for command in COMMANDS] == ["apply", "wait", "apply"]
    for command in COMMANDS:
        kubectl(own, command)
    run_processes(own)
    in_force(own)
    refused = delete_namespace(own, "rogue", make_namespace(own, "shop"))
    held(refused)


def test_2_applying_again_changes_nothing(own: Cluster) -> None:
    """Nothing in the file is what the operator or a controller writes: who applies it from a repository sees no drift."""
    for file in (FOLDER / "definitions.yaml", MANIFEST):
        difference = own.kubectl("admin", "diff", "--server-side", "-f", str(file))
        assert (difference.returncode, difference.stdout) == (0, ""), difference.stderr


def test_3_the_hardened_one_in_its_place(own: Cluster) -> None:
    kubectl(own, "apply --server-side -f deploy/manifests/countersign-hardened.yaml")
    ours = yaml.safe_load_all((FOLDER / "countersign-hardened.yaml").read_text())
    assert {obj["kind"] for obj in ours} >= {"Deployment", "ClusterRole", "ProtectedEnvironment", "Namespace"}
    kubectl(own, "apply --server-side -f deploy/manifests/countersign.yaml")
    own.wait_in_force()


def test_4_an_agent_deletes_none_of_it_and_a_person_all(own: Cluster) -> None:
    refused = own.kubectl("rogue", "delete", "--ignore-not-found", "-f", str(MANIFEST), "--dry-run=server", "--wait=false")
    assert refused.returncode != 0
    assert "denied" in refused.stderr
    kubectl(own, "delete -f deploy/manifests/countersign.yaml --wait=false")
    waiting.until(lambda: not guards(own.api), "all guards were to go with their owner", timeout=30)
    waiting.until(lambda: not own.api.request("GET", path("namespaces", NAMESPACE)).ok, "the namespace was to go", timeout=60)
    name = make_namespace(own, "after")
    waiting.until(lambda: delete_namespace(own, "rogue", name, dry_run=True).ok, "agents were to be free again", timeout=20)
    allowed(delete_namespace(own, "rogue", name))
