"""What is done to a kind cluster from below the API: to processes of pods, to networks of pods, to nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from tests.controlplane import docker
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE, PROCESSES, Process
from tests.controlplane.cluster import Cluster
from tests.controlplane.errors import HarnessError, last_lines
from tests.controlplane.kindbackend import KindBackend

Pod = dict[str, Any]
COMM = 15  # letters that the kernel keeps of a process's name


class Nodes:
    def __init__(self, cluster: Cluster) -> None:
        backend = cluster._backend
        if not isinstance(backend, KindBackend):
            raise HarnessError("chaos needs nodes and pods: CLUSTER=kind")
        self._cluster = cluster
        self._backend = backend
        self._admin = cluster.api

    @property
    def names(self) -> list[str]:
        return self._backend.nodes()

    @property
    def control_plane(self) -> str:
        return next(name for name in self.names if name.endswith("-control-plane"))

    @property
    def workers(self) -> list[str]:
        return [name for name in self.names if name != self.control_plane]

    def execute(self, node: str, *command: str) -> str:
        """A command on a node. Raises HarnessError."""
        answer = docker.run("exec", node, *command, timeout=60)
        if answer.returncode != 0:
            raise HarnessError(f"on {node}: {' '.join(command)}: {last_lines(answer.stderr)}")
        return answer.stdout

    # --- pods -----------------------------------------------------------------------------------

    def pods(self, process: Process) -> list[Pod]:
        """Those that are not on their way out, by name."""
        found = self._backend._pods(self._admin, process)
        return sorted((pod for pod in found if "deletionTimestamp" not in pod["metadata"]), key=_name)

    def leader(self) -> Pod:
        """The operator's pod that holds the Lease."""
        lease = self._admin.get(path("leases", "countersign-operator", namespace=NAMESPACE))
        holder = str(lease["spec"]["holderIdentity"]).partition("_")[0]
        return next(pod for pod in self.pods("operator") if _name(pod) == holder)

    def standby(self) -> Pod:
        leader = _name(self.leader())
        return next(pod for pod in self.pods("operator") if _name(pod) != leader)

    def delete_by_force(self, pod: Pod) -> None:
        url = path("pods", _name(pod), namespace=NAMESPACE)
        self._admin.delete(url, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})

    def signal(self, pod: Pod, number: str) -> None:
        """To the process of the pod's container: KILL, STOP, CONT."""
        self.execute(pod["spec"]["nodeName"], "kill", f"-{number}", self._pid(pod))

    def _pid(self, pod: Pod) -> str:
        container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        for line in self.execute(pod["spec"]["nodeName"], "ctr", "--namespace", "k8s.io", "tasks", "list").splitlines():
            task, pid, *_ = line.split()
            if task == container:
                return pid
        raise HarnessError(f"the pod {_name(pod)} has no process on its node")

    @contextmanager
    def cut_off(self, pod: Pod, *, both_ways: bool) -> Iterator[None]:
        """The pod's calls to the API server are lost, with `both_ways` the API server's calls to the pod too; the kubelet reaches it."""
        node, namespace = pod["spec"]["nodeName"], ("nsenter", "-t", self._pid(pod), "-n")
        service = self._admin.get(path("services", "kubernetes", namespace="default"))["spec"]["clusterIP"]
        lost = [("OUTPUT", "-d", service), ("INPUT", "-s", service)]
        if both_ways:
            lost += [("OUTPUT", "-d", self._server_address), ("INPUT", "-s", self._server_address)]
        for chain, *match in lost:
            self.execute(node, *namespace, "iptables", "-I", chain, *match, "-j", "DROP")
        try:
            yield
        finally:
            for chain, *match in lost:
                self.execute(node, *namespace, "iptables", "-D", chain, *match, "-j", "DROP")

    @cached_property
    def _server_address(self) -> str:
        addresses = self._admin.get(path("nodes", self.control_plane))["status"]["addresses"]
        return next(str(each["address"]) for each in addresses if each["type"] == "InternalIP")

    # --- nodes ----------------------------------------------------------------------------------

    def signal_all(self, node: str, program: str, number: str) -> None:
        self.execute(node, "pkill", f"-{number}", "-x", program[:COMM])

    def pid_of(self, node: str, program: str) -> str:
        """Of a program of the node's own pods; "" where none runs."""
        return docker.run("exec", node, "pgrep", "-o", "-x", program[:COMM]).stdout.strip()

    def restart(self, node: str) -> None:
        answer = docker.run("restart", "--time", "2", node, timeout=120)
        if answer.returncode != 0:
            raise HarnessError(f"docker restart {node}: {last_lines(answer.stderr)}")

    # --- all of it --------------------------------------------------------------------------------

    def missing(self) -> str:
        """What is not as it should be; "" when all is."""
        for node in self._admin.list(path("nodes")):
            if conditions(node).get("Ready") != "True":
                return f"the node {_name(node)} is not ready"
        for process in PROCESSES:
            if not self._backend._is_rolled_out(self._admin, process):
                return f"the Deployment countersign-{process} is not rolled out"
        return ""


def conditions(thing: dict[str, Any]) -> dict[str, str]:
    """Of a pod or a node, by type."""
    return {each["type"]: each["status"] for each in thing["status"].get("conditions", [])}


def _name(thing: dict[str, Any]) -> str:
    return str(thing["metadata"]["name"])
