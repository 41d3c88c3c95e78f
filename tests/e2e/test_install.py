"""Installing: what is refused changes nothing, what is installed is in force within a minute, and the self-test tells the two apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from countersign.domain.names import cluster_name
from countersign.domain.selftest import AGENT_ACCOUNT, NAME
from tests.chart.rendering import Chart
from tests.controlplane import chart, people, waiting
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE, RELEASE
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT
from tests.e2e._bare import helm, installed
from tests.e2e._faults import ADMIN, OURS, manifest

pytestmark = pytest.mark.local_only(
    reason="installs on a control plane of its own, which has no pods; tests/e2e/test_install_pods.py has some"
)
CONFIGURATION = path("validatingwebhookconfigurations", "countersign")
TRACES = ("serviceaccounts", "secrets", "configmaps", "leases", "services")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with installed(tmp_path_factory.mktemp("install")) as cluster:
        yield cluster


def without_a_name(cluster: Cluster) -> dict[str, Any]:
    """No value but those that a control plane without pods needs."""
    return {"outOfCluster": chart.values(cluster.paths)["outOfCluster"]}


def traces(cluster: Cluster, namespace: str) -> list[str]:
    """What bears our names, or Helm's; but not the webhook's notes, which come and go."""
    found = [f"{kind}/{obj['metadata']['name']}" for kind in TRACES for obj in cluster.api.list(path(kind, namespace=namespace))]
    return sorted(each for each in found if ("countersign" in each or "helm" in each) and "/countersign-note-" not in each)


def test_1_a_second_release_is_refused_by_name(own: Cluster) -> None:
    answer = helm(own, "install", "another", chart.CHART, "--create-namespace", namespace="elsewhere", values=without_a_name(own))
    assert answer.returncode != 0
    said = f"the release {RELEASE} in the namespace {NAMESPACE}. A cluster takes one. Upgrade that (helm upgrade {RELEASE} -n {NAMESPACE})"
    assert said in answer.stderr
    assert not own.api.exists(path("namespaces", "elsewhere"))


def test_2_a_refused_upgrade_changes_nothing(own: Cluster) -> None:
    before = traces(own, NAMESPACE)
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"requestTLL": "1h"}, "requestTLL"),
        ({"networkPolicy": {"from": ["10.0.0.1/32"]}}, "networkPolicy.from"),
        ({"certificates": {"source": "cert-manager"}}, "there is no cert-manager in this cluster. Install it first"),
    )
    for values, said in refused:
        answer = helm(own, "upgrade", RELEASE, chart.CHART, values={**without_a_name(own), **values})
        assert answer.returncode != 0, answer.stdout
        assert said in answer.stderr
    assert traces(own, NAMESPACE) == before, "not even a release that failed"


def test_3_the_cluster_is_called_after_its_uid(own: Cluster) -> None:
    """In the refusal, which both of the replicas write, and after a restart; and NOTES say so."""
    chart.install(own.paths, own.paths.bin / "helm", {**without_a_name(own), **chart.ROOMY})
    name = cluster_name(own.uid)
    for _ in range(2):
        own.restart_operator()
        own.restart_webhook()
        answer = own.api_as("kiro").request("DELETE", path("namespaces", "agents"), params={"dryRun": "All"})
        assert f'namespace "agents" on {name} ' in str(answer.body["message"])
    notes = helm(own, "get", "notes", RELEASE).stdout
    assert f"is installed on {name}." in notes
    assert f"Reviewers read the name {name} in what they sign" in notes


# --- the self-test ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks(own: Cluster) -> Iterator[None]:
    """What `helm test` makes besides the pod."""
    made = Chart(own.paths.bin / "helm").hooks(without_a_name(own))
    text = yaml.safe_dump_all(made)
    applied = own.kubectl("admin", "apply", "-f", "-", stdin=text)
    assert applied.returncode == 0, applied.stderr
    yield
    own.kubectl("admin", "delete", "-f", "-", stdin=text)


def selftest(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    token = cluster.paths.state / "selftest-token"
    token.write_text(people.token(cluster.api, NAMESPACE, NAME))
    environment = {
        "PATH": os.environ["PATH"],
        "COUNTERSIGN_API_SERVER": cluster._backend.server.url,
        "COUNTERSIGN_API_CA_FILE": str(cluster.paths.pki / "ca.crt"),
        "COUNTERSIGN_TOKEN_FILE": str(token),
        "COUNTERSIGN_NAMESPACE": NAMESPACE,
    }
    command = [sys.executable, "-m", "countersign", "selftest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def left(cluster: Cluster) -> list[str]:
    def gone() -> bool:
        return not cluster.api.exists(path("namespaces", NAME))

    waiting.until(gone, "the throw-away namespace was to go", timeout=30)
    return [obj["metadata"]["name"] for obj in cluster.api.list(path("agentidentities")) if obj["metadata"]["name"] == NAME]


@pytest.mark.usefixtures("hooks")
class TestSelfTest:
    def test_4_it_passes_where_protection_is_in_force(self, own: Cluster) -> None:
        ran = selftest(own)
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
        assert ran.stdout.startswith("IN FORCE after ")
        assert len(ran.stdout.splitlines()) == 1
        assert left(own) == []

    def test_5_it_fails_with_the_configuration_gone(self, own: Cluster) -> None:
        own.stop_operator()
        for name in ("countersign-guards", "countersign-guards-2"):
            own.api.delete(path("validatingadmissionpolicybindings", name))
        waiting.until(lambda: own.api.request("DELETE", CONFIGURATION).ok, "the guard was to be out of force", timeout=30)
        ran = selftest(own, "--within", "3")
        assert ran.returncode == 1
        assert "there is no ValidatingWebhookConfiguration countersign. The operator makes it: kubectl -n countersign logs" in ran.stdout
        assert left(own) == []
        own.start_operator()
        waiting.until(lambda: own.api.exists(CONFIGURATION), "the operator was to make it again", timeout=30)

    def test_6_it_fails_with_the_webhook_dead(self, own: Cluster) -> None:
        own.stop_webhook()
        ran = selftest(own, "--within", "5")
        own.start_webhook()
        assert ran.returncode == 1
        assert ran.stdout.startswith("FAILS CLOSED: deletions are held, but since no webhook answers")

    def test_7_audit_is_told_from_protection(self, own: Cluster) -> None:
        own.api.patch(path("protectedenvironments", "default"), {"spec": {"mode": "Audit"}})
        ran = selftest(own, "--within", "20")
        own.api.patch(path("protectedenvironments", "default"), {"spec": {"mode": "Enforce"}})
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
        assert ran.stdout.startswith("RECORDED after ")

    def test_8_where_everyone_is_held_back_it_says_what_is_left(self, own: Cluster) -> None:
        namespaces = {"selector": {"matchLabels": {"kubernetes.io/metadata.name": NAME}}}
        spec = {"namespaces": namespaces, "protectFrom": "Everyone", "except": [ADMIN]}
        before = len(chart.registered(own.api))
        own.api.create(path("protectedenvironments"), manifest("ProtectedEnvironment", "everyone", api=f"{OURS}/v1alpha1", spec=spec))
        waiting.until(lambda: len(chart.registered(own.api)) > before, "everyone was to be held back", timeout=30)
        try:
            for _ in range(2):
                ran = selftest(own)
                assert ran.returncode == 0, ran.stdout + ran.stderr
                assert ran.stdout.startswith("IN FORCE after ")
                assert f"The Namespace {NAME} is left, for the next run: " in ran.stdout
        finally:
            own.api.delete(path("protectedenvironments", "everyone"))
            waiting.until(lambda: len(chart.registered(own.api)) == before, "no more than agents were to be held back", timeout=30)
            for kind in ("agentidentities", "namespaces"):
                own.kubectl("admin", "delete", kind, NAME, "--ignore-not-found").check_returncode()

    def test_9_an_agent_cannot_use_it_to_make_agents(self, own: Cluster) -> None:
        """The account that makes identities is no agent's to become."""
        answer = own.api_as("rogue").request(
            "POST", path("serviceaccounts", NAME, namespace=NAMESPACE) + "/token", {"kind": "TokenRequest"}
        )
        assert answer.status == 403, answer.body


# --- before there is anything -----------------------------------------------------------------


def test_91_a_namespace_of_agents_is_refused(own: Cluster) -> None:
    assert helm(own, "uninstall", RELEASE).returncode == 0
    own.stop_operator()
    own.stop_webhook()
    own.api.create(path("namespaces"), {"metadata": {"name": "sandbox"}})
    subjects = [{"kind": "ServiceAccount", "namespace": "sandbox", "name": "*"}]
    own.api.create(path("agentidentities"), {**own.identity("sandboxed", subjects)})
    answer = helm(own, "install", RELEASE, chart.CHART, namespace="sandbox", values=without_a_name(own))
    assert answer.returncode != 0
    assert "The accounts of the namespace sandbox are agents (AgentIdentity sandboxed)" in answer.stderr
    assert traces(own, "sandbox") == []


def test_92_who_may_not_install_changes_nothing(own: Cluster) -> None:
    """Helm's first step is the definitions: whoever may not make them is refused before anything else."""
    account = own.new_service_account("installer", "admin", namespace="sandbox")
    answer = helm(own, "install", RELEASE, chart.CHART, namespace="sandbox", user=account, values=without_a_name(own))
    assert answer.returncode != 0
    assert "customresourcedefinitions" in answer.stderr
    assert "cannot" in answer.stderr
    assert traces(own, "sandbox") == []


def test_93_installed_it_is_in_force_within_a_minute(own: Cluster) -> None:
    """With the agents there first; and in a namespace of any name, were it not for the accounts of this harness."""
    began = time.monotonic()
    chart.install(own.paths, own.paths.bin / "helm", {**without_a_name(own), **chart.ROOMY})
    for process in chart.PROCESSES:
        token = people.token(own.api, NAMESPACE, f"countersign-{process}")
        (own.paths.tokens / process).write_text(token)
    own.start_operator()
    own.start_webhook()
    own.wait_in_force(60)
    print(f"\nfrom helm install to in force: {time.monotonic() - began:.1f} s")
    assert AGENT_ACCOUNT not in json.dumps(own.api.list(path("serviceaccounts", namespace=NAMESPACE))), "only while the test runs"
