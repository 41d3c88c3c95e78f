"""The faults: what each does to the cluster, and what is promised meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.chaos.load import body, fresh
from tests.chaos.nodes import Nodes, conditions
from tests.controlplane import chart, waiting
from tests.controlplane.api import ApiError, path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.controlplane.errors import HarnessError

PROTECTED = "kube-countersign.dev/protected"
CUT_FOR = 30.0
ETCD_STOPPED_FOR = 5.0
OPERATOR_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    cluster: Cluster
    nodes: Nodes

    def kubectl(self, *arguments: str) -> None:
        """As the cluster's administrator, a human. Raises HarnessError."""
        answer = self.cluster.kubectl("alice", *arguments, timeout=180)
        if answer.returncode != 0:
            raise HarnessError(f"kubectl {' '.join(arguments)}: {answer.stderr.strip()}")

    def wait_whole(self) -> None:
        """Nodes, replicas, and an operator at work: it labels a namespace that is new."""
        waiting.until(self._is_whole, "the cluster was to be whole again", timeout=180, pause=0.5, explain=self._explain)

    def _is_whole(self) -> bool:
        try:
            return not self.nodes.missing()
        except (ApiError, httpx.TransportError):
            return False

    def _explain(self) -> str:
        try:
            return self.nodes.missing()
        except (ApiError, httpx.TransportError) as error:
            return str(error)

    def wait_operator(self) -> None:
        name = fresh("labelled")
        url = path("namespaces", name)
        self.cluster.api.create(path("namespaces"), body("Namespace", name))
        waiting.until(
            lambda: PROTECTED in self.cluster.api.get(url)["metadata"].get("labels", {}),
            "the operator was to label a new namespace",
            timeout=OPERATOR_WITHIN,
        )
        self.cluster.api.delete(url)


@dataclass(frozen=True, slots=True)
class Fault:
    """`act` returns once the cause is gone; the rest is recovery, and may take `within` seconds from the beginning.

    `gentle`: what operators of clusters do on purpose. Nothing at all may go another way than usual, not even once.
    """

    name: str
    act: Callable[[Stage], None]
    gentle: bool = False
    touches_server: bool = False
    within: float = 60.0


def _upgrade(stage: Stage) -> None:
    """Another value: both Deployments are rolled."""
    layout = stage.cluster.paths
    chart.install(layout, layout.bin / "helm", chart.merged(chart.values(layout), {"requestTTL": "23h"}))


def _restart(stage: Stage) -> None:
    stage.kubectl("rollout", "restart", "deployment", "--namespace", NAMESPACE)
    for process in chart.PROCESSES:
        stage.kubectl("rollout", "status", f"deployment/countersign-{process}", "--namespace", NAMESPACE, "--timeout=120s")


def _drain(stage: Stage) -> None:
    node = stage.nodes.pods("webhook")[0]["spec"]["nodeName"]
    stage.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
    try:
        stage.wait_whole()
    finally:
        stage.kubectl("uncordon", node)


def _kill_webhook(stage: Stage) -> None:
    stage.nodes.signal(stage.nodes.pods("webhook")[0], "KILL")


def _delete_webhook(stage: Stage) -> None:
    stage.nodes.delete_by_force(stage.nodes.pods("webhook")[1])


def _kill_all_webhooks(stage: Stage) -> None:
    for pod in stage.nodes.pods("webhook"):
        stage.nodes.signal(pod, "KILL")


def _kill_leader(stage: Stage) -> None:
    stage.nodes.signal(stage.nodes.leader(), "KILL")


def _delete_leader(stage: Stage) -> None:
    """Its Lease is left held: the other one waits it out."""
    stage.nodes.delete_by_force(stage.nodes.leader())


def _kill_standby(stage: Stage) -> None:
    stage.nodes.signal(stage.nodes.standby(), "KILL")


def _freeze(stage: Stage) -> None:
    """Stopped, not dead: it takes connections and answers nothing. The kubelet has to notice, and to start it anew."""
    pod = stage.nodes.pods("webhook")[0]
    before = _restarts(stage, pod["metadata"]["name"])
    stage.nodes.signal(pod, "STOP")
    waiting.until(
        lambda: _restarts(stage, pod["metadata"]["name"]) > before, "the kubelet was to restart the frozen replica", timeout=150, pause=0.5
    )


def _restarts(stage: Stage, pod: str) -> int:
    statuses = stage.cluster.api.get(path("pods", pod, namespace=NAMESPACE))["status"].get("containerStatuses", [])
    return sum(int(each["restartCount"]) for each in statuses)


def _partition(stage: Stage) -> None:
    _cut_off(stage, stage.nodes.pods("webhook")[0]["metadata"]["name"], both_ways=True)


def _deafen(stage: Stage) -> None:
    """It is still asked, and can look nothing up."""
    _cut_off(stage, stage.nodes.pods("webhook")[1]["metadata"]["name"], both_ways=False)


def _cut_off(stage: Stage, name: str, *, both_ways: bool) -> None:
    """Until it has left the Service by itself, and for CUT_FOR seconds at least."""
    url = path("pods", name, namespace=NAMESPACE)
    with stage.nodes.cut_off(stage.cluster.api.get(url), both_ways=both_ways):
        end = time.monotonic() + CUT_FOR
        waiting.until(
            lambda: conditions(stage.cluster.api.get(url)).get("Ready") == "False",
            "the replica that is cut off was to say that it is not ready",
            timeout=45,
            pause=0.5,
        )
        time.sleep(max(0.0, end - time.monotonic()))


def _restart_node(stage: Stage) -> None:
    stage.nodes.restart(stage.nodes.pods("webhook")[0]["spec"]["nodeName"])


def _restart_server(stage: Stage) -> None:
    stage.cluster.restart_api_server()


def _stop_etcd(stage: Stage) -> None:
    node = stage.nodes.control_plane
    stage.nodes.signal_all(node, "etcd", "STOP")
    try:
        time.sleep(ETCD_STOPPED_FOR)
    finally:
        stage.nodes.signal_all(node, "etcd", "CONT")


FAULTS = (
    Fault("helm upgrade that changes a value", _upgrade, gentle=True),
    Fault("kubectl rollout restart of both", _restart, gentle=True),
    Fault("kubectl drain of a webhook's node", _drain, gentle=True),
    Fault("one webhook killed", _kill_webhook),
    Fault("one webhook's pod deleted by force", _delete_webhook),
    Fault("all webhooks killed at once", _kill_all_webhooks),
    Fault("the leading operator killed", _kill_leader),
    Fault("the leading operator's pod deleted by force", _delete_leader),
    Fault("the operator that stands by killed", _kill_standby),
    Fault("one webhook frozen", _freeze, within=120),
    Fault(f"one webhook cut off from the API server for {CUT_FOR:.0f} s", _partition, within=90),
    Fault(f"one webhook's calls to the API server lost for {CUT_FOR:.0f} s", _deafen, within=90),
    Fault("a webhook's node restarted", _restart_node, within=120),
    Fault("the API server killed", _restart_server, touches_server=True, within=120),
    Fault(f"etcd stopped for {ETCD_STOPPED_FOR:.0f} s", _stop_etcd, touches_server=True),
)
