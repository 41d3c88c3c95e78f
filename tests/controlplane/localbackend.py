"""The cluster as plain processes: the control plane, and Countersign's two processes with the credentials of their ServiceAccounts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from tests.controlplane import binaries, chart, kubeconfig, people, ports, processes, source, state, waiting
from tests.controlplane.api import Api, path
from tests.controlplane.chart import NAMESPACE, Process
from tests.controlplane.errors import last_lines_of
from tests.controlplane.files import link, write
from tests.controlplane.localplane import COMPONENTS, LocalPlane
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.pki import Authority
from tests.controlplane.progress import Progress

CLUSTER_NAME = "local"
PROCESS_READY_WITHIN = 60.0
# The chart turns these values into the environment of its pods; out of the cluster the harness does.
SETTINGS = {
    "clusterName": "COUNTERSIGN_CLUSTER_NAME",
    "requestTTL": "COUNTERSIGN_REQUEST_TTL",
    "coolOff": "COUNTERSIGN_COOL_OFF",
    "keepEnded": "COUNTERSIGN_KEEP_ENDED",
    "maxOpenRequests": "COUNTERSIGN_MAX_OPEN_REQUESTS",
    "staleAfter": "COUNTERSIGN_STALE_AFTER",
    "profile": "COUNTERSIGN_PROFILE",
    "glassAhead": "COUNTERSIGN_GLASS_AHEAD",
    "noteEvery": "COUNTERSIGN_NOTE_EVERY",
    "logLevel": "COUNTERSIGN_LOG_LEVEL",
}


class LocalBackend:
    """See Backend in backend.py for what each method promises."""

    def __init__(self, layout: Layout, known: state.State, tools: Mapping[str, Path]) -> None:
        self._layout = layout
        self._state = known
        self._tools = tools
        self.plane = LocalPlane(layout, known.ports, tools)
        self._operator_ran = False

    @classmethod
    def prepare(cls, layout: Layout, known: state.State | None, progress: Progress) -> LocalBackend:
        tools = binaries.ensure(binaries.LOCAL_CLUSTER, progress)
        if known is None:
            chosen = dict(zip(state.PORTS, ports.choose(len(state.PORTS)), strict=True))
            known = state.State("local", ports=chosen)
        layout.make()
        link(layout.bin, {name: tools[name] for name in ("kubectl", "helm")})
        state.save(layout, replace(known, ready=False))
        return cls(layout, known, tools)

    @property
    def server(self) -> kubeconfig.Server:
        return self.plane.server

    @property
    def authority(self) -> Authority:
        return self.plane.authority()

    @property
    def base_values(self) -> dict[str, Any]:
        return {"clusterName": CLUSTER_NAME, "outOfCluster": {"url": self.webhook_url}, **chart.ROOMY}

    @property
    def webhook_url(self) -> str:
        return f"https://127.0.0.1:{self._state.ports['webhook']}/validate"

    @property
    def authorization_folder(self) -> str:
        return str(self._layout.authorization)

    # --- the control plane --------------------------------------------------------------------

    def begin_installation(self) -> None:
        """Nothing has to be built for it."""

    def start_plane(self, progress: Progress) -> None:
        with progress.step("certificates"):
            self.plane.make_certificates()
        with progress.step("etcd and kube-apiserver"):
            self.plane.start("etcd")
            self.plane.start("kube-apiserver")
            self.plane.wait_ready()
        with progress.step("kube-controller-manager"):
            self.plane.start("kube-controller-manager")

    def restart_api_server(self) -> None:
        self.stop_api_server()
        self.start_api_server()

    def stop_api_server(self) -> None:
        self._operator_ran = processes.is_alive(self._layout.run / "operator")
        self.plane.stop("kube-apiserver")

    def start_api_server(self) -> None:
        self.plane.start("kube-apiserver")
        self.plane.wait_ready()
        # It ends by itself where it misses the API server while it starts.
        self.plane.start("kube-controller-manager")
        if self._operator_ran:
            self._revive_operator()

    def _revive_operator(self) -> None:
        """As a kubelet would: it ends where it could not renew its Lease for ten seconds, as all that elect a leader do."""
        record = self._layout.run / "operator"
        with Api(kubeconfig.load(self._layout.kubeconfig)) as admin:

            def renewed() -> str:
                lease = admin.request("GET", path("leases", "countersign-operator", namespace=NAMESPACE))
                return str(lease.body.get("spec", {}).get("renewTime", ""))

            before = renewed()
            waiting.until(
                lambda: not processes.is_alive(record) or renewed() not in ("", before),
                "the operator was to renew its Lease, or to end",
                timeout=PROCESS_READY_WITHIN,
            )
        self.start("operator", {})

    def tear_down(self, progress: Progress) -> None:
        """Stops whatever is recorded, in the order in which nobody misses anybody."""
        order = [*chart.PROCESSES, *reversed(COMPONENTS)]
        others = sorted(record.name for record in self._layout.run.glob("*") if record.name not in order)
        for name in [*others, *order]:
            if processes.is_alive(self._layout.run / name):
                with progress.step(f"stopping {name}"):
                    processes.stop(self._layout.run / name)

    # --- Countersign --------------------------------------------------------------------------

    def install(self, admin: Api, values: Mapping[str, Any], progress: Progress) -> None:
        with progress.step("installing the chart"):
            chart.install(self._layout, self._tools["helm"], values)
        with progress.step("Countersign's operator and webhook"):
            for process in chart.PROCESSES:
                write(self.token_file(process), people.token(admin, NAMESPACE, f"countersign-{process}"))
                self._stop_if_outdated(process)
                self.launch(process)
            for process in chart.PROCESSES:
                self._wait_ready(process)

    def upgrade(self, admin: Api, values: Mapping[str, Any]) -> None:
        del admin
        chart.install(self._layout, self._tools["helm"], values)
        for process in chart.PROCESSES:
            self.stop(process)
            self.launch(process)
        for process in chart.PROCESSES:
            self._wait_ready(process)

    def token_file(self, process: Process) -> Path:
        return self._layout.tokens / process

    def environment(self, process: Process, port: int) -> dict[str, str]:
        """What the chart's pods get, but for the places of things."""
        values = chart.values(self._layout)
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        env |= {variable: str(values[value]) for value, variable in SETTINGS.items() if value in values}
        env |= {
            "COUNTERSIGN_API_SERVER": self.plane.url,
            "COUNTERSIGN_API_CA_FILE": str(self.plane.ca_file),
            "COUNTERSIGN_TOKEN_FILE": str(self.token_file(process)),
            "COUNTERSIGN_NAMESPACE": NAMESPACE,
            "COUNTERSIGN_LISTEN": f"127.0.0.1:{port}",
            "COUNTERSIGN_REPLICA": f"{process}-{port}",
            # Nobody balances load here: a process that is asked to end may end.
            "COUNTERSIGN_DRAIN": "0s",
        }
        if process == "webhook" and (client := values.get("apiServerClient", {})).get("ca"):
            env |= {"COUNTERSIGN_CLIENT_CA": client["ca"], "COUNTERSIGN_CLIENT_NAMES": ",".join(client["commonNames"])}
        chosen = values.get("authorizer", {})
        env["COUNTERSIGN_AUTHORIZER"] = "true" if chosen.get("enabled") else "false"
        env["COUNTERSIGN_AUTHORIZER_FOLDER"] = chosen.get("folder", self.authorization_folder)
        env["COUNTERSIGN_LOCKDOWN_AFTER_TAMPERING"] = "true" if values.get("lockdownAfterTampering") else "false"
        jailed = {"always": True, "never": False}.get(values.get("policyJail", "profile"), values.get("profile") == "hardened")
        env["COUNTERSIGN_POLICY_JAIL"] = "true" if jailed else "false"
        if process == "operator":
            env["COUNTERSIGN_WEBHOOK_URL"] = self.webhook_url
            env |= _brought(values.get("certificates", {}))
        return env

    def launch(self, process: Process, env: Mapping[str, str] | None = None) -> None:
        """Starts it unless it runs; does not wait."""
        record = self._layout.run / process
        if processes.is_alive(record):
            return
        logs = self._layout.logs
        environment = self.environment(process, self._state.ports[process]) | dict(env or {})
        output = self._layout.decisions_log if process == "webhook" else logs / "operator-records.jsonl"
        command = [sys.executable, "-m", "countersign", process]
        write(self._code(process), source.digest([source.PACKAGE]))
        processes.start(record, command, env=environment, output=output, errors=logs / f"{process}.log", cwd=ROOT)

    def _code(self, process: Process) -> Path:
        """Which code the process runs."""
        return self._layout.run / f"{process}.code"

    def _stop_if_outdated(self, process: Process) -> None:
        code = self._code(process)
        if not code.exists() or code.read_text() != source.digest([source.PACKAGE]):
            self.stop(process)

    def start(self, process: Process, env: Mapping[str, str]) -> None:
        self.launch(process, env)
        self._wait_ready(process)

    def stop(self, process: Process) -> None:
        processes.stop(self._layout.run / process)

    def restart(self, process: Process) -> None:
        self.stop(process)
        self.start(process, {})

    def _base(self, process: Process) -> str:
        return f"{'https' if process == 'webhook' else 'http'}://127.0.0.1:{self._state.ports[process]}"

    def _wait_ready(self, process: Process) -> None:
        log = self._layout.logs / f"{process}.log"
        record = self._layout.run / process
        waiting.until(
            lambda: is_ready(self._base(process)),
            f"Countersign's {process} was to become ready",
            timeout=PROCESS_READY_WITHIN,
            explain=lambda: last_lines_of(log),
            give_up=lambda: not processes.is_alive(record),
        )

    # --- what is to be read -------------------------------------------------------------------

    def collect_logs(self) -> None:
        """They are where they belong already."""

    def metrics(self, process: Process) -> str:
        return fetch(f"{self._base(process)}/metrics")


def fetch(url: str) -> str:
    """A page of one of our own processes on loopback, whatever its certificate.

    Raises:
        httpx.HTTPError
    """
    return httpx.get(url, verify=False, timeout=10, trust_env=False).raise_for_status().text


def is_ready(base: str) -> bool:
    try:
        fetch(f"{base}/readyz")
    except httpx.HTTPError:
        return False
    return True


def _brought(certificates: Mapping[str, Any]) -> dict[str, str]:
    """As the chart tells the operator who brings the webhook's certificate."""
    secrets = {"cert-manager": "countersign-webhook-cert-manager", "provided": certificates.get("provided", {}).get("secretName", "")}
    source = certificates.get("source", "operator")
    if source == "operator":
        return {}
    told = {"SOURCE": source, "SECRET": secrets[source], "CA": certificates.get("caBundle", "")}
    return {f"COUNTERSIGN_CERTIFICATE_{name}": value for name, value in told.items()}
