"""The static manifest: policies from a file of the API server's own host guard our policies, from a cluster-admin too (Kubernetes 1.36, alpha).

Without it an agent that may write admission policies can weaken ours, if only for a moment; the first test is the proof, and the control.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest
import yaml

from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT
from tests.e2e import _faults
from tests.e2e._faults import Json, delete_namespace, helm, left_behind, local, manifest, message, reinstall, uninstall, unique, until
from tests.e2e._guards import at_rest

pytestmark = pytest.mark.local_only(reason="files and flags of the API server itself")

OURS = {
    "the policy": path("validatingadmissionpolicies", "countersign-guards"),
    "its binding": path("validatingadmissionpolicybindings", "countersign-guards"),
    "the label's policy": path("mutatingadmissionpolicies", "countersign-label"),
    "its own binding": path("mutatingadmissionpolicybindings", "countersign-label"),
    "the webhooks": path("validatingwebhookconfigurations", "countersign"),
}
STATIC = "countersign-guards.static.k8s.io"
EVERYBODY = ("rogue", "alice", "admin")


def refused(answer_message: str) -> bool:
    return STATIC in answer_message and "operator alone" in answer_message


def test_without_it_a_cluster_admin_writes_our_policies(cluster: Cluster) -> None:
    """The control: nothing in the API is asked about a write to a policy."""
    for what in ("the policy", "its binding", "the label's policy", "its own binding"):
        for user in EVERYBODY:
            answer = cluster.api_as(user).request("DELETE", OURS[what], None, {"dryRun": "All"})
            assert answer.ok, (what, user, message(answer))


@pytest.fixture(scope="module")
def static(cluster: Cluster) -> Iterator[None]:
    """As docs/static-manifest.md says: the files of the ConfigMap, and the API server's flags."""
    plane, state = local(cluster).plane, cluster.paths.state
    folder = state / "policies"
    values = ["--set", "clusterName=x", "--set", "staticManifest.enabled=true", "--set", f"staticManifest.folder={folder}"]
    rendered = helm(
        cluster,
        "admin",
        "template",
        "countersign",
        ROOT / "charts/countersign",
        "-n",
        NAMESPACE,
        *values,
        "-s",
        "templates/static-manifest.yaml",
    )
    assert rendered.returncode == 0, rendered.stderr
    files = yaml.safe_load(rendered.stdout)["data"]
    folder.mkdir()
    (folder / "policies.yaml").write_text(files["policies.yaml"])
    plane.admission_file.write_text(files["admission.yaml"])
    plane.flags_file.write_text(json.dumps({"feature-gates": "ManifestBasedAdmissionControlConfig=true"}))
    try:
        cluster.restart_api_server()
        cluster.restart_operator()  # it ends where it misses the API server for longer than its Lease
        cluster.wait_in_force()
        yield
    finally:
        for file in (plane.admission_file, plane.flags_file, folder / "policies.yaml"):
            file.unlink(missing_ok=True)
        folder.rmdir()
        cluster.restart_api_server()
        cluster.restart_operator()  # it ends where it misses the API server for longer than its Lease
        cluster.wait_in_force()


@pytest.mark.parametrize("what", OURS)
@pytest.mark.parametrize("user", EVERYBODY)
def test_nobody_changes_or_deletes_a_guard(cluster: Cluster, static: None, what: str, user: str) -> None:
    api, url = cluster.api_as(user), OURS[what]
    before = at_rest(cluster, url)
    weaker: Json = {"webhooks": []} if what == "the webhooks" else {"metadata": {"labels": {"a": "b"}}}
    attempts = [
        api.request("PATCH", url, weaker, None, "application/merge-patch+json"),
        api.request("PUT", url, before | {"metadata": {**before["metadata"], "labels": {}}}),
        api.request("DELETE", url),
        api.request("DELETE", url.rpartition("/")[0]),  # all of them: a deletecollection bears no name
    ]
    for answer in attempts:
        assert refused(message(answer)), message(answer)
    assert cluster.api.get(url)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_nor_makes_one_of_our_name(cluster: Cluster, static: None) -> None:
    body = manifest(
        "ValidatingAdmissionPolicyBinding",
        "countersign-x",
        api="admissionregistration.k8s.io/v1",
        spec={"policyName": "x", "validationActions": ["Deny"]},
    )
    assert refused(message(cluster.api_as("rogue").request("POST", path("validatingadmissionpolicybindings"), body)))


def test_the_operator_goes_on_with_its_work_and_everybody_else_with_theirs(cluster: Cluster, static: None) -> None:
    agent = cluster.new_agent(unique("newcomer"), in_force=False)
    asking = partial(delete_namespace, cluster, agent, "agents", dry_run=True)
    until(lambda: not asking().ok, "the operator was to write it into the guards", timeout=60)
    cluster.api.delete(path("agentidentities", agent))
    name = unique("somebodys")
    body = manifest(
        "ValidatingAdmissionPolicyBinding",
        name,
        api="admissionregistration.k8s.io/v1",
        spec={"policyName": "x", "validationActions": ["Deny"]},
    )
    cluster.api_as("alice").create(path("validatingadmissionpolicybindings"), body)
    cluster.api_as("alice").delete(path("validatingadmissionpolicybindings", name))


def test_what_somebody_had_weakened_before_is_put_back(cluster: Cluster, static: None) -> None:
    plane = local(cluster).plane
    file = cluster.paths.state / "policies" / "policies.yaml"
    text = file.read_text()
    file.write_text("")  # breaking glass on the node; the API server takes it up by itself
    url = OURS["the policy"]

    def can_write() -> bool:
        return cluster.api.request("PATCH", url, {"metadata": {"labels": {"a": "b"}}}, {"dryRun": "All"}, "application/merge-patch+json").ok

    until(can_write, "without the file's content it was to be open", timeout=100)
    file.write_text(text)
    until(lambda: not can_write(), "it was to be in force again", timeout=100)
    assert plane.is_alive("kube-apiserver")


def test_uninstalling_works_and_leaves_nothing(cluster: Cluster, static: None) -> None:
    try:
        uninstall(cluster)
        until(
            lambda: not left_behind(cluster.api),
            "the garbage collector was to take everything",
            explain=lambda: str(left_behind(cluster.api)),
        )
    finally:
        reinstall(cluster)
    assert _faults.guards(cluster.api)
