"""Countersign is out altogether: agents cannot destroy, and everything else goes on, its own repair first of all (invariant 8)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.chaos.faults import Stage
from tests.chaos.load import PRECIOUS, body, deployment, fresh
from tests.chaos.nodes import conditions
from tests.chaos.report import Check
from tests.controlplane import chart, docker, waiting
from tests.controlplane.api import Answer, path
from tests.controlplane.chart import NAMESPACE, RELEASE, Process
from tests.controlplane.errors import HarnessError
from tests.controlplane.files import write_json
from tests.controlplane.progress import Progress

BROKEN_TAG = "dev-broken-by-a-bad-upgrade"
POD_WITHIN = 90.0


class Broken(Exception):
    """A promise was; its text says which."""


class Outages:
    """`checks` are what was tried, in order."""

    def __init__(self, stage: Stage, progress: Progress) -> None:
        self._stage = stage
        self._cluster = stage.cluster
        self._nodes = stage.nodes
        self._progress = progress
        self._outage = ""
        self._pause_image = self._find_pause_image()
        self.checks: list[Check] = []

    def run(self) -> None:
        with self._during("webhook scaled to zero"):
            self._scale("webhook", 0)
            self._everything_else_goes_on()
            self._check("the cluster restarts its own pods", self._restart_own_pods)
            self._check("the cluster restarts its own control plane", self._restart_control_plane)
            self._check("a kubelet restarts", self._restart_kubelet)
            self._check("a node restarts, with pods on it", self._restart_node)
            self._check("helm upgrade that changes nothing repairs it", self._upgrade)
        with self._during("image broken by a bad upgrade"):
            good = self._revision()
            self._check("the bad upgrade alone: the old replicas go on deciding", self._bad_upgrade_alone)
            self._break_image()
            self._everything_else_goes_on()
            self._check("helm rollback repairs it", lambda: self._roll_back(good))
        with self._during("webhook and operator dead"):
            self._scale("webhook", 0)
            self._scale("operator", 0)
            self._everything_else_goes_on()
            self._check("helm upgrade with another value repairs it", lambda: self._upgrade(requestTTL="22h"))
        with self._during("webhook dead again"):
            self._scale("webhook", 0)
            self._check("helm rollback that changes nothing repairs it", lambda: self._roll_back(self._revision()))

    @contextmanager
    def _during(self, outage: str) -> Iterator[None]:
        self._outage = outage
        self._progress.say(f"== {outage}")
        yield

    def _check(self, what: str, attempt: Callable[[], None]) -> None:
        begun, why = time.monotonic(), ""
        with self._progress.step(what):
            try:
                attempt()
            except (Broken, HarnessError, httpx.HTTPError, subprocess.SubprocessError) as error:
                why = " ".join(str(error).split())[:500] or repr(error)
        self.checks.append(Check(self._outage, what, round(time.monotonic() - begun, 1), why))
        if why:
            self._progress.say(f"  FAILED: {why}")

    # --- the outages ------------------------------------------------------------------------------

    def _scale(self, process: Process, replicas: int) -> None:
        self._stage.kubectl("scale", f"deployment/countersign-{process}", f"--replicas={replicas}", "--namespace", NAMESPACE)
        waiting.until(lambda: not self._nodes._backend._pods(self._cluster.api, process), f"the {process} was to be gone", timeout=90)

    def _bad_upgrade_alone(self) -> None:
        self._helm_values({"image": {"tag": BROKEN_TAG}})
        waiting.until(
            lambda: any(_waits_for_image(pod) for pod in self._nodes.pods("webhook")), "a new pod was to lack its image", timeout=POD_WITHIN
        )
        refused = self._destroy("kiro", PRECIOUS[0])
        if refused.status != httpx.codes.FORBIDDEN or "WAITING FOR HUMAN SIGNATURES" not in str(refused.body.get("message")):
            raise Broken(f"not refused by a decision: {refused.status} {refused.body.get('message')}")

    def _break_image(self) -> None:
        """The old replicas are gone too: scaled to zero, then upgraded to what cannot start."""
        self._scale("webhook", 0)
        self._helm_values({"image": {"tag": BROKEN_TAG}})
        waiting.until(self._none_runs, "all webhook pods were to lack their image", timeout=POD_WITHIN)

    def _none_runs(self) -> bool:
        pods = self._nodes.pods("webhook")
        return bool(pods) and all(_waits_for_image(pod) for pod in pods)

    # --- what has to go on ------------------------------------------------------------------------

    def _everything_else_goes_on(self) -> None:
        self._check("agents cannot destroy", self._agents_cannot_destroy)
        self._check("people deploy", lambda: self._deploys("dave"))
        self._check("agents deploy", lambda: self._deploys("kiro"))
        self._check("people delete a namespace", self._people_delete)

    def _agents_cannot_destroy(self) -> None:
        before = self._uids()
        for user in ("kiro", "rogue"):
            for name in PRECIOUS:
                answer = self._destroy(user, name)
                if answer.ok:
                    raise Broken(f"{user} deleted the namespace {name}")
        default = self._cluster.api_as("rogue").request("DELETE", path("protectedenvironments", "default"))
        if default.ok:
            raise Broken("rogue deleted the environment `default`")
        if self._uids() != before:
            raise Broken("a namespace is not the one that it was")

    def _uids(self) -> list[str]:
        return [str(self._cluster.api.get(path("namespaces", name))["metadata"]["uid"]) for name in PRECIOUS]

    def _destroy(self, user: str, name: str) -> Answer:
        return self._cluster.api_as(user).request("DELETE", path("namespaces", name))

    def _deploys(self, user: str) -> None:
        """A Deployment is made, runs, is changed and deleted, and a pod of it is deleted in between."""
        namespace, name = "workplace", fresh("app")
        api = self._cluster.api_as(user)
        deployments, pods = path("deployments", namespace=namespace), path("pods", namespace=namespace)
        api.create(deployments, deployment(name, self._pause_image, replicas=1))
        self._wait_available(deployments, name, 1)
        for pod in api.list(pods, labelSelector=f"app={name}"):
            api.delete(f"{pods}/{pod['metadata']['name']}")
        api.patch(f"{deployments}/{name}", {"spec": {"replicas": 2}})
        self._wait_available(deployments, name, 2)
        api.delete(f"{deployments}/{name}")
        waiting.until(lambda: not api.list(pods, labelSelector=f"app={name}"), f"the pods of {name} were to go", timeout=POD_WITHIN)

    def _wait_available(self, deployments: str, name: str, replicas: int) -> None:
        def available() -> bool:
            status = self._cluster.api.get(f"{deployments}/{name}").get("status", {})
            return bool(status.get("availableReplicas", 0) == replicas)

        waiting.until(available, f"the Deployment {name} was to have {replicas} replicas", timeout=POD_WITHIN, pause=0.3)

    def _people_delete(self) -> None:
        name, api = fresh("own"), self._cluster.api_as("dave")
        api.create(path("namespaces"), body("Namespace", name))
        api.create(path("configmaps", namespace=name), body("ConfigMap", "a"))
        api.delete(path("namespaces", name))
        waiting.until(lambda: not api.exists(path("namespaces", name)), f"the namespace {name} was to go", timeout=POD_WITHIN)

    def _restart_own_pods(self) -> None:
        pods, api = path("pods", namespace="kube-system"), self._cluster.api
        deleted = set()
        for labels in ("k8s-app=kube-dns", "k8s-app=kube-proxy"):
            for pod in api.list(pods, labelSelector=labels):
                deleted.add(pod["metadata"]["uid"])
                api.delete(f"{pods}/{pod['metadata']['name']}")
        self._wait_system(deleted)

    def _restart_control_plane(self) -> None:
        """The kubelet starts its static pods anew; a mirror pod that somebody deletes comes back."""
        node = self._nodes.control_plane
        for program in ("kube-scheduler", "kube-controller-manager"):
            pid = self._running(program, node, besides="")
            self._nodes.execute(node, "kill", "-KILL", pid)
            self._running(program, node, besides=pid)
        mirror = path("pods", f"kube-scheduler-{node}", namespace="kube-system")
        uid = self._cluster.api.get(mirror)["metadata"]["uid"]
        self._cluster.api.delete(mirror, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
        self._wait_system({uid})

    def _running(self, program: str, node: str, *, besides: str) -> str:
        """The pid of a program of the control plane, once it runs under another one."""
        waiting.until(
            lambda: self._nodes.pid_of(node, program) not in ("", besides), f"{program} was to run", timeout=POD_WITHIN, pause=0.5
        )
        return self._nodes.pid_of(node, program)

    def _wait_system(self, gone: set[str]) -> None:
        """Until every pod of kube-system is ready, and none is one of `gone`."""
        pods = path("pods", namespace="kube-system")

        def back() -> bool:
            found = self._cluster.api.list(pods)
            return not gone & {pod["metadata"]["uid"] for pod in found} and all(_is_ready(pod) for pod in found)

        waiting.until(back, "the pods of kube-system were to be ready again", timeout=POD_WITHIN, pause=0.5)

    def _restart_kubelet(self) -> None:
        node = self._nodes.workers[0]
        self._nodes.execute(node, "systemctl", "restart", "kubelet")
        self._nodes.execute(node, "systemctl", "is-active", "kubelet")
        self._wait_nodes()

    def _restart_node(self) -> None:
        name, deployments = fresh("stays"), path("deployments", namespace="workplace")
        node = self._nodes.workers[-1]
        wanted = deployment(name, self._pause_image, replicas=1)
        wanted["spec"]["template"]["spec"]["nodeName"] = node
        self._cluster.api_as("dave").create(deployments, wanted)
        self._wait_available(deployments, name, 1)
        started = self._boot(node)
        self._nodes.restart(node)
        waiting.until(lambda: self._boot(node) not in ("", started), f"{node} was to report its new boot", timeout=POD_WITHIN, pause=0.5)
        self._wait_nodes()
        self._wait_available(deployments, name, 1)
        self._cluster.api_as("dave").delete(f"{deployments}/{name}")

    def _boot(self, node: str) -> str:
        """When the node's kubelet came to be ready for the last time, and how often the pods on it were started."""
        pods = self._cluster.api.list("/api/v1/pods", fieldSelector=f"spec.nodeName={node}")
        return str(sum(each["restartCount"] for pod in pods for each in pod["status"].get("containerStatuses", [])))

    def _wait_nodes(self) -> None:
        def ready() -> bool:
            nodes = self._cluster.api.list(path("nodes"))
            return all({"Ready": "True"}.items() <= conditions(node).items() for node in nodes)

        waiting.until(ready, "every node was to be ready", timeout=POD_WITHIN, pause=0.5)

    # --- repair -----------------------------------------------------------------------------------

    def _revision(self) -> str:
        """The one that is installed."""
        listed = json.loads(self._helm("history", RELEASE, "--namespace", NAMESPACE, "--output", "json"))
        return str(listed[-1]["revision"])

    def _upgrade(self, **values: Any) -> None:
        """The same chart, with other values or with none: as many replicas as the values say, whatever was scaled by hand."""
        self._helm_values(values)
        self._wait_repaired()

    def _roll_back(self, revision: str) -> None:
        self._helm("rollback", RELEASE, revision, "--namespace", NAMESPACE)
        self._wait_repaired()

    def _wait_repaired(self) -> None:
        for process in chart.PROCESSES:
            if not self._cluster.api.get(path("deployments", f"countersign-{process}", namespace=NAMESPACE))["spec"]["replicas"]:
                raise Broken(f"helm left the {process} scaled to zero")
        self._stage.wait_whole()
        self._cluster.wait_in_force()

    def _helm_values(self, values: dict[str, Any]) -> None:
        """`helm upgrade` with these over the values of the installation, which are not changed by it."""
        layout = self._cluster.paths
        file = layout.state / "chaos-values.json"
        write_json(file, chart.merged(chart.values(layout), values))
        self._helm("upgrade", RELEASE, str(chart.CHART), "--namespace", NAMESPACE, "--values", str(file))

    def _helm(self, *arguments: str) -> str:
        layout = self._cluster.paths
        homes = {f"HELM_{name}_HOME": str(layout.state / "helm") for name in ("CACHE", "CONFIG", "DATA")}
        answer = subprocess.run(
            [layout.bin / "helm", *arguments, "--kubeconfig", layout.user("alice")],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(layout.state), **homes},
            timeout=120,
        )
        if answer.returncode != 0:
            raise Broken(f"helm {arguments[0]}: {answer.stderr.strip()}")
        return answer.stdout

    def _find_pause_image(self) -> str:
        """The sandbox image, which every node has."""
        names = docker.run("exec", self._nodes.workers[0], "ctr", "--namespace", "k8s.io", "images", "list", "--quiet").stdout.split()
        return next(name for name in names if "/pause:" in name)


def _waits_for_image(pod: dict[str, Any]) -> bool:
    states = [each.get("state", {}) for each in pod["status"].get("containerStatuses", [])]
    return any("Image" in state.get("waiting", {}).get("reason", "") for state in states)


def _is_ready(pod: dict[str, Any]) -> bool:
    return conditions(pod).get("Ready") == "True"
