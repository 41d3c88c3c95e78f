"""What an agent does all day passes in both profiles, also with the webhook down; and the hardened profile is on nobody else's way.

The local control plane has no kubelet: where a Job has to end, the suite says of its pods what a kubelet would.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import (
    AGENT,
    Json,
    allowed,
    claim,
    delete_namespace,
    helm,
    kept,
    make_namespace,
    manifest,
    message,
    received,
    unique,
    until,
    wait_allowed,
    wait_gone,
    wait_refused,
)
from tests.e2e.test_surface import deployment, pod

pytestmark = pytest.mark.local_only(reason="plays the kubelet, and stops the webhook")
SHOP = Path(__file__).parent / "charts" / "shop"
STANDARD, HARDENED = "standard", "hardened"
PATIENCE = 40.0


@dataclass(frozen=True)
class Workplace:
    cluster: Cluster
    profile: str
    namespace: str
    webhook: bool

    def kiro(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """kubectl as the agent, which has to succeed."""
        answer = self.cluster.kubectl("kiro", "--namespace", self.namespace, *map(str, arguments), stdin=stdin)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def replicas(self, name: str) -> int:
        return int(self.cluster.api.get(path("deployments", name, namespace=self.namespace))["spec"]["replicas"])


@contextmanager
def in_profile(cluster: Cluster, profile: str) -> Iterator[None]:
    """The cluster in a profile, and its API server going by it."""
    cluster.reconfigure(profile=profile)

    def foreign_token() -> object:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return cluster.api_as("rogue").request(
            "POST", path("serviceaccounts", "kiro", namespace="agents", subresource="token"), body, params={"dryRun": "All"}
        )

    (wait_refused if profile == HARDENED else wait_allowed)(foreign_token, f"the profile {profile} was to be in force")  # type: ignore[arg-type]  # an Answer
    try:
        yield
    finally:
        cluster.reset_values()


@pytest.fixture(scope="module", params=[STANDARD, HARDENED])
def profile(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    with in_profile(cluster, request.param):
        yield request.param


@pytest.fixture(scope="module", params=[True, False], ids=["webhook up", "webhook down"])
def workplace(cluster: Cluster, profile: str, request: pytest.FixtureRequest) -> Iterator[Workplace]:
    """A protected namespace that somebody else has made."""
    namespace = make_namespace(cluster, "work")
    if not request.param:
        cluster.stop_webhook()
    try:
        yield Workplace(cluster, profile, namespace, request.param)
    finally:
        if not request.param:
            cluster.start_webhook()
            cluster.wait_in_force()
        cluster.api.delete(path("namespaces", namespace))


@contextmanager
def kubelet(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Says of each pod in the namespace that it has done its work, as long as it lasts."""
    over, pods = threading.Event(), path("pods", namespace=namespace)

    def work() -> None:
        while not over.wait(0.3):
            for found in cluster.api.list(pods):
                if found.get("status", {}).get("phase") == "Pending":
                    name = found["metadata"]["name"]
                    cluster.api.request(
                        "PATCH",
                        path("pods", name, namespace=namespace, subresource="status"),
                        {"status": {"phase": "Succeeded"}},
                        content_type="application/merge-patch+json",
                    )

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def as_yaml(*objects: Json) -> str:
    return yaml.safe_dump_all(objects)


def job(name: str, account: str = "") -> Json:
    spec: Json = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.com/none:1"}]}
    if account:
        spec["serviceAccountName"] = account
    return manifest("Job", name, api="batch/v1", spec={"template": {"spec": spec}})


# --- the agent's day ------------------------------------------------------------------------------


def test_deploying_and_scaling_between_sane_bounds(workplace: Workplace) -> None:
    workplace.kiro("create", "-f", "-", stdin=as_yaml(deployment("app", replicas=3)))
    for wanted in (5, 1, 3):
        workplace.kiro("scale", "deployment/app", f"--replicas={wanted}")
        assert workplace.replicas("app") == wanted
    workplace.kiro("patch", "deployment/app", "--type=merge", "-p", '{"spec": {"replicas": 1}}')
    workplace.kiro("autoscale", "deployment/app", "--min=1", "--max=4", "--cpu=80%")
    assert workplace.replicas("app") == 1


def test_changing_what_runs(workplace: Workplace) -> None:
    workplace.kiro("apply", "-f", "-", stdin=as_yaml(deployment("changing", replicas=2)))
    workplace.kiro("set", "image", "deployment/changing", "main=example.com/none:2")
    workplace.kiro("set", "env", "deployment/changing", "MODE=fast")
    workplace.kiro("rollout", "restart", "deployment/changing")
    workplace.kiro("rollout", "undo", "deployment/changing")
    workplace.kiro("rollout", "pause", "deployment/changing")


def test_server_side_apply(workplace: Workplace) -> None:
    workplace.kiro("apply", "--server-side", "-f", "-", stdin=as_yaml(deployment("applied", replicas=2)))
    workplace.kiro("apply", "--server-side", "-f", "-", stdin=as_yaml(deployment("applied", replicas=4)))
    assert workplace.replicas("applied") == 4


def test_labels_and_annotations(workplace: Workplace) -> None:
    workplace.kiro("create", "configmap", "settings", "--from-literal=a=1")
    workplace.kiro("label", "configmap/settings", "tier=front")
    workplace.kiro("annotate", "configmap/settings", "note=mine")
    workplace.kiro("label", "namespace", workplace.namespace, "example.com/seen=yes")


def test_reading(workplace: Workplace) -> None:
    workplace.kiro("create", "-f", "-", stdin=as_yaml(pod("read")))
    workplace.kiro("get", "pods,deployments,statefulsets,configmaps,secrets,persistentvolumeclaims,events")
    workplace.kiro("describe", "pod", "read")
    answer = workplace.cluster.kubectl("kiro", "logs", "read", "--namespace", workplace.namespace)
    assert "forbidden" not in answer.stderr.lower(), answer.stderr  # there is no kubelet that has any


def test_entering_a_pod_of_an_ordinary_account(workplace: Workplace) -> None:
    workplace.kiro("create", "-f", "-", stdin=as_yaml(pod("entered")))
    answer = workplace.cluster.kubectl("kiro", "exec", "entered", "--namespace", workplace.namespace, "--", "true")
    assert "does not have a host assigned" in answer.stderr, answer.stderr  # as far as it gets without a node
    workplace.kiro("debug", "entered", "--image=example.com/none:1", "--profile=general", "--quiet", "--attach=false")


def test_deleting_by_name_and_by_label(workplace: Workplace) -> None:
    both = as_yaml(deployment("gone", replicas=2), manifest("ConfigMap", "gone", labels={"app": "gone"}, data={"a": "1"}), pod("gone"))
    workplace.kiro("create", "-f", "-", stdin=both)
    workplace.kiro("delete", "pod", "gone", "--wait=false")
    workplace.kiro("delete", "configmaps", "-l", "app=gone")
    workplace.kiro("create", "configmap", "gone")
    workplace.kiro("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=both)
    wait_gone(workplace.cluster.api, path("deployments", "gone", namespace=workplace.namespace))


def test_jobs_under_the_default_account_and_one_of_their_own(workplace: Workplace) -> None:
    workplace.kiro("create", "serviceaccount", "worker")
    workplace.kiro("create", "role", "worker", "--verb=get,list,watch", "--resource=configmaps,pods")
    workplace.kiro("create", "rolebinding", "worker", "--role=worker", f"--serviceaccount={workplace.namespace}:worker")
    with kubelet(workplace.cluster, workplace.namespace):
        for name, account in (("plain", ""), ("own", "worker")):
            workplace.kiro("create", "-f", "-", stdin=as_yaml(job(name, account)))
            workplace.kiro("wait", f"job/{name}", "--for=condition=complete", f"--timeout={PATIENCE:.0f}s")
    workplace.kiro("create", "cronjob", "nightly", "--image=example.com/none:1", "--schedule=17 3 * * *", "--", "true")
    workplace.kiro("create", "job", "at-once", "--from=cronjob/nightly")
    workplace.kiro("patch", "cronjob/nightly", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    workplace.kiro("delete", "job,cronjob", "--all", "--wait=false")


def test_an_application_by_helm(workplace: Workplace) -> None:
    release = unique("shop")
    command: list[str | Path] = ["upgrade", "--install", release, SHOP, "--namespace", workplace.namespace]
    for replicas in (3, 1):
        with kubelet(workplace.cluster, workplace.namespace):
            answer = helm(workplace.cluster, "kiro", *command, "--set", f"replicas={replicas}", "--timeout", f"{PATIENCE:.0f}s")
        assert answer.returncode == 0, answer.stderr
        assert workplace.replicas(release) == replicas
    made = workplace.cluster.api.get(path("rolebindings", release, namespace=workplace.namespace))
    assert made["metadata"]["labels"][AGENT] == "kiro"
    answer = helm(workplace.cluster, "kiro", "rollback", release, "1", "--no-hooks", "--namespace", workplace.namespace)
    assert answer.returncode == 0, answer.stderr


def test_a_namespace_of_its_own_from_beginning_to_end(workplace: Workplace) -> None:
    """Emptied and deleted by whoever made it: the deletion asks the webhook, all else is in process."""
    cluster = workplace.cluster
    own = make_namespace(cluster, "own", user="kiro")
    api = cluster.api_as("kiro")
    deployments = path("deployments", namespace=own)
    api.create(deployments, deployment("app", replicas=2))
    allowed(api.request("PATCH", f"{deployments}/app", {"spec": {"replicas": 0}}, content_type="application/merge-patch+json"))
    allowed(api.request("DELETE", deployments))
    if workplace.webhook:
        with kubelet(cluster, own):
            answer = helm(cluster, "kiro", "install", "shop", SHOP, "--namespace", own, "--timeout", f"{PATIENCE:.0f}s")
        assert answer.returncode == 0, answer.stderr
        answer = helm(cluster, "kiro", "uninstall", "shop", "--namespace", own)
        assert answer.returncode == 0, answer.stderr
        allowed(delete_namespace(cluster, "kiro", own))
    else:
        cluster.api.delete(path("namespaces", own))


def test_none_of_it_reaches_the_webhook(workplace: Workplace) -> None:
    if not workplace.webhook:
        return
    before = received(workplace.cluster)
    workplace.kiro("create", "-f", "-", stdin=as_yaml(deployment("unseen", replicas=2)))
    workplace.kiro("scale", "deployment/unseen", "--replicas=1")
    workplace.kiro("delete", "deployment", "unseen", "--wait=false")
    assert received(workplace.cluster) == before


# --- everybody else -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hardened(cluster: Cluster) -> Iterator[Cluster]:
    with in_profile(cluster, HARDENED):
        yield cluster


@pytest.fixture(scope="module")
def deployer(hardened: Cluster) -> str:
    """A machine that is no agent."""
    return hardened.new_service_account("deployer", "cluster-admin", namespace="ci")


@pytest.fixture(scope="module", params=["alice", "deployer"])
def bystander(deployer: str, request: pytest.FixtureRequest) -> str:
    return deployer if request.param == "deployer" else str(request.param)


class TestBystanders:
    """A human and a machine, both cluster-admin: each of these is refused to an agent (tests/jailbreak)."""

    def test_empty_what_they_like(self, hardened: Cluster, bystander: str) -> None:
        api, home = hardened.api_as(bystander), make_namespace(hardened, "theirs")
        deployments, sets = path("deployments", namespace=home), path("statefulsets", namespace=home)
        api.create(deployments, deployment("app", replicas=3))
        allowed(api.request("PUT", f"{deployments}/app/scale", _scale("app", home, 0)))
        allowed(api.request("PATCH", f"{deployments}/app", {"spec": {"replicas": 2}}, content_type="application/merge-patch+json"))
        allowed(api.request("PATCH", f"{deployments}/app", {"spec": {"replicas": 0}}, content_type="application/merge-patch+json"))
        allowed(api.request("DELETE", deployments))
        api.create(path("configmaps", namespace=home), manifest("ConfigMap", "one", data={"a": "1"}))
        allowed(api.request("DELETE", path("configmaps", namespace=home)))
        body = stateful_set("db")
        body["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Delete", "whenScaled": "Delete"}
        api.create(sets, body)
        allowed(api.request("DELETE", f"{sets}/db"))
        hardened.api.delete(path("namespaces", home))

    def test_become_whom_they_like(self, hardened: Cluster, bystander: str) -> None:
        api, home = hardened.api_as(bystander), make_namespace(hardened, "theirs")
        api.create(path("serviceaccounts", namespace=home), manifest("ServiceAccount", "strong"))
        binding = manifest(
            "RoleBinding",
            "strong",
            api="rbac.authorization.k8s.io/v1",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            subjects=[{"kind": "ServiceAccount", "name": "strong", "namespace": home}],
        )
        api.create(path("rolebindings", namespace=home), binding)
        token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        allowed(api.request("POST", path("serviceaccounts", "strong", namespace=home, subresource="token"), token))
        running = pod("running")
        running["spec"] |= {"serviceAccountName": "strong", "hostPID": True}
        api.create(path("pods", namespace=home), running)
        answer = api.request(
            "POST", path("pods", "running", namespace=home, subresource="exec"), params={"command": "true", "stdout": "true"}
        )
        assert "does not have a host assigned" in message(answer), message(answer)
        hardened.api.delete(path("namespaces", home))

    def test_volumes_and_definitions(self, hardened: Cluster, bystander: str) -> None:
        api = hardened.api_as(bystander)
        body = _volume(unique("theirs"))
        with kept(hardened.api, path("persistentvolumes"), body) as url:
            for policy in ("Delete", "Retain"):
                changed = {"spec": {"persistentVolumeReclaimPolicy": policy}}
                allowed(api.request("PATCH", url, changed, content_type="application/merge-patch+json"))
            allowed(api.request("PATCH", url, {"spec": {"claimRef": None}}, content_type="application/merge-patch+json"))
            allowed(api.request("PATCH", url, {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json"))


def test_controllers_go_on(hardened: Cluster) -> None:
    """The deployment controller scales old ReplicaSets to zero, the garbage collector and the namespace controller delete collections."""
    home = make_namespace(hardened, "controlled")
    deployments, sets = path("deployments", namespace=home), path("replicasets", namespace=home)
    body = deployment("app", replicas=2)
    body["spec"]["strategy"] = {"type": "Recreate"}
    hardened.api_as("kiro").create(deployments, body)
    wait_allowed(lambda: hardened.api.request("GET", f"{sets}/{_first(hardened, sets)}"), "a ReplicaSet was to be made")
    first = _first(hardened, sets)
    template = {"spec": {"template": {"metadata": {"annotations": {"round": "2"}}}}}
    hardened.api_as("kiro").patch(f"{deployments}/app", template)
    until(lambda: hardened.api.get(f"{sets}/{first}")["spec"]["replicas"] == 0, "the old ReplicaSet was to be scaled to zero")
    hardened.api.create(path("persistentvolumeclaims", namespace=home), claim("data"))
    hardened.api.delete(path("namespaces", home))
    wait_gone(hardened.api, path("namespaces", home))


def _first(cluster: Cluster, sets: str) -> str:
    found = cluster.api.list(sets)
    return str(found[0]["metadata"]["name"]) if found else "none"


def _scale(name: str, namespace: str, replicas: int) -> Json:
    body = manifest("Scale", name, api="autoscaling/v1", spec={"replicas": replicas})
    body["metadata"]["namespace"] = namespace
    return body


def stateful_set(name: str) -> Json:
    body = deployment(name)
    body["kind"] = "StatefulSet"
    body["spec"]["serviceName"] = name
    return body


def _volume(name: str) -> Json:
    spec = {
        "capacity": {"storage": "1Mi"},
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "none.example.com", "volumeHandle": name},
        "storageClassName": "none",
        "claimRef": {"namespace": "default", "name": "absent"},
    }
    return manifest("PersistentVolume", name, spec=spec)
