"""The cluster in Docker: a kind cluster, with Countersign in pods as the chart makes them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.controlplane import authorization, binaries, chart, docker, kubeconfig, nodelogs, pki, state, waiting
from tests.controlplane.api import Api, path
from tests.controlplane.chart import NAMESPACE, Process
from tests.controlplane.errors import BuildFailed, HarnessError, last_lines
from tests.controlplane.files import link, write
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.progress import Progress

CLUSTER_NAME = "kind"
CONFIG = ROOT / "kind-config.yaml"
IMAGE_VARIABLE = "KIND_NODE_IMAGE"
WORKERS_VARIABLE = "KIND_WORKERS"  # how many nodes there are beside the control plane; none: it runs the pods itself
READY_WITHIN = 120.0
PORTS: Mapping[Process, str] = {"webhook": "https:{}:8443", "operator": "http:{}:8080"}


class KindBackend:
    """See Backend in backend.py for what each method promises."""

    def __init__(self, layout: Layout, known: state.State, tools: Mapping[str, Path]) -> None:
        self._layout = layout
        self._state = known
        self._tools = tools
        self._name = layout.kind_name
        self._node = f"{self._name}-control-plane"
        self._image: Future[str] | None = None

    @classmethod
    def prepare(cls, layout: Layout, known: state.State | None, progress: Progress) -> KindBackend:
        docker.require()
        tools = binaries.ensure(binaries.KIND_CLUSTER, progress)
        known = known or state.State("kind")
        layout.make()
        link(layout.bin, {name: tools[name] for name in binaries.KIND_CLUSTER})
        state.save(layout, replace(known, ready=False))
        return cls(layout, known, tools)

    @property
    def server(self) -> kubeconfig.Server:
        return kubeconfig.load(self._layout.kubeconfig).server

    @property
    def authority(self) -> pki.Authority:
        return pki.Authority.load(self._layout.pki / "ca.crt", self._layout.pki / "ca.key")

    @property
    def base_values(self) -> dict[str, Any]:
        """Without an image: which one runs is decided when it is built, and holds until the next `up`."""
        return {"clusterName": CLUSTER_NAME, **chart.ROOMY}

    @property
    def authorization_folder(self) -> str:
        return authorization.ON_A_NODE

    # --- the cluster --------------------------------------------------------------------------

    def start_plane(self, progress: Progress) -> None:
        if self._exists() and not self._state.created:
            with progress.step(f"deleting the half-made kind cluster {self._name}"):
                self._delete()
        if not self._exists():
            with progress.step(f"creating the kind cluster {self._name}"):
                self._create()
            self._state = replace(self._state, created=True, ready=False)
            state.save(self._layout, self._state)
        with progress.step("waiting for the API server"):
            for node in self.nodes():
                if self._node_status(node) != "running":
                    self._docker("start", node)
            self._wait_api_server()
            for file in ("ca.crt", "ca.key"):
                write(self._layout.pki / file, self._docker("exec", self._node, "cat", f"/etc/kubernetes/pki/{file}"))

    def _kind(self, *arguments: str | Path) -> str:
        answer = subprocess.run(
            [self._tools["kind"], *arguments], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if answer.returncode != 0:
            raise BuildFailed(f"kind {' '.join(map(str, arguments))} failed:\n{last_lines(answer.stdout + answer.stderr, 40)}")
        return answer.stdout

    def _docker(self, *arguments: str) -> str:
        answer = docker.run(*arguments)
        if answer.returncode != 0:
            raise HarnessError(f"docker {' '.join(arguments)} failed:\n{last_lines(answer.stderr)}")
        return answer.stdout

    def nodes(self) -> list[str]:
        """The nodes' containers, by name: the control plane's and the workers'."""
        return sorted(self._docker("ps", "--all", "--format", "{{.Names}}", "--filter", self._label).split())

    @property
    def _label(self) -> str:
        return f"label=io.x-k8s.kind.cluster={self._name}"

    def _node_status(self, node: str) -> str:
        """What Docker says of a node's container: running, exited, …; empty where there is none."""
        return docker.run("container", "inspect", "--format", "{{.State.Status}}", node).stdout.strip()

    def begin_installation(self) -> None:
        # While kind mostly waits for its node.
        self._image = ThreadPoolExecutor(1).submit(docker.build_image, docker.image_tag())

    def _exists(self) -> bool:
        return bool(self._node_status(self._node))

    def _create(self) -> None:
        image = os.environ.get(IMAGE_VARIABLE)
        chosen = ["--image", image] if image else []
        # A node image that is to be pulled takes its time; kind's own default names the image that fits its version.
        try:
            self._kind(
                "create", "cluster", "--name", self._name, "--config", self._config(), "--kubeconfig", self._layout.kubeconfig, *chosen
            )
        except BuildFailed as error:
            raise BuildFailed(
                f"{error}\nAnother node image can be named in {IMAGE_VARIABLE}; `make up` without CLUSTER=kind needs none."
            ) from None

    def _config(self) -> Path:
        """kind-config.yaml, with a folder of this cluster's own where tests change what the API server goes by."""
        authorization.prepare(self._layout.authorization)
        file = self._layout.state / "kind-config.yaml"
        shared, own = authorization.PLAIN.parent.relative_to(ROOT), self._layout.authorization
        workers = "- role: worker\n" * int(os.environ.get(WORKERS_VARIABLE) or 0)
        text = CONFIG.read_text().replace(f"hostPath: {shared}\n", f"hostPath: {own}\n")
        write(file, text.replace("kubeadmConfigPatches:\n", f"{workers}kubeadmConfigPatches:\n", 1))
        return file

    def _delete(self) -> None:
        # What `kind delete cluster` does, without needing a kind binary to clear up.
        if nodes := self.nodes():
            self._docker("rm", "--force", "--volumes", *nodes)

    def _wait_api_server(self) -> None:
        with Api(kubeconfig.load(self._layout.kubeconfig), timeout=5) as api:
            waiting.until(lambda: _answers(api), "kube-apiserver was to become ready", timeout=READY_WITHIN, pause=0.3)

    def restart_api_server(self) -> None:
        pid = self._api_server_pid()
        # Asked politely it waits a minute for watches to end.
        self._docker("exec", self._node, "kill", "-KILL", pid)
        waiting.until(
            lambda: self._api_server_pid() not in ("", pid), "the kubelet was to start kube-apiserver again", timeout=READY_WITHIN
        )
        self._wait_api_server()

    def _api_server_pid(self) -> str:
        return docker.run("exec", self._node, "pgrep", "-o", "-x", "kube-apiserver").stdout.strip()

    def stop_api_server(self) -> None:
        raise HarnessError("only the local cluster's API server can be stopped and left so: CLUSTER=local")

    def start_api_server(self) -> None:
        self.stop_api_server()

    def tear_down(self, progress: Progress) -> None:
        """The cluster; the image stays for the next one."""
        with progress.step(f"deleting the kind cluster {self._name}"):
            self._delete()

    # --- Countersign --------------------------------------------------------------------------

    def install(self, admin: Api, values: Mapping[str, Any], progress: Progress) -> None:
        with progress.step("Countersign's image"):
            image = self._image.result() if self._image else docker.build_image(docker.image_tag())
        if not self._has(image):
            with progress.step(f"loading {image} into the nodes"):
                self._kind("load", "docker-image", "--name", self._name, image)
        current = chart.merged(values, {"image": {"repository": docker.REPOSITORY, "tag": image.partition(":")[2], "pullPolicy": "Never"}})
        with progress.step("installing the chart"):
            self._preserving_logs()
            chart.install(self._layout, self._tools["helm"], current)
        with progress.step("Countersign's pods"):
            self._wait_rolled_out(admin)

    def _has(self, image: str) -> bool:
        lists = [self._docker("exec", node, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet") for node in self.nodes()]
        return all(any(name.endswith(f"/{image}") for name in names.split()) for names in lists)

    def _preserving_logs(self) -> None:
        """Fetches the logs of pods that are about to be replaced."""
        if (self._layout.logs / "node").exists():
            self.collect_logs()

    def upgrade(self, admin: Api, values: Mapping[str, Any]) -> None:
        self._preserving_logs()
        same_image = {"image": chart.values(self._layout)["image"]}
        before = {process: self._generation(admin, process) for process in chart.PROCESSES}
        chart.install(self._layout, self._tools["helm"], chart.merged(values, same_image))
        for process in chart.PROCESSES:
            # Helm's change of the Deployment has begun a rollout already; a second one would only cost its time.
            if self._generation(admin, process) == before[process]:
                self._annotate_template(admin, process)
        self._wait_rolled_out(admin)

    def _deployment(self, process: Process, subresource: str | None = None) -> str:
        return path("deployments", f"countersign-{process}", namespace=NAMESPACE, subresource=subresource)

    def _generation(self, admin: Api, process: Process) -> int:
        return int(admin.get(self._deployment(process))["metadata"]["generation"])

    def _annotate_template(self, admin: Api, process: Process) -> None:
        """What `kubectl rollout restart` does."""
        annotations = {"kubectl.kubernetes.io/restartedAt": f"generation-{self._generation(admin, process)}"}
        admin.patch(self._deployment(process), {"spec": {"template": {"metadata": {"annotations": annotations}}}})

    def _pods(self, admin: Api, process: Process) -> list[dict[str, Any]]:
        labels = admin.get(self._deployment(process))["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        return admin.list(path("pods", namespace=NAMESPACE), labelSelector=selector)

    def _wait_rolled_out(self, admin: Api) -> None:
        for process in chart.PROCESSES:
            waiting.until(
                partial(self._is_rolled_out, admin, process),
                f"the Deployment countersign-{process} was to be rolled out",
                timeout=READY_WITHIN,
                pause=0.3,
                explain=partial(self._why_not, admin, process),
            )

    def _is_rolled_out(self, admin: Api, process: Process) -> bool:
        deployment = admin.get(self._deployment(process))
        wanted, now = deployment["spec"]["replicas"], deployment.get("status", {})
        if now.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
            return False
        fresh = all(now.get(count, 0) == wanted for count in ("replicas", "updatedReplicas", "availableReplicas"))
        # A pod that is going still answers: whoever waits for a restart must not meet the old one.
        return fresh and len(self._pods(admin, process)) == wanted

    def _why_not(self, admin: Api, process: Process) -> str:
        self.collect_logs()
        states = [_state(pod) for pod in self._pods(admin, process)]
        log = self._layout.logs / f"{process}.log"
        return last_lines("\n".join([*states, *log.read_text().splitlines()[-15:]]), 25)

    def start(self, process: Process, env: Mapping[str, str]) -> None:
        if env:
            raise HarnessError("another environment for a process is for the local cluster only: CLUSTER=local")
        remembered = self._layout.run / f"{process}.replicas"
        with self._admin() as admin:
            if remembered.exists():
                self._scale(admin, process, int(remembered.read_text()))
                remembered.unlink()
            self._wait_rolled_out(admin)

    def stop(self, process: Process) -> None:
        self._preserving_logs()
        with self._admin() as admin:
            replicas = admin.get(self._deployment(process))["spec"]["replicas"]
            if replicas:
                write(self._layout.run / f"{process}.replicas", str(replicas))
                self._scale(admin, process, 0)
            waiting.until(lambda: not self._pods(admin, process), f"the pods of the {process} were to end", timeout=READY_WITHIN)

    def restart(self, process: Process) -> None:
        self._preserving_logs()
        with self._admin() as admin:
            self._annotate_template(admin, process)
            self._wait_rolled_out(admin)

    def _admin(self) -> Api:
        return Api(kubeconfig.load(self._layout.kubeconfig))

    def _scale(self, admin: Api, process: Process, replicas: int) -> None:
        admin.patch(self._deployment(process, "scale"), {"spec": {"replicas": replicas}})

    # --- what is to be read -------------------------------------------------------------------

    def collect_logs(self) -> None:
        nodelogs.collect(self._layout, self.nodes())

    def metrics(self, process: Process) -> str:
        with self._admin() as admin:
            names = [PORTS[process].format(pod["metadata"]["name"]) for pod in self._pods(admin, process)]
            pages = [admin.text(f"{path('pods', name, namespace=NAMESPACE, subresource='proxy')}/metrics") for name in names]
        return "\n".join(pages)


def _state(pod: dict[str, Any]) -> str:
    """One line of what a pod is doing, or why it is not."""
    status = pod["status"]
    containers = [f"{each['state']}, restarted {each['restartCount']} times" for each in status.get("containerStatuses", [])]
    conditions = [each["message"] for each in status.get("conditions", []) if each["status"] == "False" and each.get("message")]
    return f"{pod['metadata']['name']}: {status.get('phase')}; {'; '.join([*containers, *conditions])}"


def _answers(api: Api) -> bool:
    try:
        return api.request("GET", "/readyz").ok
    except httpx.TransportError:
        return False
